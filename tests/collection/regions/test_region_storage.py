"""Regions in a collection: stored with their image, kept up to date, checked, and deleted with it."""

import json
import sqlite3
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.regions.region_boxes import region_boxes
from simsiam_retrieval.collection.regions.region_index import load_region_index
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.encoder.region_encoder import RegionEncoder
from simsiam_retrieval.images.decode import read_image
from tests.support.small_encoder import Killed, paint, stop_after

MOST = 12  # regions of a picture of 4:3


def regions_of(collection: Collection) -> dict[str, np.ndarray]:
    """Name of the file -> vectors of its regions."""
    found = collection.region_vectors()
    return {item.path.name: found.vectors[found.ids == item.id] for item in collection}


def assert_right(collection: Collection) -> None:
    """Every image has the regions that the encoder gives for its file, and the index holds them."""
    encoder = RegionEncoder.of(collection.encoder)
    found = collection.region_vectors()
    assert found.ids.tolist() == sorted(found.ids.tolist())
    for item in collection:
        decoded = read_image(item.path, collection.encoder.decode_side)
        boxes = region_boxes(item.width, item.height)
        rows, vectors = encoder.vectors(decoded, boxes)
        mine = found.ids == item.id
        assert found.boxes[mine] == pytest.approx(boxes[rows])
        assert found.vectors[mine] == pytest.approx(vectors, abs=1e-3)
    index = load_region_index(collection._store)  # type: ignore[arg-type]
    assert index is not None
    assert len(index) == len(collection) + len(found.ids)


def test_a_collection_without_regions_has_none(collection: Collection) -> None:
    assert not collection.has_regions
    assert len(collection.region_vectors().ids) == 0
    assert collection.region_vectors().vectors.shape == (0, collection.dim)
    assert not list(collection.folder.glob("regions-*"))


def test_regions_of_a_new_collection(empty: Collection, folder: Path) -> None:
    update = empty.update([folder], regions=True, workers=0)
    assert (update.added, update.regions_added, update.without_regions) == (5, 0, 0)
    assert empty.has_regions
    assert len(empty.region_vectors().ids) == 5 * MOST
    assert_right(empty)


def test_an_update_without_news_reads_no_vectors_of_regions(empty: Collection, folder: Path, monkeypatch) -> None:
    """What counts regions is answered by their small index; the index file is not made again."""
    empty.update([folder], regions=True, workers=0)
    before = {file: file.stat().st_mtime_ns for file in empty.folder.glob("regions-*")}
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments, **options) -> sqlite3.Connection:
        db = connect(*arguments, **options)
        db.set_trace_callback(statements.append)
        return db

    monkeypatch.setattr(sqlite3, "connect", traced)
    update = empty.update([folder], regions=True, workers=0)
    monkeypatch.undo()
    assert (update.added, update.regions_added, update.without_regions) == (0, 0, 0)
    assert {file: file.stat().st_mtime_ns for file in empty.folder.glob("regions-*")} == before
    asked = [text for text in statements if " regions" in text and text.startswith("SELECT")]
    with sqlite3.connect(empty.folder / "catalog.sqlite") as db:
        plans = [row[3] for text in asked for row in db.execute(f"EXPLAIN QUERY PLAN {text}")]
    about = [plan for plan in plans if "regions" in plan]
    assert about and all("INDEX regions_sizes" in plan for plan in about)


def test_an_older_collection_gets_them_and_keeps_its_ids(collection: Collection, folder: Path) -> None:
    before = {item.path: item.id for item in collection}
    generation = collection.generation
    update = collection.update(regions=True, workers=0)
    assert (update.added, update.changed, update.regions_added) == (0, 0, 5)
    assert {item.path: item.id for item in collection} == before
    assert collection.generation == generation
    assert_right(collection)

    # later updates keep them without being told
    paint(folder / "f.jpg", 9)
    paint(folder / "a.jpg", 10, (30, 40))
    (folder / "b.jpg").rename(folder / "moved.jpg")
    (folder / "c.jpg").unlink()
    update = collection.update(workers=0)
    assert (update.added, update.changed, update.removed, update.regions_added) == (2, 1, 2, 0)
    assert_right(collection)
    assert collection.update(workers=0).regions_added == 0


def test_they_can_be_deleted(empty: Collection, folder: Path) -> None:
    empty.update([folder], regions=True, workers=0)
    empty.update(regions=False, workers=0)
    assert not empty.has_regions
    assert len(empty.region_vectors().ids) == 0
    assert not list(empty.folder.glob("regions-*"))
    paint(folder / "f.jpg", 9)
    empty.update(workers=0)
    assert len(empty.region_vectors().ids) == 0


@pytest.mark.usefixtures("each_chunk_kept")
@pytest.mark.parametrize("how", [KeyboardInterrupt, Killed])
def test_adding_them_goes_on_after_an_interruption(empty: Collection, many: Path, how: type[BaseException]) -> None:
    empty.update([many], workers=0)
    if how is Killed:
        with pytest.raises(Killed):
            empty.update(regions=True, workers=0, on_progress=stop_after(1, how))
    else:
        assert not empty.update(regions=True, workers=0, on_progress=stop_after(1, how)).finished
    assert 0 < len(set(empty.region_vectors().ids.tolist())) < 40
    update = empty.update(workers=0)
    assert 0 < update.regions_added < 40
    assert_right(empty)


