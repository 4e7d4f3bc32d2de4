"""Images counted by folder without a path object for each image, against a count of all items."""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.storage.catalog_file import folder_of, path_of, stored_path
from tests.support.small_encoder import paint, small_encoder

NAMES = ["a.png", "one/b.png", "one/two/c.png", "one/two/d.bmp", "ü/e.png", "one two/f.png"]


def test_folders_and_formats_are_those_of_the_items(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    names = [*NAMES, os.fsdecode(b"caf\xe9/g.png")] if sys.platform == "linux" else NAMES
    for number, name in enumerate(names):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        paint(pictures / name, number)
    (pictures / "one/broken.png").write_bytes(b"no picture")
    with Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx")) as collection:
        assert collection.folder_counts(10) == Counter()
        collection.update([pictures], workers=0)
        counts = collection.folder_counts(10)
        assert counts == Counter((item.path.parent, item.format) for item in collection)
        assert counts[pictures / "one/two", "BMP"] == 1 and counts.total() == len(names)


@pytest.mark.parametrize("name", ["/a.jpg", "/one/two.jpg", "/one/é/x", os.fsdecode(b"/caf\xe9/x.jpg")])
def test_the_folder_of_a_stored_path(name: str) -> None:
    path = Path(name)
    assert path_of(folder_of(stored_path(path))) == path.parent
