"""Labels and dates: what a catalog of the first schema did not have, and how it gets them."""

import shutil
import sqlite3
import threading
from datetime import datetime
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.storage import sealing
from tests.support.small_encoder import contents, older_schema, paint, small_encoder


@pytest.fixture
def collection(folder: Path, tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))
    made.update([folder], workers=0)
    return made


def by_name(collection: Collection) -> dict[str, int]:
    return {item.path.name: item.id for item in collection}


def named_labels(collection: Collection) -> dict[str, str]:
    names = {id_: name for name, id_ in by_name(collection).items()}
    return {names[id_]: label for id_, label in collection.labels().items()}


def test_labels_are_kept_changed_and_taken_away(collection: Collection) -> None:
    ids = by_name(collection)
    collection.set_labels({ids["a.jpg"]: "cat", ids["b.jpg"]: " dog ", ids["c.jpg"]: "cat"})
    with Collection.open(collection.folder) as again:
        assert named_labels(again) == {"a.jpg": "cat", "b.jpg": "dog", "c.jpg": "cat"}
        again.set_labels({ids["a.jpg"]: "dog", ids["b.jpg"]: None})
    assert named_labels(collection) == {"a.jpg": "dog", "c.jpg": "cat"}


def test_a_label_belongs_to_the_content(collection: Collection, folder: Path) -> None:
    ids = by_name(collection)
    collection.set_labels({ids["a.jpg"]: "cat", ids["b.jpg"]: "dog"})
    (folder / "a.jpg").rename(folder / "sub" / "moved.jpg")
    shutil.copy(folder / "b.jpg", folder / "copy.jpg")
    collection.update([folder], workers=0)
    assert named_labels(collection) == {"moved.jpg": "cat", "b.jpg": "dog", "copy.jpg": "dog"}
    paint(folder / "b.jpg", 77)
    collection.update([folder], workers=0)
    assert named_labels(collection) == {"moved.jpg": "cat", "copy.jpg": "dog"}
    shutil.rmtree(folder / "sub")
    collection.update([folder], workers=0)
    paint(folder / "back.jpg", 0)  # the bytes of what was a.jpg
    collection.update([folder], workers=0)
    assert named_labels(collection) == {"back.jpg": "cat", "copy.jpg": "dog"}


def test_labels_are_read_while_somebody_labels(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels and their checksum are read in one state; a commit between the two readings is no damage."""
    first, second, *_ = (item.id for item in collection.items())
    collection.set_labels({first: "castle"})
    sealed, writers = sealing._labels_sealed, []

    def label_meanwhile(db: sqlite3.Connection) -> tuple[int, int] | None:
        found = sealed(db)
        if not writers:
            writers.append(threading.Thread(target=label, daemon=True))
            writers[0].start()
            writers[0].join(0.5)  # it commits now, unless it has to wait for the reader
        return found

    def label() -> None:
        with Collection.open(collection.folder) as other:
            other.set_labels({second: "tower"})

    with Collection.open(collection.folder) as reader:
        monkeypatch.setattr(sealing, "_labels_sealed", label_meanwhile)
        assert reader.labels() == {first: "castle"}
        writers[0].join()
        assert reader.labels() == {first: "castle", second: "tower"}


def test_all_labels_are_stored_or_none(collection: Collection) -> None:
    ids = by_name(collection)
    with pytest.raises(UserError, match="no image 999"):
        collection.set_labels({ids["a.jpg"]: "cat", 999: "dog"})
    with pytest.raises(UserError, match="cannot be empty"):
        collection.set_labels({ids["a.jpg"]: "cat", ids["b.jpg"]: "  "})
    assert collection.labels() == {}


def make_old(collection: Collection) -> None:
    """Turn a collection into what the first version wrote."""
    collection.close()
    older_schema(collection.folder, 1)


def test_an_old_collection_is_read_as_it_is_and_migrated_when_written(collection: Collection, folder: Path) -> None:
    before = contents(collection)
    make_old(collection)
    file = collection.folder / "catalog.sqlite"
    stored = file.read_bytes()
    with Collection.open(collection.folder) as old:
        assert [item.taken for item in old] == [None] * 5
        assert old.labels() == {}
        records, _ = old.records(0, 99)
        assert [(record.item.path, record.label) for record in records] == [(item.path, "") for item in old]
        assert old.search(folder / "a.jpg", 1)[0].path == folder / "a.jpg"
        assert file.read_bytes() == stored  # reading changes nothing
        with Collection.open(collection.folder) as another:
            another.set_labels({by_name(another)["a.jpg"]: "cat"})
        assert named_labels(old) == {"a.jpg": "cat"}  # a handle from before the migration
        paint(folder / "new.jpg", 9)
        assert old.update([folder], workers=0).added == 1
        assert {path: vector for path, vector in contents(old).items() if path in before} == before


def test_an_update_migrates(collection: Collection, folder: Path) -> None:
    make_old(collection)
    with Collection.open(collection.folder) as old:
        assert old.update([folder], workers=0).added == 0
    database = sqlite3.connect(collection.folder / "catalog.sqlite")
    assert database.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() == ("5",)
    database.close()


def test_a_migration_that_cannot_finish_changes_nothing(collection: Collection, folder: Path) -> None:
    make_old(collection)
    database = sqlite3.connect(collection.folder / "catalog.sqlite")
    with database:
        database.execute("CREATE TABLE labels (something)")  # in the way
    stored = (collection.folder / "catalog.sqlite").read_bytes()
    with Collection.open(collection.folder) as old, pytest.raises(UserError):
        old.update([folder], workers=0)
    assert (collection.folder / "catalog.sqlite").read_bytes() == stored


@pytest.mark.parametrize(
    ("tag", "text", "expected"),
    [
        (ExifTags.Base.DateTimeOriginal, "2019:07:21 18:03:09", datetime(2019, 7, 21, 18, 3, 9)),
        (ExifTags.Base.DateTimeDigitized, "2003:01:02 00:00:00", datetime(2003, 1, 2)),
        (ExifTags.Base.DateTimeOriginal, "0000:00:00 00:00:00", None),
        (ExifTags.Base.DateTimeOriginal, "last summer", None),
    ],
)
def test_when_a_picture_was_taken(tmp_path: Path, tag: int, text: str, expected: datetime | None) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[tag] = text
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (20, 20), "red").save(tmp_path / "photos" / "a.jpg", exif=exif)
    with Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx")) as made:
        made.update([tmp_path / "photos"], workers=0)
        (item,) = made
    assert item.taken == expected
    assert item.date == (expected or datetime.fromtimestamp(int(item.path.stat().st_mtime)))
