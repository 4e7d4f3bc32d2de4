"""What must not get lost or wrong when processes are killed, disks fill up, or bytes of a collection change."""

import json
import os
import random
import sqlite3
import stat
import threading
import time
from pathlib import Path

import faiss
import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.storage import checksums, label_copy, sealing
from simsiam_retrieval.collection.storage.sqlite_store import SqliteStore
from simsiam_retrieval.collection.storage.writer_lock import writing
from simsiam_retrieval.collection.update import planning
from simsiam_retrieval.collection.update.index_folders import index_folders
from simsiam_retrieval.encoder import embed_files
from simsiam_retrieval.images.decode import ImageError
from tests.support.commands import refused
from tests.support.small_encoder import (
    expected_vector,
    older_schema,
    paint,
    small_encoder,
    unit_vector,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        paint(tmp_path / "pictures" / f"{number}.jpg", number)
    return tmp_path / "pictures"


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return small_encoder(tmp_path / "small.onnx")


@pytest.fixture
def collection(folder: Path, encoder: Path, tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "made", encoder)
    made.update([folder], workers=0)
    return made


@pytest.fixture
def labelled(collection: Collection) -> Collection:
    ids = [item.id for item in collection]
    collection.set_labels({ids[0]: "cat", ids[1]: "dög", ids[2]: 'a "b", c'})
    return collection


LABELS = {"0.jpg": "cat", "1.jpg": "dög", "2.jpg": 'a "b", c'}


def labels_by_name(collection: Collection) -> dict[str, str]:
    labels = collection.labels()
    return {item.path.name: labels[item.id] for item in collection if item.id in labels}


def change(folder: Path, statement: str, *values: object) -> None:
    database = sqlite3.connect(folder / "catalog.sqlite")
    with database:
        database.execute(statement, values)
    database.close()


# -- a first run that was killed, and two at once


@pytest.mark.parametrize(
    "left",
    [
        ".catalog.sqlite.abc.tmp",
        ".catalog.sqlite.abc.tmp-journal",
        ".encoder.onnx.abc.tmp",
        ".index-1.faiss.abc.tmp",
        "encoder.onnx",
        ".lock",
    ],
)
def test_what_a_killed_first_run_leaves_is_no_obstacle(folder, encoder, tmp_path, left):
    made = tmp_path / "made"
    made.mkdir()
    (made / left).write_bytes(b"half")
    assert index_folders([folder], made, str(encoder), workers=0).images == 6
    assert not [entry.name for entry in made.iterdir() if ".tmp" in entry.name]


def test_a_folder_of_somebody_else_is_left_alone(folder, encoder, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    (made / "thesis.tmp").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        index_folders([folder], made, str(encoder), workers=0)
    assert (made / "thesis.tmp").read_text() == "mine"


def test_a_catalog_is_made_without_a_journal_beside_it(tmp_path, monkeypatch):
    """A kill while it is made leaves one unfinished file at most."""
    seen: list[str] = []
    monkeypatch.setattr(sealing, "seal_roots", lambda db: seen.extend(path.name for path in tmp_path.iterdir()))
    SqliteStore.create(tmp_path, {"encoder": "x", "dim": "1"}).close()
    assert seen and not [name for name in seen if "journal" in name]


def test_the_second_of_two_first_runs_hears_of_the_first(folder, encoder, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    said: list[str] = []
    with writing(made), pytest.raises(UserError, match="another update of this collection is running"):
        index_folders([folder], made, str(encoder), workers=0)
    held, done = threading.Event(), threading.Event()

    def first() -> None:
        with writing(made):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=first)
    thread.start()
    held.wait(60)

    def on_wait(text: str) -> None:
        said.append(text)
        done.set()

    assert index_folders([folder], made, str(encoder), on_wait=on_wait, workers=0).images == 6
    thread.join()
    assert "is running" in said[0]


def test_a_first_run_that_comes_second_is_an_update(folder, encoder, tmp_path, monkeypatch):
    """The collection appears between the look and the making."""
    made = tmp_path / "made"
    answers = iter([False])
    real = Collection.exists.__func__
    monkeypatch.setattr(Collection, "exists", classmethod(lambda cls, path: next(answers, None) or real(cls, path)))
    Collection.create(made, encoder).close()
    answers = iter([False])
    assert index_folders([folder], made, str(encoder), workers=0).images == 6


def test_unfinished_files_of_killed_runs_go_with_the_next(collection, folder):
    for name in (".encoder.onnx.x.tmp", ".index-3.faiss.x.tmp", ".catalog.sqlite.x.tmp-journal", ".map-1.npz.new.tmp"):
        (collection.folder / name).write_bytes(b"x")
    old = collection.folder / ".map-1.npz.old.tmp"
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    collection.update([folder], workers=0)
    left = [entry.name for entry in collection.folder.iterdir() if ".tmp" in entry.name]
    assert left == [".map-1.npz.new.tmp"]  # perhaps being written: maps are made without the lock


def test_the_folder_is_synced_after_a_rename(tmp_path, monkeypatch):
    from simsiam_retrieval.core import atomic_files

    synced: list[bool] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(handle).st_mode))
        real(handle)

    monkeypatch.setattr(atomic_files.os, "fsync", fsync)
    atomic_files.write_json(tmp_path / "a.json", 1)
    assert synced == [False, True]


