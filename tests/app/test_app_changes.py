"""A collection that changes, goes away or is damaged while it is shown."""

import shutil
import sqlite3
from pathlib import Path

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.update.index_folders import index_folders
from tests.support.app_pages import grid, run, said, search_page


def test_an_update_is_seen_without_a_restart(encoder_file: Path, few_photos: Path, tmp_path: Path) -> None:
    photos, collection = tmp_path / "photos", tmp_path / "collection"
    photos.mkdir()
    first, second, third = sorted(few_photos.rglob("*.jpg"))[:3]
    shutil.copy(first, photos / "1.jpg")
    index_folders([photos], collection, str(encoder_file), workers=0)
    test = search_page(collection)
    assert [tile["name"] for tile in grid(test)] == ["1.jpg"]
    assert "no other image" in said(search_page(collection, image=str(grid(test)[0]["id"])))

    shutil.copy(second, photos / "2.jpg")
    index_folders([photos], collection, workers=0)
    run(test)
    assert [tile["name"] for tile in grid(test)] == ["1.jpg", "2.jpg"]

    shutil.rmtree(collection)
    shutil.copy(third, photos / "3.jpg")
    index_folders([photos], collection, str(encoder_file), workers=0)
    run(test)
    assert [tile["name"] for tile in grid(test)] == ["1.jpg", "2.jpg", "3.jpg"]


def test_a_collection_that_goes_away_is_told(own_collection: Path) -> None:
    test = search_page(own_collection)
    shutil.rmtree(own_collection)
    run(test)
    assert "not a collection" in said(test) and "simsiam_retrieval.index" in said(test)


def test_a_damaged_collection_is_told(own_collection: Path) -> None:
    (own_collection / "catalog.sqlite").write_bytes(b"not SQLite" * 1000)
    assert "damaged" in said(search_page(own_collection))


def test_a_catalog_that_is_damaged_while_it_is_shown_is_told(own_collection: Path) -> None:
    test = search_page(own_collection)
    with sqlite3.connect(own_collection / "catalog.sqlite") as catalog:
        catalog.execute("DROP TABLE thumbnails")
    catalog.close()
    run(test)
    assert "damaged" in said(test)


def test_an_empty_collection_says_what_to_type(encoder_file: Path, tmp_path: Path) -> None:
    Collection.create(tmp_path / "empty", encoder_file).close()
    test = search_page(tmp_path / "empty")
    assert "0 images" in said(test) and "python -m simsiam_retrieval.index FOLDER" in said(test)
