"""Which files have which label, from subfolders and from CSV files; what is wrong is told in one line."""

from pathlib import Path

import pytest

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.evaluation.labelled import (
    LabelledFiles,
    common_classes,
    labelled_files,
    read_labels,
    thin_classes,
)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def pairs(side: LabelledFiles) -> list[tuple[str, str]]:
    return [(file.path.name, name) for file, name in zip(side.files, side.names, strict=True)]


def test_labels_are_the_first_folder_below(tmp_path: Path) -> None:
    side = labelled_files(touch(tmp_path, "cat/a.jpg", "cat/deep/b.jpg", "dog/c.png", "loose.jpg", "dog/notes.txt"))
    assert pairs(side) == [("a.jpg", "cat"), ("b.jpg", "cat"), ("c.png", "dog")]
    assert side.classes == ["cat", "dog"]
    assert len(side.remarks) == 1 and "1 images beside" in side.remarks[0]


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.jpg", "dog/notes.txt")
    (tmp_path / "emu").mkdir()
    remarks = labelled_files(tmp_path).remarks
    assert len(remarks) == 2 and "dog holds no images" in remarks[0] and "emu holds no images" in remarks[1]


def test_folders_without_labels(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no labelled images"):
        labelled_files(touch(tmp_path, "a.jpg"))
    with pytest.raises(UserError, match="nowhere"):
        labelled_files(tmp_path / "nowhere")


def test_labels_from_a_csv_file(tmp_path: Path) -> None:
    photos = touch(tmp_path / "photos", "1.jpg", "deep/2.jpg", "3.jpg", "4.jpg")
    table = tmp_path / "labels.csv"
    table.write_text(
        f'\ufeffpath,who,label\nphotos/1.jpg,x,cat\n"photos/deep/2.jpg",x,"dog, wet"\n{photos / "4.jpg"},x,cat\n'
    )
    side = labelled_files(photos, table)
    assert pairs(side) == [("1.jpg", "cat"), ("4.jpg", "cat"), ("2.jpg", "dog, wet")]
    assert side.remarks == [f"left out: 1 images of {photos} without a label"]
    with pytest.raises(UserError, match="none of its 1 images is named"):
        labelled_files(touch(tmp_path / "other", "1.jpg"), table)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"file,class\na.jpg,cat\n", "columns path and label"),
        (b"", "columns path and label"),
        (b"path,label\n", "names no image"),
        (b"path,label\na.jpg,cat\nb.jpg,\n", "line 3: path or label is empty"),
        (b"path,label\na.jpg,cat\n\nb.jpg\n", "line 4: path or label is empty"),
        (b"path,label\na.jpg,cat\na.jpg,dog\n", "line 3: a second label for a.jpg"),
        (b"\x89PNG\r\n\xff\xfe", "not a CSV file"),
    ],
)
def test_a_bad_csv_file_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(content)
    with pytest.raises(UserError, match=said) as raised:
        read_labels(file)
    assert "\n" not in str(raised.value)


def test_a_csv_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.csv", "no such file"), (tmp_path, "a folder")):
        with pytest.raises(UserError, match=said):
            read_labels(path)


def test_classes_that_cannot_be_told_apart(tmp_path: Path) -> None:
    one = labelled_files(touch(tmp_path / "one", "cat/a.jpg"))
    two = labelled_files(touch(tmp_path / "two", "cat/a.jpg", "dog/b.jpg"))
    more = labelled_files(touch(tmp_path / "more", "cat/a.jpg", "emu/b.jpg"))
    assert common_classes(two, one) == ["cat", "dog"]  # a test folder may lack classes
    with pytest.raises(UserError, match=r"only one class \(cat\)"):
        common_classes(one, one)
    with pytest.raises(UserError, match="lacks: emu"):
        common_classes(two, more)
    assert thin_classes(["a", "b", "b", "c"]) == ["a", "c"]


def test_a_quote_that_is_not_closed_swallows_nothing(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text('path,label\na.jpg,cat\nb.jpg,"dog\nc.jpg,cat\n')
    with pytest.raises(UserError, match="quote that is not closed"):
        read_labels(tmp_path / "labels.csv")


def test_the_home_of_nobody(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\n~nosuchuser/a.jpg,cat\n")
    with pytest.raises(UserError, match="no such user"):
        read_labels(tmp_path / "labels.csv")
