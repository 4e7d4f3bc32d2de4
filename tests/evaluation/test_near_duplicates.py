"""Near-duplicates: the altered copies, and precision and recall against a loop over thresholds."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simsiam_retrieval.evaluation.extractors import PixelExtractor
from simsiam_retrieval.evaluation.near_duplicates import (
    KINDS,
    altered,
    detect,
    embed_bytes,
    make_pairs,
    precision_recall,
)
from simsiam_retrieval.images.decode import decode
from simsiam_retrieval.images.files import list_images


def picture(width: int, height: int) -> Image.Image:
    """Smooth, and different in every corner."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray((255 * np.stack([x, y, (x * y) ** 2], axis=2)).astype(np.uint8))


def test_copies_are_what_they_are_called() -> None:
    image, seen = picture(120, 80), set()
    for seed in range(12):
        copies = altered(image, np.random.default_rng(seed))
        assert tuple(copies) == KINDS
        small, cropped = (Image.open(io.BytesIO(copies[kind])) for kind in ("rescaled", "cropped"))
        assert 0.29 * 120 < small.width < 0.81 * 120 and small.width / small.height == pytest.approx(1.5, rel=0.05)
        assert 0.79 * 120 < cropped.width < 0.96 * 120 and 0.79 * 80 < cropped.height < 0.96 * 80
        assert Image.open(io.BytesIO(copies["recompressed"])).size == (120, 80)
        turned = Image.open(io.BytesIO(copies["EXIF-rotated"]))
        seen.add(turned.getexif()[0x0112])
        # stored on its side or head, but upright once the tag is applied
        upright = np.asarray(decode(copies["EXIF-rotated"]), np.float32)
        assert upright.shape == (80, 120, 3)
        assert np.abs(upright - np.asarray(image)).mean() < 4
    assert seen == {3, 6, 8}


def test_precision_and_recall_equal_counting() -> None:
    rng = np.random.default_rng(0)
    positives, negatives = rng.integers(3, 12, 20) / 10, rng.integers(0, 9, 50) / 10  # many ties
    threshold, precision, recall = precision_recall(torch.from_numpy(positives), torch.from_numpy(negatives))
    assert threshold.tolist() == sorted(set(positives) | set(negatives), reverse=True)
    for value, p, r in zip(threshold.numpy(), precision.numpy(), recall.numpy(), strict=True):
        true, false = (positives >= value).sum(), (negatives >= value).sum()
        assert (p, r) == pytest.approx((true / (true + false), true / 20))


def test_detection_of_separable_and_of_constant_features() -> None:
    exact = detect(torch.eye(8), {kind: torch.eye(8) for kind in KINDS})
    assert exact.average_precision == exact.best_f1 == exact.recall == 1.0
    assert exact.threshold == 1.0 and exact.recall_by_kind == dict.fromkeys(KINDS, 1.0)
    assert exact.prevalence == pytest.approx(1 / 8) and exact.positives == 32
    same = torch.ones(8, 4) / 2
    nothing = detect(same, {kind: same for kind in KINDS})
    assert nothing.average_precision == pytest.approx(1 / 8)  # every pair is called: precision is the prevalence
    assert nothing.threshold is None and nothing.recall == 0.0


def test_a_kind_that_is_missed_shows_in_its_own_recall() -> None:
    found = detect(torch.eye(6), {"a": torch.eye(6), "b": torch.eye(6).roll(1, dims=0)})
    assert found.recall_by_kind == {"a": 0.0, "b": 0.0}  # at cosine 1 half of the pairs are wrong
    assert found.best_f1 == pytest.approx(0.5)


def test_copies_of_real_photos_are_found_by_their_pixels(photos: Path, tmp_path: Path) -> None:
    files = list_images([photos]).images[::6]
    (tmp_path / "again.jpg").write_bytes(files[0].path.read_bytes())
    pairs = make_pairs([*files, *list_images([tmp_path]).images], 50)
    assert len(pairs.originals) == len(files)  # a second file of the same bytes is no other picture
    pixels = PixelExtractor()
    found = detect(
        embed_bytes(pixels, pairs.originals), {kind: embed_bytes(pixels, c) for kind, c in pairs.copies.items()}
    )
    assert found.recall_by_kind["rescaled"] == found.recall_by_kind["recompressed"] == 1.0
    assert found.recall_by_kind["EXIF-rotated"] == 1.0 > found.recall_by_kind["cropped"]
    assert make_pairs(files, 5).originals == make_pairs(files, 5).originals != make_pairs(files, 5, seed=1).originals
