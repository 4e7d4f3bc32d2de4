"""An update that meets a damaged row of the catalog before any search or ``--verify``: it never seals it anew."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from simsiam_retrieval import Collection, UserError
from tests.support.commands import Run, runner
from tests.support.small_collections import indexed, painted
from tests.support.small_encoder import contents, names, paint

VICTIM = "3.png"
DAMAGE = {
    "digest": "digest = zeroblob(32)",
    "width": "width = width + 1",
    "format": "format = 'JPEH'",
    "taken": "taken = '2001-01-01T00:00:00'",
    "size": "size = size + 1",
    "time": "mtime_ns = mtime_ns + 1",
    "path": "path = replace(path, '3.png', '7.png')",
    "path, outside": "path = '/nowhere' || path",
    "generation, later": "generation = generation + 4",
    "generation, next": "generation = generation + 1",
    "error": "error = 'broken'",
    "and its checksum": "digest = zeroblob(32), checksum = NULL",
}


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(tmp_path, capsys, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return painted(tmp_path / "pictures", 6, ".png")


@pytest.fixture
def labelled(folder: Path, tmp_path: Path) -> Path:
    """A collection in which each image has a label."""
    with Collection.open(indexed(folder, tmp_path / "made")) as made:
        made.set_labels({item.id: item.path.name for item in made})
    return tmp_path / "made"


def change(collection: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(collection / "catalog.sqlite") as database:
        assert database.execute(statement, values).rowcount
    database.close()


def damage(collection: Path, kind: str) -> None:
    change(collection, f"UPDATE items SET {DAMAGE[kind]} WHERE path LIKE '%/{VICTIM}'")


def labels(collection: Collection) -> dict[str, str]:
    found = collection.labels()
    return {item.path.name: found[item.id] for item in collection}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("sealed", [True, False])
def test_an_update_reads_a_damaged_row_again(labelled: Path, folder: Path, kind: str, sealed: bool) -> None:
    with Collection.open(labelled) as collection:
        before, named = contents(collection), labels(collection)
    if not sealed:  # an older version wrote it
        change(labelled, "DELETE FROM meta WHERE key IN ('facts seal', 'keys')")
    damage(labelled, kind)
    paint(folder / "new.png", 9)  # something to publish
    with Collection.open(labelled) as collection:
        update = collection.update([folder], workers=0)
        assert len(update.damaged) == 1 and not update.still_damaged
        assert [path.name for path in update.damaged] == ["7.png" if kind == "path" else VICTIM]
        after = contents(collection)
        assert {path: after[path] for path in before} == before and len(after) == len(before) + 1
        collection.set_labels({item.id: "new" for item in collection if item.path.name == "new.png"})
        assert labels(collection) == named | {"new.png": "new"}
        assert collection.verify() == []
        assert collection.update([folder], workers=0).damaged == []


@pytest.mark.parametrize("kind", DAMAGE)
def test_lists_do_not_show_damaged_rows(labelled: Path, kind: str) -> None:
    damage(labelled, kind)
    with Collection.open(labelled) as collection:
        for listed in (collection.items, collection.failures, collection.labels):
            with pytest.raises(UserError, match="--verify"):
                listed()
        with pytest.raises(UserError, match="--verify"):
            collection.duplicates(exact=True)
        assert [finding.repair for finding in collection.verify()][:1] == ["forgotten; the next update reads it again"]
        assert VICTIM not in names(collection)


def test_a_copy_is_not_taken_from_a_damaged_row(labelled: Path, folder: Path) -> None:
    """The vector of a copy is that of the file, though what is stored of the original has another one."""
    with Collection.open(labelled) as collection:
        before = contents(collection)
    query = "SELECT vector FROM vectors JOIN items ON id = item WHERE path LIKE ?"
    with sqlite3.connect(labelled / "catalog.sqlite") as database:
        [(other,)] = database.execute(query, ["%/4.png"])
    database.close()
    victim = "(SELECT id FROM items WHERE path LIKE ?)"
    change(labelled, f"UPDATE vectors SET vector = ? WHERE item = {victim}", other, f"%/{VICTIM}")
    shutil.copy(folder / VICTIM, folder / "copy.png")
    with Collection.open(labelled) as collection:
        update = collection.update([folder], workers=0)
        assert (update.added, update.reused) == (1, 0)
        assert contents(collection)[folder / "copy.png"] == before[folder / VICTIM]
        assert folder / VICTIM in [finding.subject for finding in collection.verify()]


def test_a_damaged_row_whose_file_is_not_there_stays_damaged(
    labelled: Path, folder: Path, tmp_path: Path, run: Run
) -> None:
    paint(tmp_path / "others" / "new.png", 9)
    damage(labelled, "digest")
    folder.rename(tmp_path / "away")
    done = run("index", str(tmp_path / "others"), "--collection", str(labelled), "--workers", "0")
    assert done.returncode == 0 and f"{VICTIM} does not fit its checksum, and was not read again" in done.stderr
    with Collection.open(labelled) as collection, pytest.raises(UserError, match="--verify"):
        collection.items()
    (tmp_path / "away").rename(folder)
    done = run("index", str(folder), "--collection", str(labelled), "--workers", "0")
    assert done.returncode == 0 and f"{VICTIM} did not fit its checksum; read again" in done.stderr
    with Collection.open(labelled) as collection:
        assert sorted(collection.labels().values()) == [f"{number}.png" for number in range(6)]
        assert sorted(names(collection)) == [*(f"{number}.png" for number in range(6)), "new.png"]
        assert collection.verify() == []


def test_forgetting_and_moving_seal_no_damage(labelled: Path, folder: Path, tmp_path: Path) -> None:
    damage(labelled, "width")
    folder.rename(tmp_path / "moved")
    with Collection.open(labelled) as collection:
        collection.move(folder, tmp_path / "moved")
        collection.remove([tmp_path / "moved" / "1.png"])
        with pytest.raises(UserError, match="--verify"):
            collection.items()
        assert [finding.subject.name for finding in collection.verify()][:1] == [VICTIM]
        assert len(collection.items()) == 4
