"""Names of other programs lead to one image or to none."""

from dataclasses import replace
from pathlib import Path

import pytest

from simsiam_retrieval.collection.labelling.match_names import ImageNames, numbered_name
from simsiam_retrieval.collection.labelling.read_labels import labels_of_file
from simsiam_retrieval.collection.types import Item

ITEM = Item(1, Path("/photos/a/1.jpg"), 1, 1, 1, 1, "JPEG")
PATHS = (
    "/photos/a/1.jpg",
    "/photos/b/1.jpg",
    "/photos/b/two words & 100%.png",
    "/photos/3-x.jpg",
    "/photos/s.tif/page 2",
)
ITEMS = [replace(ITEM, id=number, path=Path(path)) for number, path in enumerate(PATHS, 1)]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("/photos/a/1.jpg", 1),
        ("a/1.jpg", 1),
        ("images/b/1.jpg", 2),
        ("1.jpg", None),  # two of them
        ("/elsewhere/photos/b/1.jpg", 2),
        ("/data/local-files/?d=photos/b/two%20words%20%26%20100%25.png", 3),
        ("/data/upload/7/0a1b2c3d-3-x.jpg", 4),
        ("https://host/bucket/b/1.jpg?signature=1", 2),
        ("1-1.jpg", 1),  # as numbered_name
        ("images/2-1.jpg", 2),
        ("9-1.jpg", None),
        ("3-x.jpg", 4),  # a file that is called so
        ("5-page 2 of s.tif", 5),
        ("none.jpg", None),
        ("", None),
        ("C:\\photos\\b\\1.jpg", 2),
    ],
)
def test_find(name: str, found: int | None) -> None:
    assert ImageNames(ITEMS).find(name) == found


def test_every_image_is_found_by_its_numbered_name() -> None:
    names = [numbered_name(item) for item in ITEMS]
    assert [ImageNames(ITEMS).find(name) for name in names] == [1, 2, 3, 4, 5]
    assert len({Path(name).stem for name in names}) == len(names)  # other programs leave the suffix out


def test_relative_to_the_file_first() -> None:
    assert ImageNames(ITEMS, Path("/photos/b")).find("1.jpg") == 2


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("path,label\na/1.jpg,cat\nb/1.jpg,cat\nb/1.jpg,dog\nnone.jpg,cat\n")
    found = labels_of_file(ITEMS, file)
    assert found.labels == {1: "cat"} and found.unknown == ("none.jpg",) and found.several == ("b/1.jpg",)
    assert found.remarks() == [
        "left out, not one image of the collection: none.jpg",
        "left out, with several labels: b/1.jpg",
    ]
