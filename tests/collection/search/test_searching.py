"""Searching a collection: equal to brute force, queries of every kind, what cannot be read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval import UserError, load_encoder
from tests.support.small_encoder import (
    expected_vector,
    paint,
)


def test_search_equals_brute_force(ready, brute_force, photos, encoder_file):
    encoder = load_encoder(encoder_file, device="cpu")
    for query in sorted(photos.glob("*/*.jpg"))[::20]:
        hits = ready.search(query, k=10)
        expected = {path: score for score, path in brute_force(encoder.embed([query])[0])}
        assert [hit.score for hit in hits] == pytest.approx(sorted(expected.values(), reverse=True)[:10], abs=1e-4)
        assert [hit.score for hit in hits] == pytest.approx([expected[hit.path] for hit in hits], abs=1e-4)
        assert [hit.rank for hit in hits] == list(range(1, 11))
        assert len({hit.path for hit in hits}) == 10


def test_scores_and_order_are_those_of_numpy(collection, folder):
    paths = sorted(folder.rglob("*.jpg"))
    vectors = np.stack([expected_vector(path) for path in paths])
    for query, vector in zip(paths, vectors, strict=True):
        cosine = vectors @ vector
        hits = collection.search(query)
        assert [hit.path for hit in hits] == [paths[i] for i in np.argsort(-cosine)]
        assert [hit.score for hit in hits] == pytest.approx(np.sort(cosine)[::-1], abs=1e-5)


def test_a_photo_of_the_collection_finds_itself(ready):
    """With score 1: a query is read as the files of the collection were."""
    for item in ready.items()[::6]:
        scores = {hit.path: hit.score for hit in ready.search(item.path, k=10)}  # so small an encoder has ties
        assert scores.get(item.path) == pytest.approx(1, abs=1e-5)


def test_scores_stay_within_one(ready):
    assert max(ready.search(item)[0].score for item in ready.items(40)) <= 1
    assert max(ready.search(item.path)[0].score for item in ready.items(40)) <= 1


def test_k(collection):
    query = next(iter(collection))
    assert len(collection.search(query.path, k=1)) == 1
    assert len(collection.search(query.path, k=10**6)) == 5
    assert len(collection.search(query, k=10**6)) == 4  # itself left out
    assert len(collection.search(query, k=2)) == 2
    for k in (0, -1):
        with pytest.raises(UserError, match="at least one"):
            collection.search(query.path, k=k)


@pytest.mark.parametrize("kind", ["text", "path", "bytes", "pil", "array"])
def test_queries_of_every_kind_give_the_same(collection, folder, kind):
    path = folder / "c.jpg"
    with Image.open(path) as image:
        pil = image.convert("RGB")
    kinds = {"text": str(path), "path": path, "bytes": path.read_bytes(), "pil": pil, "array": np.asarray(pil)}
    expected = collection.search(expected_vector(path))
    hits = collection.search(kinds[kind])
    assert hits[0].path == path
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert [hit.path for hit in hits] == [hit.path for hit in expected]
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-5)


def test_a_vector_is_scaled(collection, folder):
    vector = expected_vector(folder / "b.jpg")
    for query in (vector, 1000 * vector, (1e-3 * vector).astype(np.float32), vector.astype(np.float16)):
        best = collection.search(query, k=1)[0]
        assert best.path == folder / "b.jpg"
        assert best.score == pytest.approx(1, abs=1e-3)
    assert collection.search(-vector)[-1].score == pytest.approx(-1, abs=1e-5)


@pytest.mark.parametrize(
    "query", [np.ones(5), np.zeros(192), np.full(192, np.nan), np.ones((1, 192)), np.ones(192, int)]
)
def test_vectors_that_are_none(collection, query):
    with pytest.raises((ValueError, UserError)):
        collection.search(query)


def test_an_item_is_left_out_of_its_own_results(collection, folder):
    vectors = {path: expected_vector(path) for path in folder.rglob("*.jpg")}
    for item in collection:
        hits = collection.search(item, k=3)
        others = sorted(
            (vector @ vectors[item.path] for path, vector in vectors.items() if path != item.path), reverse=True
        )
        assert item.path not in [hit.path for hit in hits]
        assert [hit.rank for hit in hits] == [1, 2, 3]
        assert [hit.score for hit in hits] == pytest.approx(others[:3], abs=1e-5)


def test_an_item_is_left_out_among_its_copies(empty, tmp_path):
    for number in range(30):
        paint(tmp_path / "copies" / f"{number}.jpg", seed=1)
    empty.update([tmp_path / "copies"], workers=0)
    for item in empty:
        hits = empty.search(item, k=4)
        assert len(hits) == 4
        assert item not in [hit.item for hit in hits]
        assert [hit.rank for hit in hits] == [1, 2, 3, 4]


def test_an_item_that_is_gone(collection, folder):
    old = collection.search(folder / "sub/e.jpg", k=1)[0].item
    (folder / "sub/e.jpg").unlink()
    collection.update([folder])
    with pytest.raises(UserError, match=r"e\.jpg"):
        collection.search(old)
    assert collection.item(old.id) is None
    assert collection.thumbnail(old.id) is None


def test_ids_are_never_given_twice(collection, folder):
    """An item that somebody still holds, say a web page, must not turn into another picture."""
    old = collection.search(folder / "sub/e.jpg", k=1)[0].item
    (folder / "sub/e.jpg").unlink()
    collection.update([folder])
    paint(folder / "another.jpg", 100)
    collection.update([folder], workers=0)
    with pytest.raises(UserError, match=r"e\.jpg"):
        collection.search(old)
    assert collection.thumbnail(old.id) is None


ROTATED = "castles/neuschwanstein-castle-near-duplicate-exif-rotated.jpg"


@pytest.mark.parametrize("kind", ["path", "bytes", "pil"])
def test_a_copy_rotated_by_exif_finds_the_original(ready, photos, kind):
    with Image.open(photos / ROTATED) as image:
        assert image.getexif()[0x0112] in (5, 6, 7, 8)
        image.load()
    query = {"path": photos / ROTATED, "bytes": (photos / ROTATED).read_bytes(), "pil": image}[kind]
    hits = ready.search(query, k=2)
    assert {hit.path for hit in hits} == {photos / ROTATED, photos / "castles/neuschwanstein-castle.jpg"}
    assert [hit.score for hit in hits] == pytest.approx([1, 1], abs=5e-3)


@pytest.mark.parametrize("query", [b"", b"no image", "missing.jpg", Path("missing.jpg"), "/"])
def test_queries_that_cannot_be_read(collection, query):
    with pytest.raises(UserError) as error:
        collection.search(query)
    assert "\n" not in str(error.value)
    assert "Errno" not in str(error.value)
