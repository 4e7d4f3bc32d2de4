"""Candidates by the difference hashes of thumbnails."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.duplicates.hash_pairs import hash_pairs, thumbnail_hashes
from simsiam_retrieval.collection.duplicates.pixels.kinds import EDITED
from tests.support.small_encoder import small_encoder


def test_pairs_are_the_closest_ones_before_each_row() -> None:
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 256, (40, 16)).astype(np.uint8)
    for row in range(10, 40):  # most are like an earlier one
        bits = np.unpackbits(hashes[row // 4])
        bits[draw.choice(128, draw.integers(0, 25), replace=False)] ^= 1
        hashes[row] = np.packbits(bits)
    found = hash_pairs(hashes[:, None], near=20, partners=2)
    expected = []
    for row in range(40):
        apart = [int(np.unpackbits(hashes[row] ^ hashes[other]).sum()) for other in range(row)]
        order = sorted(range(row), key=lambda other: (apart[other], other))
        expected.append([apart[other] for other in order if apart[other] <= 20][:2])
    distances = [
        [int(np.unpackbits(hashes[row] ^ hashes[one]).sum()) for one, other in found if other == row]
        for row in range(40)
    ]
    assert distances == expected and all(one < other for one, other in found)
    assert sum(map(len, expected)) > 20


def test_turned_pictures_are_found() -> None:
    """The turned one has the hash of the other one in one of its orientations."""
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 256, (6, 4, 16)).astype(np.uint8)
    hashes[5, 3] = hashes[2, 0]
    hashes[4, 1] = hashes[1, 2]  # both turned: no pair
    assert hash_pairs(hashes) == [(2, 5)]


def test_a_text_is_found_whatever_the_vectors_say(tmp_path: Path, photos: Path) -> None:
    """At a threshold that only equal vectors reach; a thumbnail that is lost costs nothing but its candidates."""
    photo = Image.open(photos / "windmills/kinderdijk-windmills.jpg").convert("RGB")
    edited = photo.copy()
    ImageDraw.Draw(edited).text((10, 90), "SUMMER 2026", fill="white", font_size=40, stroke_width=1)
    (tmp_path / "p").mkdir()
    photo.save(tmp_path / "p/photo.png")
    edited.save(tmp_path / "p/text.jpg", quality=90)
    for name in ("pets/tabby-cat.jpg", "castles/neuschwanstein-castle.jpg"):
        Image.open(photos / name).save(tmp_path / "p" / Path(name).name)
    for shade in (80, 90):
        Image.new("RGB", (300, 200), (shade, 80, 80)).save(tmp_path / f"p/plain-{shade}.png")
    with Collection.create(tmp_path / "c", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / "p"], workers=0)
        [[best, text]] = collection.copies(0.9999)
        assert (best.path.name, text.path.name, text.kind) == ("photo.png", "text.jpg", EDITED)
        store = collection._store
        ids = np.array([item.id for item in collection])
        rows, hashes = thumbnail_hashes(store, ids)
        assert len(rows) == 6 and hashes.shape == (6, 4, 16)
        rows, hashes = thumbnail_hashes(store, np.append(ids, 999))
        assert len(rows) == 6
