"""Exports as Label Studio 1.2x and CVAT 2.x write them, and damaged ones."""

import json
import zipfile
from pathlib import Path

import pytest

from simsiam_retrieval.collection.labelling.exported_labels import Exported, exported_labels
from simsiam_retrieval.core.errors import UserError


def _annotation(*choices: str, updated: str = "2026-01-01T00:00:00Z", cancelled: bool = False) -> dict:
    result = {"from_name": "choice", "to_name": "image", "type": "choices", "value": {"choices": list(choices)}}
    return {"id": 1, "was_cancelled": cancelled, "updated_at": updated, "result": [result] if choices else []}


def _read(file: Path, content: str | bytes) -> list[Exported]:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return exported_labels(file)


def test_label_studio_json(tmp_path: Path) -> None:
    tasks = [
        {"id": 1, "data": {"image": "/data/local-files/?d=a.jpg"}, "annotations": [_annotation("cat")]},
        {"id": 2, "data": {"image": "b.jpg", "path": "/x/b.jpg"}, "annotations": [_annotation("dog", "cat")]},
        {"id": 3, "data": {"image": "c.jpg"}, "annotations": []},
        {"id": 4, "data": {"image": "d.jpg"}, "annotations": [_annotation("cat", cancelled=True)]},
        {
            "id": 5,
            "data": {"image": "e.jpg"},
            "annotations": [_annotation("late", updated="2026-02-01T00:00:00Z"), _annotation("early")],
        },
    ]
    assert _read(tmp_path / "a.json", json.dumps(tasks)) == [
        Exported("/data/local-files/?d=a.jpg", ("cat",)),
        Exported("/x/b.jpg", ("dog", "cat")),
        Exported("e.jpg", ("late",)),
    ]


def test_label_studio_json_min(tmp_path: Path) -> None:
    rows = [
        {"image": "a.jpg", "id": 1, "choice": "cat", "annotator": 1},
        {"image": "b.jpg", "id": 2, "choice": {"choices": ["cat", "dog"]}, "annotator": 1},
        {"image": "c.jpg", "id": 3, "annotator": 1},
    ]
    assert _read(tmp_path / "a.json", json.dumps(rows)) == [
        Exported("a.jpg", ("cat",)),
        Exported("b.jpg", ("cat", "dog")),
    ]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_label_studio_csv(tmp_path: Path, separator: str) -> None:
    several = '"{""choices"": [""cat"", ""dog""]}"'
    lines = [("image", "id", "choice"), ("a.jpg", "1", "cat"), ("b.jpg", "2", several), ("c.jpg", "3", "")]
    text = "\r\n".join(separator.join(line) for line in lines)
    assert _read(tmp_path / "a.csv", text) == [Exported("a.jpg", ("cat",)), Exported("b.jpg", ("cat", "dog"))]


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><job><id>1</id></job></meta>
<image id="0" name="a/1.jpg" width="4" height="3"><tag label="cat" source="manual"></tag></image>
<image id="1" name="2 &amp; 3.jpg" width="4" height="3"><tag label="cat"/><tag label="dog"/></image>
<image id="2" name="4.jpg" width="4" height="3"><box label="cat" xtl="0" ytl="0" xbr="1" ybr="1"/></image>
</annotations>"""


def test_cvat_xml_and_zip(tmp_path: Path) -> None:
    expected = [Exported("a/1.jpg", ("cat",)), Exported("2 & 3.jpg", ("cat", "dog"))]
    assert _read(tmp_path / "annotations.xml", CVAT) == expected
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.writestr("annotations.xml", CVAT)
    assert exported_labels(tmp_path / "task.zip") == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "not in UTF-8"),
        ("[1, 2]", "list of tasks"),
        ('{"a": 1}', "list of tasks"),
        ('[{"a": ', "damaged, not JSON"),
        ("[" * 5000, "damaged, not JSON"),
        ("<annotations>", "damaged, not XML"),
        ("<other/>", "not CVAT's XML"),
        ("<annotations><track/></annotations>", "CVAT for images"),
        ("a,b\n1,2\n", "no column label"),
        ("label,b\n1,2\n", "no column path"),
        ('path,label\n"a,b\n', "not a CSV file"),
        ("", "no column label"),
        (b"PK\x03\x04broken", "damaged ZIP"),
        ('[{"image": "a.jpg"}]', "no column label"),
    ],
)
def test_damaged_files(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        _read(tmp_path / "file", content)


def test_a_zip_without_annotations_and_no_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("labels.txt", "x")
    with pytest.raises(UserError, match=r"no annotations\.xml"):
        exported_labels(tmp_path / "a.zip")
    with pytest.raises(UserError, match="cannot be read"):
        exported_labels(tmp_path / "none.json")
