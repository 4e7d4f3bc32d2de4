"""Compression of views by JPEG's rules, checked against Pillow's encoder and decoder."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from simsiam_retrieval.training import augmentation
from simsiam_retrieval.training.recompress import compress, recompress


def picture(side: int, seed: int = 0) -> np.ndarray:
    """Smooth colours, edges and some noise."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    pixels = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)).astype(float)
    pixels[side // 3 : side // 2, side // 4 :] = (200, 30, 60)
    return (pixels + rng.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)


def by_pillow(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0)
    return np.asarray(Image.open(file)).astype(float)


@pytest.mark.parametrize("side", [64, 37])
@pytest.mark.parametrize("quality", [20, 50, 75, 95])
def test_compression_equals_pillows_jpeg(side, quality):
    pixels = picture(side)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    ours = compress(x, torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy()
    theirs = by_pillow(pixels, quality)
    lost = np.abs(theirs - pixels).mean()
    # libjpeg rounds colours and products of whole numbers in between: a coefficient in a few falls to the other side
    assert np.abs(ours - theirs).mean() < 0.15 * lost + 0.5
    assert lost > 1.0


def test_grey_is_compressed_as_pillow_does():
    pixels = picture(40)[:, :, 0]
    ours = compress(torch.from_numpy(pixels)[None, None].float(), torch.tensor([40.0]))[0, 0].numpy()
    assert np.abs(ours - by_pillow(pixels, 40)).mean() < 0.3


def test_each_image_has_its_own_quality_and_size():
    x = torch.from_numpy(np.stack([picture(48, seed) for seed in range(3)])).permute(0, 3, 1, 2).contiguous()
    reduction, quality = torch.tensor([1.0, 2.0, 1.5]), torch.tensor([90.0, 60.0, 30.0])
    together = recompress(x, reduction, quality)
    for number in range(3):
        one = slice(number, number + 1)
        assert torch.equal(together[one], recompress(x[one], reduction[one], quality[one]))
    lost = (together.float() - x.float()).abs().mean(dim=(1, 2, 3))
    assert lost[0] < lost[1] and lost[0] < lost[2]


def test_reduction_is_pillows_bilinear():
    """At quality 100 hardly anything but the resampling is left."""
    pixels = picture(48)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    ours = recompress(x, torch.tensor([2.0]), torch.tensor([100.0]))[0].permute(1, 2, 0).numpy().astype(float)
    small = Image.fromarray(pixels).resize((24, 24), Image.Resampling.BILINEAR)
    theirs = np.asarray(small.resize((48, 48), Image.Resampling.BILINEAR)).astype(float)
    assert np.abs(ours - theirs).mean() < 1.0


def test_views_without_recompression_are_what_they_were():
    aspect = torch.ones(6)
    usual = augmentation.draw(augmentation.Augmentation(image_size=32), aspect, torch.Generator().manual_seed(3))
    some = augmentation.Augmentation(image_size=32, recompress_probability=0.5)
    drawn = augmentation.draw(some, aspect, torch.Generator().manual_seed(3))
    assert not usual.quality.any()
    for name in ("box", "flip", "jitter", "order", "factors", "grey", "sigma"):
        assert torch.equal(getattr(usual, name), getattr(drawn, name))


def test_chosen_views_alone_are_recompressed():
    settings = augmentation.Augmentation(image_size=32, recompress_probability=0.5)
    x = torch.from_numpy(np.stack([picture(48, seed) for seed in range(16)])).permute(0, 3, 1, 2).contiguous()
    drawn = augmentation.draw(settings, torch.ones(16), torch.Generator().manual_seed(0))
    chosen = drawn.quality > 0
    assert 0 < chosen.sum() < 16
    views = augmentation.apply(settings, x, drawn)
    plain = augmentation.apply(settings, x, drawn._replace(quality=torch.zeros(16)))
    differs = (views != plain).flatten(1).any(dim=1)
    assert torch.equal(differs, chosen)
    assert drawn.quality[chosen].min() >= 30 and drawn.quality.max() <= 95
    assert set(drawn.reduction.unique().tolist()) <= {1.0, 1.5, 2.0}


@pytest.mark.gpu
def test_gpu_gives_the_same():
    x = torch.from_numpy(np.stack([picture(48, seed) for seed in range(3)])).permute(0, 3, 1, 2).contiguous()
    reduction, quality = torch.tensor([1.0, 2.0, 1.5]), torch.tensor([90.0, 60.0, 30.0])
    ours = recompress(x.cuda(), reduction, quality).cpu().float()
    assert (ours - recompress(x, reduction, quality).float()).abs().mean() < 0.1
