"""Encoders of other channels than red, green and blue: from tiles of many bands to results of a search."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from simsiam_retrieval.export.export_run import export_run  # pyright: ignore[reportMissingImports]

from simsiam_retrieval import Collection, load_encoder
from simsiam_retrieval.collection.update.index_folders import index_folders
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.images.normalisation import Normalisation
from simsiam_retrieval.images.reading import Reading
from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.methods.bn_folding import backbone_from_onnx
from simsiam_retrieval.training.augmentation import Augmentation, apply, centre, draw
from simsiam_retrieval.training.config import Config, from_dict
from simsiam_retrieval.training.measured_channels import with_measured_channels
from simsiam_retrieval.training.pixel_store import load_store, open_store
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.trainer import pretrain

BANDS = 5
TINY = Config(
    stem="cifar", backbone="resnet18-3stages", image_size=16, store_size=16, batch_size=8, epochs=1, projector_layers=2,
    projector_dim=32, predictor_dim=8, held_out=0, channels=BANDS, range="0 4000",
)  # fmt: skip


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of five 16-bit bands, each of a scale of its own, as satellites have them."""
    tifffile = pytest.importorskip("tifffile")
    folder = tmp_path_factory.mktemp("tiles")
    for number in range(24):
        rng = np.random.default_rng(number)
        ground = rng.random((4, 4)).repeat(5, axis=0).repeat(5, axis=1)[:, :, None]
        values = (300 * np.arange(1, BANDS + 1) * (1 + ground) + rng.integers(0, 30, (20, 20, BANDS))).astype(np.uint16)
        tifffile.imwrite(folder / f"{number:02}.tif", values, photometric="minisblack", planarconfig="contig")
    return folder