# -- the FAISS file


@pytest.mark.parametrize("seed", range(12))
def test_a_search_does_not_believe_a_changed_faiss_file(collection, seed):
    draw = random.Random(seed)
    query = np.random.default_rng(seed).normal(size=192).astype(np.float32)
    expected = [(hit.path, hit.score) for hit in collection.search(query, 6)]
    [file] = collection.folder.glob("index-*.faiss")
    content = bytearray(file.read_bytes())
    at = draw.randrange(len(content))
    content[at] ^= 1 << draw.randrange(8)
    file.write_bytes(content if seed % 3 else content[:at])
    with Collection.open(collection.folder) as again:
        assert [(hit.path, hit.score) for hit in again.search(query, 6)] == expected


def test_a_score_that_is_not_finite_is_never_shown(collection):
    """Of a collection without a seal, which an older version made."""
    query = np.ones(192, np.float32)
    expected = [hit.path for hit in collection.search(query, 6)]
    [file] = collection.folder.glob("index-*.faiss")
    vectors = np.array([unit_vector(stored) for stored in _vectors(collection.folder)], np.float32)
    vectors[0] = np.nan
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(192))
    index.add_with_ids(vectors, np.arange(1, 7))
    file.write_bytes(faiss.serialize_index(index).tobytes())
    change(collection.folder, "DELETE FROM meta WHERE key IN ('index seal', 'keys')")
    with Collection.open(collection.folder) as again:
        assert [hit.path for hit in again.search(query, 6)] == expected
        assert [hit.path for hit in again.search(query, 1)] == expected[:1]


def _vectors(folder: Path) -> list[bytes]:
    database = sqlite3.connect(folder / "catalog.sqlite")
    found = [vector for (vector,) in database.execute("SELECT vector FROM vectors")]
    database.close()
    return found


def test_a_vector_that_is_not_finite_in_the_catalog_is_named(collection):
    [file] = collection.folder.glob("index-*.faiss")
    file.unlink()
    change(collection.folder, "UPDATE vectors SET vector = ? WHERE item = 2", np.full(192, np.nan, "<f4").tobytes())
    with Collection.open(collection.folder) as again, pytest.raises(UserError, match=r"item 2 is damaged.*--verify"):
        again.search(np.ones(192, np.float32))


def test_a_result_whose_row_was_changed_is_not_shown(collection):
    change(collection.folder, "UPDATE items SET path = replace(path, '1.jpg', '9.jpg')")
    with Collection.open(collection.folder) as again, pytest.raises(UserError, match="does not fit its checksum"):
        again.search(np.ones(192, np.float32), 6)


