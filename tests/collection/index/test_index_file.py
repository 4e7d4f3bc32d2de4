"""The FAISS file is a cache: damaged, old or moved, it is built again."""

import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from simsiam_retrieval import Collection
from tests.support.small_encoder import (
    contents,
    paint,
    small_encoder,
    summary,
)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


def garble(file: Path) -> None:
    file.write_bytes(b"garbage" * 100)


def replace_by_smaller(file: Path) -> None:
    write_index(file, 192, [1, 2])


def replace_by_other_ids(file: Path) -> None:
    write_index(file, 192, [101, 102, 103, 104, 105])


def replace_by_other_dim(file: Path) -> None:
    write_index(file, 7, [1, 2, 3, 4, 5])


def write_index(file: Path, dim: int, ids: list[int]) -> None:
    import faiss

    index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
    index.add_with_ids(np.ones((len(ids), dim), np.float32), np.array(ids))
    faiss.write_index(index, str(file))


def empty_file(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, empty_file, truncate, garble, replace_by_smaller, replace_by_other_ids, replace_by_other_dim],
)
def test_a_damaged_cache_is_rebuilt(collection, folder, damage):
    expected = collection.search(folder / "a.jpg")
    [cache] = collection.folder.glob("*.faiss")
    damage(cache)
    with Collection.open(collection.folder) as again:
        assert again.search(folder / "a.jpg") == expected


def test_a_cache_of_an_older_generation_is_not_used(collection, folder, tmp_path):
    [old] = collection.folder.glob("*.faiss")
    shutil.copy(old, tmp_path / "old.faiss")
    paint(folder / "a.jpg", 100)
    collection.update([folder], workers=0)
    expected = collection.search(folder / "a.jpg")
    [new] = collection.folder.glob("*.faiss")
    new.unlink()
    shutil.copy(tmp_path / "old.faiss", old)
    with Collection.open(collection.folder) as again:
        assert again.search(folder / "a.jpg") == expected
        paint(folder / "b.jpg", 101)
        again.update([folder], workers=0)
    assert len(list(collection.folder.glob("*.faiss"))) == 1


def test_rows_that_nobody_published_do_not_show(collection, folder):
    expected = contents(collection), collection.search(folder / "a.jpg"), collection.failures()
    for cache in collection.folder.glob("*.faiss"):
        cache.unlink()
    blob = np.ones(192, "<f4").tobytes()
    with sqlite3.connect(collection.folder / "catalog.sqlite") as database:
        database.execute("INSERT INTO items VALUES (70, '/later.jpg', 1, 1, 9, NULL, x'00', 1, 1, 'JPEG', NULL, NULL)")
        database.execute(
            "INSERT INTO items VALUES (71, '/broken.jpg', 1, 1, 9, 'broken', NULL, NULL, NULL, NULL, NULL, NULL)"
        )
        database.executemany("INSERT INTO vectors VALUES (?, ?)", [(70, blob), (99, blob)])
        database.execute("INSERT INTO thumbnails VALUES (99, x'00')")
    database.close()
    with Collection.open(collection.folder) as again:
        assert (contents(again), again.search(folder / "a.jpg"), again.failures()) == expected
        assert len(again) == 5
        assert again.item(70) is None


def test_a_moved_collection(collection, folder, tmp_path):
    expected = collection.search(folder / "a.jpg")
    collection.close()
    moved = collection.folder.rename(tmp_path / "100% möved?mode=ro#x")
    with Collection.open(moved) as again:
        assert again.search(folder / "a.jpg") == expected
        (folder / "b.jpg").unlink()
        assert summary(again.update([folder])) == (0, 0, 1, 4)


def test_a_collection_inside_its_own_folder(folder, tmp_path):
    with Collection.create(folder / "index", small_encoder(tmp_path / "small.onnx")) as collection:
        assert summary(collection.update([folder], workers=0)) == (5, 0, 0, 5)
        assert summary(collection.update([folder], workers=0)) == (0, 0, 0, 5)


def test_a_collection_whose_folder_has_an_odd_name(folder, tmp_path):
    target = tmp_path / os.fsdecode(b"not utf-8 \xff\n")
    with Collection.create(target, small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([folder], workers=0)
    with Collection.open(target) as collection:
        assert collection.search(folder / "a.jpg", k=1)[0].path == folder / "a.jpg"