@pytest.fixture(scope="module")
def run_of_tiles(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "tiles"
    assert pretrain(TINY, [tiles], Options(out=run, device="cpu", workers=0))
    export_run(run, run / "encoder.onnx")
    return run


def all_bands(folder: Path) -> np.ndarray:
    import tifffile

    values = np.stack([tifffile.imread(file) for file in sorted(folder.glob("*.tif"))])
    return np.clip(values * (255 / 4000), 0, 255).round()


# -- pixels


def test_a_store_and_a_cache_of_many_bands(tiles, tmp_path):
    files, reading = list_images([tiles]).images, TINY.reading
    store = load_store(files, 20, workers=0, reading=reading)
    assert store.pixels.shape == (24, 20, 20, BANDS) and np.array_equal(store.pixels[:], all_bands(tiles))
    cached = load_store(files, 20, cache=tmp_path, workers=0, reading=reading)
    again = open_store(files, 20, tmp_path, reading=reading)
    assert np.array_equal(cached.pixels[:], store.pixels[:]) and np.array_equal(again.pixels[:], store.pixels[:])
    assert cached.fingerprint() == store.fingerprint()
    other = load_store(files, 20, cache=tmp_path, workers=0, reading=Reading("per-image", channels=BANDS))
    assert not np.array_equal(other.pixels[:], store.pixels[:])


def test_mean_and_deviation_are_measured(tiles):
    store = load_store(list_images([tiles]).images, 20, workers=0, reading=TINY.reading)
    config = with_measured_channels(TINY, store)
    pixels = all_bands(tiles) / 255
    assert config.normalisation.mean == pytest.approx(pixels.mean(axis=(0, 1, 2)), abs=1e-5)
    assert config.normalisation.std == pytest.approx(pixels.std(axis=(0, 1, 2)), abs=1e-5)
    assert with_measured_channels(config, store) is config and with_measured_channels(Config(), store) == Config()


def test_views_vary_in_brightness_and_contrast_alone():
    images = torch.randint(0, 256, (6, BANDS, 24, 24), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    plain = Normalisation((0.0,) * BANDS, (1.0,) * BANDS)
    settings = Augmentation(
        24, min_scale=1.0, jitter_probability=1.0, grey_probability=1.0, blur_probability=0.0, flip_probability=0.0,
        normalisation=plain,
    )  # fmt: skip
    drawn = draw(settings, torch.ones(6), torch.Generator().manual_seed(1))
    drawn = drawn._replace(box=torch.tensor([[0.0, 0, 1, 1]]).expand(6, 4))
    found = apply(settings, images, drawn)
    for image, view, order, factors in zip(images.double() / 255, found, drawn.order, drawn.factors, strict=True):
        for which in order.tolist():
            if which == 0:
                image = (image * factors[0]).clamp(0, 1)
            elif which == 1:
                image = (image * factors[1] + image.mean() * (1 - factors[1])).clamp(0, 1)
        assert torch.allclose(view.double(), image, atol=1e-5)


def test_long_pictures_are_seen_whole_in_evaluation_as_the_encoder_sees_them():
    boxes = centre(torch.tensor([1.0, 2.5, 2.51, 0.5, 0.39])).box
    assert torch.allclose(boxes[:, 2:], torch.tensor([[1, 1], [0.4, 1], [1, 1], [1, 0.5], [1, 1]]), atol=1e-6)
    assert torch.allclose(boxes[:, :2], (1 - boxes[:, 2:]) / 2)


# -- settings


def test_settings_that_do_not_fit():
    for wrong, words in (
        ({"channels": 0}, "--channels 0"),
        ({"channels": 13, "bands": "4,3,2"}, "3 bands, but the encoder takes 13"),
        ({"bands": "4,3"}, "2 bands; give three"),
        ({"range": "high low"}, "--range high low"),
        ({"channels": 4, "mean": (0.5, 0.5, 0.5)}, "they are measured"),
    ):
        with pytest.raises(UserError, match=words):
            dataclasses.replace(Config(), **wrong).check()  # type: ignore[arg-type]


def test_stems_of_many_channels():
    normalisation = Normalisation((0.5,) * 13, (0.2,) * 13)
    for stem in ("imagenet", "cifar"):
        network = build_backbone("resnet18", stem, normalisation)
        assert network(torch.zeros(2, 13, 32, 32)).shape == (2, 512)


# -- from tiles to a search


def test_a_run_keeps_how_it_read_its_files(run_of_tiles, tiles):
    import json

    stored = json.loads((run_of_tiles / "config.json").read_text())["config"]
    config = from_dict(stored)
    assert config.reading == Reading((0.0, 4000.0), channels=BANDS) and len(config.channel_mean) == BANDS
    assert pretrain(config, [], Options(resume=run_of_tiles, workers=0))  # finished; the images are the same
    assert (run_of_tiles / "views.jpg").exists()


def test_an_exported_encoder_of_many_channels(run_of_tiles, tiles):
    encoder = load_encoder(run_of_tiles)
    assert (encoder.channels, encoder.reading) == (BANDS, Reading((0.0, 4000.0), channels=BANDS))
    pixels = all_bands(tiles).astype(np.uint8)
    vectors = encoder.embed(sorted(tiles.glob("*.tif")))
    assert np.allclose(encoder.embed(pixels), vectors, atol=1e-5)
    assert np.allclose(encoder.embed_pixels(pixels), vectors, atol=0.02)  # the graph's own resampling
    backbone = backbone_from_onnx(encoder.file).eval()
    mean, std = (torch.tensor(values)[:, None, None] for values in backbone.normalisation)  # type: ignore[union-attr]
    squares = np.stack([encoder.square(one) for one in pixels[:4]])
    x = (torch.from_numpy(squares).permute(0, 3, 1, 2) / 255 - mean) / std
    expected = torch.nn.functional.normalize(backbone(x), dim=1).detach().numpy()
    assert np.allclose(expected, vectors[:4], atol=1e-3)
    with pytest.raises(ValueError, match=f", {BANDS}\\)"):
        encoder.embed_pixels(np.zeros((1, 16, 16, 3), np.uint8))
    with pytest.raises(UserError, match=f"takes {BANDS} bands"):
        from PIL import Image

        encoder.embed([Image.new("RGB", (20, 20), "red")])


def test_tiles_are_indexed_and_found(run_of_tiles, tiles, tmp_path):
    from tests.support.small_encoder import paint

    photo = paint(tiles / "photo.jpg", 0)
    try:
        update = index_folders([tiles], tmp_path / "made", str(run_of_tiles), workers=0)
        assert update.images == 24 and "the encoder takes 5 bands, of TIFF files" in update.failed[0][1]
        with Collection.open(tmp_path / "made") as collection:
            hit = collection.search(tiles / "07.tif", k=1)[0]
            assert hit.path.name == "07.tif" and hit.score == pytest.approx(1, abs=1e-5)
            assert collection.search((tiles / "07.tif").read_bytes(), k=1)[0].path == hit.path
            assert collection.thumbnail(hit.item.id)
            with pytest.raises(UserError, match="red, green and blue"):
                collection.search(photo)
        with pytest.raises(UserError, match="3 bands, but the encoder takes 5"):
            index_folders([tiles], tmp_path / "other", str(run_of_tiles), bands="3,2,1", workers=0)
    finally:
        photo.unlink()


def test_a_probe_of_tiles(run_of_tiles, tiles):
    from simsiam_retrieval.evaluation.extractors import PixelExtractor, random_weights

    files = list_images([tiles]).images[:3]
    encoder = load_encoder(run_of_tiles)
    untrained = random_weights(encoder)
    assert untrained is not None
    for extractor in (untrained, PixelExtractor(encoder.reading)):
        rows = [row for chunk in extractor.rows(files, 0) for row in chunk]
        assert [row[0].shape for row in rows if row[0] is not None] == [(extractor.dim,)] * 3