@pytest.mark.parametrize("change_", ["generation = 65", "error = 0"])
def test_an_image_that_a_changed_bit_hides_is_missed(collection, change_):
    """Readers pass the row over, so only the index tells that there was one more."""
    change(collection.folder, f"UPDATE items SET {change_} WHERE id = 3")
    with Collection.open(collection.folder) as opened, pytest.raises(UserError, match=r"damaged.*--verify"):
        opened.search(np.ones(192, np.float32), 6)
    with Collection.open(collection.folder) as opened:
        assert opened.verify()[0].subject.name == "2.jpg"
        opened.update(workers=0)
        assert len(opened.search(np.ones(192, np.float32), 9)) == 6


def test_a_changed_hash_hides_no_label_in_silence(labelled):
    """A label is found by the hash of its image's content, in a row that no search needs to show."""
    change(labelled.folder, "UPDATE items SET digest = zeroblob(32) WHERE id = 2")
    with Collection.open(labelled.folder) as opened:
        with pytest.raises(UserError, match=r"hashes of its images.*--verify"):
            opened.labels()
        with pytest.raises(UserError, match=r"hashes of its images.*--verify"):
            opened.set_labels({2: "other"})
        assert opened.verify()[0].subject.name == "1.jpg"
        opened.update(workers=0)
        assert labels_by_name(opened) == LABELS