def test_a_file_that_is_gone_keeps_none(collection: Collection, folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "elsewhere")
    update = collection.update(regions=True, workers=0)
    assert (update.regions_added, update.without_regions) == (0, 5)
    (tmp_path / "elsewhere").rename(folder)
    update = collection.update(workers=0)
    assert (update.regions_added, update.without_regions) == (5, 0)
    assert_right(collection)


def test_a_plain_picture_has_no_regions_and_is_not_tried_again(empty: Collection, folder: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30), (200, 10, 10)).save(folder / "plain.png")
    empty.update([folder], regions=True, workers=0)
    assert len(regions_of(empty)["plain.png"]) == 0
    assert empty.update(workers=0).regions_added == 0


def test_forgotten_with_their_image(empty: Collection, folder: Path) -> None:
    empty.update([folder], regions=True, workers=0)
    empty.remove([folder / "a.jpg"])
    assert len(empty.region_vectors().ids) == 4 * MOST
    assert_right(empty)


def test_moved_with_their_image(empty: Collection, folder: Path, tmp_path: Path) -> None:
    empty.update([folder], regions=True, workers=0)
    folder.rename(tmp_path / "new")
    empty.move(folder, tmp_path / "new")
    assert_right(empty)
    assert empty.verify() == []


@pytest.mark.parametrize("column", ["boxes", "vectors", "checksum"])
def test_a_damaged_row_is_found_left_out_and_made_again(empty: Collection, folder: Path, column: str) -> None:
    empty.update([folder], regions=True, workers=0)
    victim = next(iter(empty))
    database = sqlite3.connect(empty.folder / "catalog.sqlite")
    with database:
        (stored,) = database.execute(f"SELECT {column} FROM regions WHERE item = ?", [victim.id]).fetchone()
        changed = bytes([stored[0] ^ 1, *stored[1:]])
        database.execute(f"UPDATE regions SET {column} = ? WHERE item = ?", [changed, victim.id])
    database.close()

    assert victim.id not in empty.region_vectors().ids
    found = empty.verify()
    assert [finding.problem for finding in found] == ["the regions of 1 images were damaged"]
    assert empty.update(workers=0).regions_added == 1
    assert_right(empty)
    assert empty.verify() == []


def test_a_missing_or_damaged_index_is_made_again(empty: Collection, folder: Path) -> None:
    empty.update([folder], regions=True, workers=0)
    (file,) = empty.folder.glob("regions-*.faiss")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert load_region_index(empty._store) is None  # type: ignore[arg-type]
    assert "regions" in str(empty.verify()[0].subject.name)
    assert_right(empty)
    next(empty.folder.glob("regions-*.faiss")).unlink()
    empty.update(workers=0)
    assert_right(empty)


def test_the_command_refuses_what_cannot_be(run, folder: Path, tmp_path: Path) -> None:
    for words, said in (
        (["--regions", "--drop-regions"], "--regions or --drop-regions: choose one"),
        (["--regions", "--engine", "ray"], "--engine ray makes a sharded collection, which has no regions"),
        (["--regions", "--verify"], "--verify goes with"),
    ):
        result = run("index", folder, "--collection", tmp_path / "c", *words)
        assert result.returncode == 2
        assert said in result.stderr


def test_status_names_them(run, collection: Collection) -> None:
    assert "regions" not in run("status", collection.folder).stdout
    collection.update(regions=True, workers=0)
    shown = run("status", collection.folder).stdout
    assert f"regions     {5 * MOST} of 5 images; index flat\n" in shown
    assert "regions-1.faiss" in shown
    said = json.loads(run("status", collection.folder, "--json").stdout)["regions"]
    assert said == {"images": 5, "regions": 5 * MOST, "index": "flat", "measured": None}


def test_a_sharded_collection_refuses(tmp_path: Path) -> None:
    from simsiam_retrieval.collection.storage.capabilities import Capability, require
    from simsiam_retrieval.collection.storage.parquet_store import ParquetStore

    class Sharded:
        folder = tmp_path
        capabilities: ClassVar = ParquetStore.capabilities

        def count(self) -> int:
            return 1

    with pytest.raises(UserError, match="sharded collection, which has no regions"):
        require(Sharded(), Capability.REGIONS)


def test_a_dry_run_says_what_becomes_of_regions(collection: Collection, folder: Path, run) -> None:
    given = ["index", folder, "--collection", collection.folder, "--dry-run"]
    paint(folder / "new.png", 77)
    asked = run(*given, "--regions")
    assert "1 new" in asked.stdout + asked.stderr and "regions of 5 more" in asked.stdout + asked.stderr
    assert "regions" not in run(*given).stdout
    collection.update([folder], regions=True, workers=0)
    assert "regions of" not in run(*given, "--regions").stdout
    dropped = run(*given, "--drop-regions")
    assert "all regions deleted" in dropped.stdout + dropped.stderr
    assert collection.has_regions
