"""Near-duplicates left out before training: copies go, crops, edits and other photos stay, with the counts."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.training.pixel_store import ImageStore, OrderedRows, load_store
from simsiam_retrieval.training.thinning import thinned

NAMES = ("windmills/kinderdijk-windmills.jpg", "castles/neuschwanstein-castle.jpg", "planets/neptune.jpg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photos: Path) -> Path:
    """Two photos and a planet, with copies that come later by name, a crop, a mirrored one, and another planet."""
    root = tmp_path_factory.mktemp("thin")
    for number, name in enumerate(NAMES):
        with Image.open(photos / name) as image:
            image.save(root / f"{number} original.png")
            image.save(root / f"{number} same pixels.bmp")
            image.save(root / f"{number} worse.jpg", quality=30)
            image.resize((image.width * 2 // 3, image.height * 2 // 3)).save(root / f"{number} smaller.jpg")
            ImageOps.mirror(image.crop((0, 0, image.width * 3 // 4, image.height))).save(root / f"{number} part.jpg")
    shutil.copy(photos / "planets/uranus.jpg", root / "uranus.jpg")
    return root


def stored(folder: Path, **options) -> ImageStore:
    return load_store(list_images([folder]).images, 96, workers=0, **options)


def names(store: ImageStore) -> list[str]:
    return [file.path.name for file in store.files]


KEPT = [*(f"{number} {what}" for number in range(3) for what in ("original.png", "part.jpg")), "uranus.jpg"]


@pytest.mark.parametrize("cached", [False, True])
def test_copies_are_left_out(folder: Path, tmp_path: Path, cached: bool) -> None:
    options = {"cache": tmp_path} if cached else {}
    before = stored(folder, **options)
    expected = {name: before.pixels[row].copy() for row, name in enumerate(names(before))}
    found = thinned(before)
    assert (found.same, found.near) == (3, 6)
    assert names(found.store) == KEPT
    assert len(found.store.digests) == len(found.store.aspect) == len(found.store.pixels) == len(KEPT)
    for row, name in enumerate(KEPT):
        assert (found.store.pixels[row] == expected[name]).all()
    assert isinstance(found.store.pixels, OrderedRows) == cached
    again = thinned(found.store)
    assert (again.same, again.near, names(again.store)) == (0, 0, KEPT)


def test_other_channels_are_compared_exactly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 5), np.uint8)
    pixels[2] = pixels[0]
    digests = np.stack([np.full(32, value, np.uint8) for value in (1, 2, 1)])
    files = list_images([Path(__file__).parents[2] / "examples/photos/planets"]).images[:3]
    found = thinned(ImageStore(pixels, np.ones(3, np.float32), digests, files, []))
    assert (found.same, found.near, len(found.store)) == (1, 0, 2)