UNREADABLE = {
    "a name": "items SET path = CAST(CAST(replace(path, '1.jpg', '') AS BLOB) || x'ff' AS TEXT)",
    "a name of bytes": "items SET path = CAST(path AS BLOB)",
    "a number for a name": "items SET path = 5",
    "a format": "items SET format = CAST(x'4aff' AS TEXT)",
    "a hash": "items SET digest = CAST(x'ff00' AS TEXT)",
    "a vector": "vectors SET vector = CAST(vector AS TEXT)",
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_row_that_cannot_be_read_costs_itself(labelled, folder, kind):
    """Text that is none, or not where there should be text: it cannot even be compared with its checksum."""
    column = "item" if kind == "a vector" else "id"
    change(labelled.folder, f"UPDATE {UNREADABLE[kind]} WHERE {column} = 2")
    found = Collection.mend(labelled.folder)
    assert [finding.problem for finding in found] == ["what is stored of it cannot be read"]
    with Collection.open(labelled.folder) as opened:
        opened.verify()
        assert opened.verify() == []
        opened.update([folder], workers=0)
        assert labels_by_name(opened) == LABELS
        assert len(opened) == 6


def test_verify_seals_the_index_of_an_older_version(collection):
    change(collection.folder, "DELETE FROM meta WHERE key IN ('index seal', 'keys')")
    with Collection.open(collection.folder) as again:
        assert again.verify() == []
    [file] = collection.folder.glob("index-*.faiss")
    file.write_bytes(file.read_bytes() + b"more")
    with Collection.open(collection.folder) as again:
        [finding] = again.verify()
    assert finding.subject == file and "checksum" in finding.problem


# -- labels and settings


SETTINGS = {
    "label bit": ("UPDATE labels SET label = 'cau' WHERE label = 'cat'", "changed bit"),
    "label": ("UPDATE labels SET label = 'horse' WHERE label = 'cat'", "labels.jsonl"),
    "label gone": ("DELETE FROM labels WHERE label = 'cat'", "labels.jsonl"),
    "label digest": ("UPDATE labels SET digest = zeroblob(32) WHERE label = 'cat'", "labels.jsonl"),
    "label checksum": ("UPDATE labels SET checksum = zeroblob(8) WHERE label = 'cat'", "labels.jsonl"),
    "label type": ("UPDATE labels SET label = CAST(label AS BLOB) WHERE label = 'cat'", "changed bit"),
    "generation": ("UPDATE meta SET value = '7' WHERE key = 'generation'", "worked out"),
    "encoder": ("UPDATE meta SET value = 'none' WHERE key = 'encoder'", "taken from its encoder"),
    "dim": ("UPDATE meta SET value = 'many' WHERE key = 'dim'", "taken from its encoder"),
    "no dim": ("DELETE FROM meta WHERE key = 'dim'", "taken from its encoder"),
    "schema": ("UPDATE meta SET value = '[' WHERE key = 'schema'", "worked out"),
    "noise": ("UPDATE meta SET value = '[[' WHERE key = 'noise'", "made again"),
    "index": ("UPDATE meta SET key = 'index of', value = '{\"kind\": 5}' WHERE key = 'index made with'", "made again"),
    "keys": ("UPDATE meta SET value = '5' WHERE key = 'keys'", ""),
    "labels seal": ("UPDATE meta SET value = '[1' WHERE key = 'labels seal'", "worked out again"),
    "roots": ("UPDATE roots SET path = substr(path, 1, length(path) - 1) || 'r'", "put right"),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_changed_settings_and_labels_are_named_and_mended(labelled, folder, kind):
    statement, repair = SETTINGS[kind]
    change(labelled.folder, statement)
    found = Collection.mend(labelled.folder)
    assert any(repair in finding.repair or repair in finding.problem for finding in found) or not repair
    with Collection.open(labelled.folder) as again:
        assert labels_by_name(again) == LABELS
        assert again.roots == [folder]
        assert len(again.search(np.ones(192, np.float32), 6)) == 6
        again.verify()
        assert again.verify() == []


def test_a_damaged_label_is_not_used_in_silence(labelled):
    change(labelled.folder, "UPDATE labels SET label = 'cau' WHERE label = 'cat'")
    with Collection.open(labelled.folder) as again, pytest.raises(UserError, match=r"'cau'.*--verify"):
        again.labels()


def test_a_damaged_setting_is_not_used_in_silence(labelled):
    change(labelled.folder, "UPDATE meta SET value = '193' WHERE key = 'dim'")
    with pytest.raises(UserError, match=r"'dim'.*--verify"):
        Collection.open(labelled.folder)


def test_one_changed_bit_is_put_right_wherever_it_is():
    digest, label = bytes(range(32)), "süß"
    checksum = checksums.of_label(digest, label)
    stored = digest + label.encode()
    for place in range(len(stored)):
        for bit in range(8):
            changed = bytearray(stored)
            changed[place] ^= 1 << bit
            assert checksums.mended_label(bytes(changed[:32]), bytes(changed[32:]), checksum) == (digest, label)
    assert checksums.mended_label(digest, b"other", checksum) is None


def test_the_copy_of_the_labels_follows(labelled):
    first = next(iter(labelled))
    labelled.set_labels({first.id: None})
    assert sorted(label_copy.read(labelled.folder).values()) == sorted(
        label for label in LABELS.values() if label != "cat"
    )
    file = labelled.folder / label_copy.FILE
    file.write_bytes(file.read_bytes() + b'{"digest": "00')  # a full disk
    labelled.set_labels({first.id: "back"})
    assert "back" in label_copy.read(labelled.folder).values()


def test_an_older_catalog_gets_its_checksums_with_the_first_label(collection):
    older_schema(collection.folder, 3)
    with Collection.open(collection.folder) as again:
        first, *_ = again
        assert again.search(first, 1)[0].path != first.path
        again.set_labels({first.id: "one"})
        assert again.labels() == {first.id: "one"}
    change(collection.folder, "UPDATE labels SET label = 'onf'")
    with Collection.open(collection.folder) as again, pytest.raises(UserError, match="onf"):
        again.labels()


def test_images_without_a_hash_are_named_by_set_labels(collection):
    first, second, *_ = collection
    change(collection.folder, "UPDATE items SET digest = NULL WHERE id = ?", first.id)
    change(collection.folder, "DELETE FROM meta WHERE key IN ('digests seal', 'keys')")
    assert collection.set_labels({first.id: "one", second.id: "two"}) == [first.id]
    assert collection.labels() == {second.id: "two"}


# -- pages


def pages(file: Path) -> int:
    return file.stat().st_size // 4096


def test_a_damaged_index_of_sqlite_costs_nothing(labelled):
    """Its index over paths has an entry that no row has."""
    file = labelled.folder / "catalog.sqlite"
    labelled.close()
    database = sqlite3.connect(file)
    (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_items_1'").fetchone()
    database.close()
    content = bytearray(file.read_bytes())
    page = bytes(content[(root - 1) * 4096 : root * 4096])
    assert page.count(b"/1.jpg") == 1
    content[(root - 1) * 4096 : root * 4096] = page.replace(b"/1.jpg", b"/9.jpg")
    file.write_bytes(content)
    [finding] = Collection.mend(labelled.folder)
    assert "nothing lost" in finding.repair
    with Collection.open(labelled.folder) as again:
        assert (len(again), labels_by_name(again), again.verify()) == (6, LABELS, [])


@pytest.mark.parametrize("seed", range(8))
def test_broken_pages_cost_no_label(labelled, folder, seed):
    draw = random.Random(seed)
    labelled.close()
    file = labelled.folder / "catalog.sqlite"
    content = bytearray(file.read_bytes())
    page = seed if seed < 2 else draw.randrange(pages(file))
    content[page * 4096 : page * 4096 + 600] = draw.randbytes(600)
    file.write_bytes(content)
    Collection.mend(labelled.folder)
    with Collection.open(labelled.folder) as again:
        again.verify()
        again.update([folder], workers=0)
        assert labels_by_name(again) == LABELS
        assert len(again) == 6
        assert again.verify() == []


def test_labels_outlive_a_deleted_catalog(labelled, folder, encoder):
    labelled.close()
    (labelled.folder / "catalog.sqlite").unlink()
    index_folders([folder], labelled.folder, str(encoder), workers=0)
    with Collection.open(labelled.folder) as again:
        assert labels_by_name(again) == LABELS


def test_a_journal_in_a_folder_that_cannot_be_written(collection, unprivileged, open_folder):
    """What is left of a killed update must be undone first; the message says so."""
    from simsiam_retrieval.collection.storage.catalog_file import explained

    (open_folder / "catalog.sqlite-journal").touch()
    with pytest.raises(UserError, match="an update was interrupted"), explained(open_folder):
        raise sqlite3.OperationalError("attempt to write a readonly database")
    (open_folder / "catalog.sqlite-journal").unlink()
    with pytest.raises(UserError, match="no permission"), explained(open_folder):
        raise sqlite3.OperationalError("attempt to write a readonly database")


# -- updates that would forget a lot


def test_a_pattern_that_matches_nothing_forgets_nothing(run, collection, folder):
    refused(run("index", folder, "--include", "*.jpgg", "--collection", collection.folder), "leave none of 6")
    assert len(collection) == 6
    done = run("index", folder, "--include", "*.jpgg", "--prune", "--collection", collection.folder)
    assert (done.returncode, len(collection)) == (0, 0)


def test_forgetting_most_images_wants_a_word(collection, folder, monkeypatch):
    monkeypatch.setattr(planning, "FEW", 2)
    for number in range(4):
        (folder / f"{number}.jpg").rename(folder.parent / f"{number}.away")
    update = collection.update([folder], workers=0)
    assert (update.images, update.held) == (6, [(folder, 4)])
    assert collection.update([folder], prune=True, workers=0).images == 2


def test_patterns_that_leave_out_most_want_a_word(collection, folder, monkeypatch):
    monkeypatch.setattr(planning, "FEW", 2)
    with pytest.raises(UserError, match="would forget 4 of 6"):
        collection.update([folder], exclude=["[0-3].jpg"], workers=0)
    assert len(collection) == 6
    assert collection.update([folder], exclude=["[0-3].jpg"], prune=True, workers=0).images == 2


def test_a_folder_that_was_moved_is_not_forgotten_images(collection, folder, monkeypatch):
    monkeypatch.setattr(planning, "FEW", 2)
    (folder / "new").mkdir()
    for number in range(6):
        (folder / f"{number}.jpg").rename(folder / "new" / f"{number}.jpg")
    update = collection.update([folder], workers=0)
    assert (update.moved, update.held, update.images) == (6, [], 6)


# -- derived files


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_map_is_none(tmp_path, seed):
    from simsiam_retrieval.collection.explore import projection

    draw = random.Random(seed)
    ids = np.arange(1, 9)
    points = np.random.default_rng(0).uniform(-1, 1, (8, 2)).astype(np.float32)
    assert projection.save(tmp_path, 1, "encoder", projection.Projection(ids, points))
    [file] = tmp_path.glob("map-*.npz")
    content = bytearray(file.read_bytes())
    for _ in range(1 + seed % 3):
        content[draw.randrange(len(content))] = draw.randrange(256)
    file.write_bytes(content[: draw.randrange(len(content))] if seed % 4 == 0 else content)
    found = projection.load(tmp_path, "encoder")
    assert found is None or (np.array_equal(found.ids, ids) and np.array_equal(found.points, points))


def test_json_from_outside_may_be_nested_deeply(tmp_path):
    from simsiam_retrieval.core.atomic_files import parse_json

    with pytest.raises(ValueError, match="deep"):
        parse_json("[" * 100_000)
    assert parse_json(json.dumps({"a": [1]})) == {"a": [1]}


# -- what cannot be read


def test_a_large_file_that_is_no_image_is_not_read(collection, folder, monkeypatch):
    """2 GB of nothing, by its name a TIFF."""
    with (folder / "hole.tif").open("wb") as file:
        file.truncate(2 * 10**9)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("read") if path.suffix == ".tif" else read(path))
    [(path, reason)] = collection.update([folder], workers=0).failed
    assert path.name == "hole.tif" and "not an image" in reason


def test_a_large_image_gives_what_a_small_one_gives(collection, folder, monkeypatch):
    paint(folder / "new.jpg", 7)
    monkeypatch.setattr(embed_files, "LARGE", 100)
    assert collection.update([folder], workers=0).added == 1
    new = collection.item_at(folder / "new.jpg")
    assert new is not None
    np.testing.assert_allclose(collection.vectors_of([new.id])[0], expected_vector(folder / "new.jpg"), atol=5e-6)
    assert collection.verify() == []


def test_a_picture_without_a_direction_costs_itself(tmp_path):
    """Of an encoder that takes black for nothing: zero divided by zero."""
    paint(tmp_path / "pictures" / "a.jpg", 1)
    Image.new("RGB", (20, 20), "black").save(tmp_path / "pictures" / "black.png")
    with Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx", grey=0)) as made:
        update = made.update([tmp_path / "pictures"], workers=0)
        assert update.images == 1
        assert update.failed == [(tmp_path / "pictures" / "black.png", "the encoder gives no usable vector for it")]
        with pytest.raises(UserError, match="not of unit length"):
            made.search(tmp_path / "pictures" / "black.png")


def test_what_crashes_the_decoder_apart_costs_itself(tmp_path, monkeypatch):
    """As the app decodes what visitors give."""
    from simsiam_retrieval.images import apart

    picture = paint(tmp_path / "a.jpg", 1)
    monkeypatch.setattr(apart, "_workers", None)
    monkeypatch.setattr(apart, "_read", crash_or_read)
    with pytest.raises(ImageError, match="crashed"):
        apart.read_image_apart(b"crash")
    assert apart.read_image_apart(picture).image.size == (40, 30)
    with pytest.raises(ImageError, match="took over"):
        apart.read_image_apart(b"hang", seconds=0.5)
    with pytest.raises(ImageError, match="not an image"):
        apart.read_image_apart(b"neither")


def crash_or_read(sources: list) -> list:
    from simsiam_retrieval.images.decode import read_image

    found = []
    for source, side, reading in sources:
        if source == b"crash":
            os._exit(3)
        if source == b"hang":
            time.sleep(60)
        try:
            found.append(read_image(source, side, reading))
        except ImageError as error:
            found.append(error)
    return found
