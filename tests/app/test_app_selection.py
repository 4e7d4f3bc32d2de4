"""Marked images, and photos that visitors upload."""

import csv
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from simsiam_retrieval.app.search import selection  # pyright: ignore[reportMissingImports]

from simsiam_retrieval import Collection
from tests.support.app_pages import (
    button,
    grid,
    run,
    said,
    search_page,
)


def test_exports_hold_what_was_marked(collection_dir: Path) -> None:
    with Collection.open(collection_dir) as collection:
        items = [item for id_ in (9, 3) if (item := collection.item(id_))]
    labels = {9: 'a "cat", or two'}
    rows = list(csv.DictReader(io.StringIO(selection.as_csv(items, labels).decode())))
    assert [row["path"] for row in rows] == [str(item.path) for item in items]
    assert rows[0]["label"] == labels[9] and rows[1]["label"] == ""
    assert [int(row["bytes"]) for row in rows] == [item.path.stat().st_size for item in items]
    assert [row["id"] for row in json.loads(selection.as_json(items, labels))] == [9, 3]
    gone = replace(items[0], path=Path("/nowhere/x.jpg"))
    with zipfile.ZipFile(io.BytesIO(selection.as_zip([*items, gone]))) as archive:
        names = archive.namelist()
        assert names == [f"0001 {items[0].path.name}", f"0002 {items[1].path.name}", "MISSING.txt"]
        assert archive.read(names[0]) == items[0].path.read_bytes()
        assert b"/nowhere/x.jpg: No such file" in archive.read("MISSING.txt")


def test_marked_images_stay_marked(collection_dir: Path) -> None:
    test = search_page(collection_dir)
    test.session_state[selection.SELECTED] = {5: True, 9: True, 98765: True}
    run(test)
    assert "2 marked, " in said(test)
    run(button(test, "Similar to these").click())
    assert test.query_params == {"image": "5", "more": "9"}
    run(button(test, "Clear").click())
    assert "marked, " not in said(test)


def test_an_uploaded_photo_finds_itself(collection_dir: Path, photos: Path) -> None:
    photo = photos / "fish" / "clownfish.jpg"
    test = search_page(collection_dir)
    run(test.file_uploader[0].set_value([("mine <b>.jpg", photo.read_bytes(), "image/jpeg")]))
    assert test.query_params == {"upload": "1"}
    assert (grid(test)[0]["name"], grid(test)[0]["note"]) == ("clownfish.jpg", "1.000")
    assert "mine &lt;b&gt;.jpg" in said(test)

    run(test.file_uploader[0].set_value([]))
    assert test.query_params == {}
    assert len(grid(test)) == 60


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0 cut off"])
def test_a_broken_upload_is_one_friendly_line(collection_dir: Path, content: bytes) -> None:
    test = search_page(collection_dir)
    run(test.file_uploader[0].set_value([("<b>broken.jpg", content, "image/jpeg")]))
    assert "&lt;b&gt;broken.jpg cannot be used: " in said(test)
    assert "Try a JPEG" in said(test)
    assert not grid(test)


def test_an_upload_replaces_the_chosen_image(collection_dir: Path, photos: Path) -> None:
    test = search_page(collection_dir, image="5")
    content = (photos / "fish" / "clownfish.jpg").read_bytes()
    run(test.file_uploader[0].set_value([("mine.jpg", content, "image/jpeg")]))
    assert test.query_params == {"upload": "1"}


def test_a_shared_address_of_an_upload_says_that_it_is_not_kept(collection_dir: Path) -> None:
    assert "Give them again" in said(search_page(collection_dir, upload="1"))
