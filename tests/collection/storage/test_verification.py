"""``index --verify``: bytes that somebody damaged are found and named, and what can be mended is mended."""

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simsiam_retrieval import Collection, UserError
from tests.support.commands import refused
from tests.support.small_encoder import (
    contents,
    in_index,
    names,
    older_schema,
    paint,
    small_encoder,
    summary,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        paint(tmp_path / "pictures" / f"{number}.jpg", number)
    return tmp_path / "pictures"


@pytest.fixture
def collection(folder: Path, tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))
    made.update([folder], workers=0)
    return made


def change(collection: Collection, statement: str, *values: object) -> None:
    with sqlite3.connect(collection.folder / "catalog.sqlite") as database:
        database.execute(statement, values)
    database.close()


def test_a_sound_collection_is_left_alone(collection):
    before = {path.name: path.read_bytes() for path in collection.folder.iterdir() if path.name != ".lock"}
    assert collection.verify() == []
    assert {path.name: path.read_bytes() for path in collection.folder.iterdir() if path.name != ".lock"} == before


def flipped(blob: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(blob)
    changed[at] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize("seed", range(6))
def test_any_flipped_bit_of_a_vector_is_found(collection, folder, seed):
    """The picture is named, and the next update makes its vector again."""
    draw = random.Random(seed)
    expected = contents(collection)
    victim = folder / "3.jpg"
    vector = expected[victim]
    damaged = flipped(vector, draw.randrange(len(vector)), draw.randrange(8))
    change(collection, "UPDATE vectors SET vector = ? WHERE vector = ?", damaged, vector)
    with Collection.open(collection.folder) as again:
        [finding] = again.verify()
        assert finding.subject == victim
        assert "vector" in finding.problem
        assert names(again) == ["0.jpg", "1.jpg", "2.jpg", "4.jpg", "5.jpg"]
        assert len(again.search(np.ones(192))) == 5
        assert summary(again.update([folder], workers=0)) == (1, 0, 0, 6)
        assert contents(again) == expected
        assert again.verify() == []


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sealed", [True, False])
def test_any_flipped_bit_of_a_vector_in_the_faiss_file_is_found(collection, folder, seed, sealed):
    """The catalog is believed, and no picture is read again; except where the row has no checksum."""
    draw = random.Random(seed)
    expected = contents(collection)
    victim = folder / "3.jpg"
    vector = in_index(expected[victim])
    [file] = collection.folder.glob("index-*.faiss")
    whole = file.read_bytes()
    assert whole.count(vector) == 1
    file.write_bytes(whole.replace(vector, flipped(vector, draw.randrange(len(vector)), draw.randrange(8))))
    if not sealed:
        change(collection, "UPDATE items SET checksum = NULL WHERE path LIKE ?", "%3.jpg")
        change(collection, "DELETE FROM meta WHERE key IN ('index seal', 'keys')")
    with Collection.open(collection.folder) as again:
        [finding] = again.verify()
        if sealed:
            assert finding == (file, "1 of its vectors is not the catalog's", "built again from the catalog")
            assert file.read_bytes() == whole
        else:
            assert finding.subject == victim and "differs between the catalog and the FAISS file" in finding.problem
            assert summary(again.update([folder], workers=0)) == (1, 0, 0, 6)
        assert contents(again) == expected
        assert again.verify() == []


def test_both_copies_may_be_damaged(collection, folder):
    """One picture's in the catalog, another one's in the FAISS file."""
    expected = contents(collection)
    [file] = collection.folder.glob("index-*.faiss")
    other = in_index(expected[folder / "3.jpg"])
    file.write_bytes(file.read_bytes().replace(other, flipped(other, 5, 5)))
    vector = expected[folder / "4.jpg"]
    change(collection, "UPDATE vectors SET vector = ? WHERE vector = ?", flipped(vector, 1, 1), vector)
    with Collection.open(collection.folder) as again:
        assert [finding.subject for finding in again.verify()] == [folder / "4.jpg", file]
        assert contents(again) == {path: vector for path, vector in expected.items() if path.name != "4.jpg"}
        assert again.verify() == []


DAMAGE = {
    "not a number": ("UPDATE vectors SET vector = ? WHERE item = 2", np.full(192, np.nan, "<f4").tobytes()),
    "zeros": ("UPDATE vectors SET vector = ? WHERE item = 2", np.zeros(192, "<f4").tobytes()),
    "huge": ("UPDATE vectors SET vector = ? WHERE item = 2", np.full(192, 3e38, "<f4").tobytes()),
    "short vector": ("UPDATE vectors SET vector = ? WHERE item = 2", b"1234"),
    "text for a vector": ("UPDATE vectors SET vector = ? WHERE item = 2", "x" * 768),
    "no vector": ("DELETE FROM vectors WHERE item = ?", 2),
    "short hash": ("UPDATE items SET digest = ? WHERE id = 2", b"123"),
    "no thumbnail": ("DELETE FROM thumbnails WHERE item = ?", 2),
    "cut thumbnail": ("UPDATE thumbnails SET jpeg = substr(jpeg, 1, length(jpeg) - ?) WHERE item = 2", 10),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("cached", [True, False])
def test_damaged_rows_are_named_and_read_again(collection, folder, kind, cached):
    """Whether or not the FAISS file is there to compare with."""
    expected = contents(collection)
    change(collection, *DAMAGE[kind])
    if not cached:
        for file in collection.folder.glob("index-*.faiss"):
            file.unlink()
    with Collection.open(collection.folder) as again:
        found = again.verify()
        assert found[0].subject == folder / "1.jpg"
        assert [finding.subject.suffix for finding in found[1:]] == ([] if cached else [".faiss"])
        assert again.update([folder], workers=0).images == 6
        assert contents(again) == expected
        assert again.verify() == []


COLUMNS = {
    "path": "items SET path = replace(path, '1.jpg', '9.jpg')",
    "size": "items SET size = size + 1",
    "mtime_ns": "items SET mtime_ns = mtime_ns + 1",
    "generation": "items SET generation = 0",
    "error": "items SET error = 'damaged'",
    "width": "items SET width = width + 1",
    "format": "items SET format = 'JPEH'",
    "taken": "items SET taken = '2020-01-01T00:00:00'",
    "type": "items SET height = height || 'x'",
    "digest": "items SET digest = zeroblob(32)",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_fact_is_found(collection, folder, column):
    """Even where the value could be right, taken alone."""
    change(collection, f"UPDATE {COLUMNS[column]} WHERE id = ?", 2)
    [finding] = collection.verify()[:1]
    assert finding.subject == folder / ("9.jpg" if column == "path" else "1.jpg")
    assert "checksum" in finding.problem
    assert collection.update([folder], workers=0).images == 6
    assert collection.verify() == []


@pytest.mark.parametrize("seed", range(6))
def test_any_flipped_bit_of_a_thumbnail_is_found(collection, folder, seed):
    draw = random.Random(seed)
    item = next(item for item in collection if item.path.name == "1.jpg")
    thumbnail = collection.thumbnail(item.id)
    assert thumbnail is not None
    # not at its ends, where it is known without a checksum
    damaged = flipped(thumbnail, draw.randrange(2, len(thumbnail) - 2), draw.randrange(8))
    change(collection, "UPDATE thumbnails SET jpeg = ? WHERE item = ?", damaged, item.id)
    [finding] = collection.verify()
    assert finding.subject == folder / "1.jpg"


def test_rows_of_moved_files_and_broken_files_have_checksums_too(collection, folder):
    (folder / "1.jpg").rename(folder / "moved.jpg")
    (folder / "broken.jpg").touch()
    assert collection.update([folder], workers=0).moved == 1
    assert collection.verify() == []
    change(collection, "UPDATE items SET size = size + 1 WHERE path LIKE ?", "%moved.jpg")
    change(collection, "UPDATE items SET error = 'none' WHERE path LIKE ?", "%broken.jpg")
    assert [finding.subject.name for finding in collection.verify()] == ["broken.jpg", "moved.jpg"]


def test_rows_without_a_checksum_get_one(collection, folder):
    """Those of a catalog that an older version made."""
    older_schema(collection.folder, 2)
    with Collection.open(collection.folder) as again:
        assert len(again.search(np.ones(192))) == 6
        assert again.verify() == []
        change(again, "UPDATE items SET width = 41 WHERE id = ?", 2)
        assert [finding.subject.name for finding in again.verify()] == ["1.jpg"]


def remove(file: Path) -> None:
    file.unlink()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def garble(file: Path) -> None:
    file.write_bytes(b"garbage" * 99)


@pytest.mark.parametrize("damage", [remove, truncate, garble])
def test_a_damaged_faiss_file_is_built_again(collection, folder, damage: Callable[[Path], None]):
    [file] = collection.folder.glob("index-*.faiss")
    whole = file.read_bytes()
    damage(file)
    [finding] = collection.verify()
    assert finding.subject == file
    assert "built again" in finding.repair
    assert file.read_bytes() == whole
    assert len(collection) == 6


def test_pages_that_sqlite_cannot_read(collection, folder):
    collection.close()
    file = collection.folder / "catalog.sqlite"
    content = bytearray(file.read_bytes())
    content[2 * 4096 : 2 * 4096 + 600] = b"\xaa" * 600
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"catalog\.sqlite.*--verify"), Collection.open(collection.folder) as again:
        again.items()
        again.search(np.ones(192), 6)
    with Collection.open(collection.folder) as again:
        [finding] = again.verify()[:1]
        assert "pages of it are broken" in finding.problem and "saved" in finding.repair
        assert again.update([folder], workers=0).images == 6
        assert again.verify() == []


def test_another_encoder(collection):
    small_encoder(collection.folder / "encoder.onnx", grey=100)
    with Collection.open(collection.folder) as again, pytest.raises(UserError, match="not the encoder"):
        again.verify()


# -- the command


def test_the_command_names_every_repair(run, collection, folder):
    done = run("index", "--verify", "--collection", collection.folder)
    assert (done.returncode, done.stdout) == (0, f"6 images in {collection.folder}: all in order\n")
    change(collection, *DAMAGE["zeros"])
    change(collection, "DELETE FROM thumbnails WHERE item = ?", 4)
    done = run("index", "--verify", "--collection", collection.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{folder}/1.jpg: its vector is damaged (length 0 instead of 1); forgotten; the next update reads it again",
        f"{folder}/3.jpg: its thumbnail is missing or damaged; forgotten; the next update reads it again",
        f"4 images in {collection.folder}: 2 repairs",
    ]


def test_the_command_rebuilds_the_index(run, collection):
    [file] = collection.folder.glob("index-*.faiss")
    whole = file.read_bytes()
    file.unlink()
    done = run("index", "--rebuild-index", "--collection", collection.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"built the index of 6 images in {collection.folder} again\n"
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    "options", [["--verify", "--rebuild-index"], ["--verify", "--prune"], ["--rebuild-index", "."]]
)
def test_maintenance_goes_alone(run, collection, options):
    refused(run("index", "--collection", collection.folder, *options), "second run")


def test_maintenance_needs_a_collection(run, tmp_path):
    for option in ("--verify", "--rebuild-index", "--dry-run"):
        refused(run("index", option, "--collection", tmp_path / "none"))
