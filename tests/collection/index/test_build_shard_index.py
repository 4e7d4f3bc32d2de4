"""Building sharded collections: the result is that of one process, whatever runs it and however often it was killed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

import simsiam_retrieval.collection.index.build_shard_index as building
import simsiam_retrieval.collection.index.mapped_index as shard_index
import simsiam_retrieval.collection.index.shard_parts as parts
from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.index import make_mapped_index
from simsiam_retrieval.collection.index.build_shard_index import build
from simsiam_retrieval.collection.index.shard_workers import pooled
from simsiam_retrieval.collection.storage.parquet_store import ParquetStore
from simsiam_retrieval.collection.storage.shard_file import ShardRow, shard_file, shard_names
from simsiam_retrieval.collection.storage.writer_lock import writing
from tests.support.sharded_collections import BROKEN, DIM, generated_rows, prepared, rounded, unit_vectors, write_rows
from tests.support.small_encoder import Killed

SIZES = (1500, 700, 1100, 1300)
KINDS = ("ivf", "ivf-sq8", "ivf-pq")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shards or so in each part."""
    monkeypatch.setattr(parts, "PART_BYTES", 2100 * (DIM + 8))
    monkeypatch.setattr(make_mapped_index, "PQ_FROM", 1000)
    monkeypatch.setattr(building, "ROWS_TOGETHER", 1000)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards that nothing was built of; read only."""
    folder = tmp_path_factory.mktemp("made") / "shards"
    prepared(folder, SIZES)
    return folder


@pytest.fixture
def folder(shards: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return shutil.copytree(shards, tmp_path / "c")


def expected() -> tuple[list[str], np.ndarray]:
    """Paths and vectors of all images, in the order of shards, without this package."""
    paths, vectors = [], []
    for number, size in enumerate(SIZES):
        there = [row for row in range(size) if row % 100 != BROKEN]
        paths += [f"/made/{number}/{row:05}.jpg" for row in there]
        vectors.append(unit_vectors(size, 100 + number)[there])
    return paths, rounded(np.concatenate(vectors))


def found(folder: Path, queries: np.ndarray, k: int = 10) -> list[list[tuple[str, float]]]:
    with Collection.open(folder) as collection:
        return [[(str(hit.path), hit.score) for hit in hits] for hits in collection.search_vectors(queries, k)]


def counting(calls: list[parts.PartTask]) -> Callable[..., Iterable[Any]]:
    """A ``run`` that notes the tasks whose results are not there yet."""

    def run(function: Callable, tasks: Iterable[parts.PartTask]) -> Iterable[Any]:
        for task in tasks:
            if not task.files[0].exists():
                calls.append(task)
            yield function(task)

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_parts_give_what_one_process_gives(folder, monkeypatch, kind) -> None:
    """FAISS's own index of all vectors, added at once, has the same ids and distances for every query."""
    code = {"ivf": 4 * DIM, "ivf-sq8": DIM, "ivf-pq": DIM // 8}[kind]
    monkeypatch.setattr(parts, "PART_BYTES", 2100 * (code + 8))
    built = build(folder, kind=kind)
    assert built.images == sum(SIZES) - sum(len(range(BROKEN, size, 100)) for size in SIZES)
    merged = shard_index.ShardIndex.load(folder, 1)
    assert merged is not None and merged.kind == kind and len(list((folder / "parts").glob("part-*.faiss"))) == 3
    [trained] = (folder / "parts").glob("trained-*.faiss")
    whole = make_mapped_index.load(trained)
    with Collection.open(folder) as collection:
        ids, vectors = collection.vectors()
    whole.add_with_ids(vectors, ids)
    queries = vectors[::50]
    for probes in (1, 8, whole.nlist):
        parameters = faiss.SearchParametersIVF(nprobe=probes)  # pyright: ignore[reportCallIssue]
        one, several = (i.search(queries, 20, params=parameters) for i in (whole, merged.faiss_index))
        assert np.array_equal(one[0], several[0])  # distances, to the last bit
        same = one[1] == several[1]
        assert (same | (np.diff(one[0], axis=1, append=-9) == 0) | (np.diff(one[0], axis=1, prepend=9) == 0)).all()


def test_vectors_and_scores_are_those_of_the_shards(folder) -> None:
    paths, vectors = expected()
    build(folder, recall=1.0)
    queries = unit_vectors(30, 9)
    with Collection.open(folder) as collection:
        assert [str(item.path) for item in collection] == paths
        assert np.allclose(collection.vectors()[1], vectors, atol=1e-7)
        assert collection.measured is not None and collection.measured.recall == 1
    exact = queries @ vectors.T
    for query, hits in enumerate(found(folder, queries)):
        best = np.argsort(-exact[query])[:10]
        assert [path for path, _ in hits] == [paths[row] for row in best]
        assert np.allclose([score for _, score in hits], exact[query, best], atol=1e-6)


def test_measured_recall_is_what_numpy_finds(folder) -> None:
    """Of few lists: the queries are the collection's own, each left out of its own results."""
    build(folder, recall=0.5)
    [trained] = (folder / "parts").glob("trained-*.npz")
    queries = np.load(trained)["queries"]
    assert 100 < len(queries) <= 200
    with Collection.open(folder) as collection:
        measured = collection.measured
        ids, vectors = collection.vectors()
        exact = queries @ vectors.T
        index = collection._searcher.index()
        shares = []
        for query, scores in zip(queries, exact, strict=True):
            itself = scores.argmax()
            best = set(ids[np.argsort(-scores)[:11]].tolist()) - {int(ids[itself])}
            _, candidates = index.faiss_index.search(query[None], 44)
            known = candidates[0][candidates[0] >= 0]
            kept = known[np.argsort(-scores[np.searchsorted(ids, known)])][:11]
            shares.append(len(best & set(kept.tolist())) / 10)
    assert measured is not None and measured.settings["nprobe"] < measured.settings["lists"]
    assert measured.recall == pytest.approx(np.mean(shares), abs=1e-3)


@pytest.fixture(scope="module")
def undisturbed(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple[str, float]]]:
    """What is found in these shards, built in one go by one process into one part."""
    folder = shutil.copytree(shards, tmp_path_factory.mktemp("undisturbed") / "c")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_BYTES", 1 << 30)
        build(folder)
    assert len(list((folder / "parts").glob("part-*.faiss"))) == 1
    return found(folder, unit_vectors(20, 3))


def test_threads_and_processes_build_the_same(folder, tmp_path, undisturbed) -> None:
    other = shutil.copytree(folder, tmp_path / "d")
    with ThreadPoolExecutor(3) as pool:
        build(folder, run=pool.map)
    with pooled(2) as run:
        build(other, run=run)
    assert found(folder, unit_vectors(20, 3)) == found(other, unit_vectors(20, 3)) == undisturbed


def test_nothing_to_do(folder) -> None:
    assert build(folder).changed
    before = {file.name: file.stat().st_mtime_ns for file in folder.rglob("*") if file.suffix != ".lock"}
    again = build(folder)
    assert (again.changed, again.images) == (False, 4554)
    assert {file.name: file.stat().st_mtime_ns for file in folder.rglob("*") if file.suffix != ".lock"} == before


def test_new_shards_leave_the_others_alone(folder) -> None:
    build(folder)
    with Collection.open(folder) as reader:
        item = reader.items(1, 300)[0]
        made = prepared(folder)
        write_rows(folder, made, 9, generated_rows(9, 1000))
        write_rows(folder, made, 10, generated_rows(10, 1900), source="/more")
        calls: list[parts.PartTask] = []
        built = build(folder, run=counting(calls))
        assert (built.new_shards, built.shards, len(calls)) == (2, 6, 2)
        # a reader that was there sees the new state, and the ids of the old
        assert len(reader) == 4554 + 990 + 1881
        assert reader.item(item.id) == item
        wanted = generated_rows(10, 1900)[1500].vector
        assert wanted is not None and reader.search(wanted, 1)[0].path == Path("/made/10/01500.jpg")
        assert {str(root) for root in reader.roots} == {"/made", "/more"}


def test_shards_that_are_gone_leave(folder) -> None:
    build(folder)
    names = shard_names(folder)
    with Collection.open(folder) as reader:
        assert isinstance(reader._store, ParquetStore)
        [leaving] = [shard.name for shard in reader._store.shards() if shard.rows == SIZES[1]]
        calls: list[parts.PartTask] = []
        built = build(folder, shards=[name for name in names if name != leaving], run=counting(calls))
        assert (built.gone_shards, built.images) == (1, 4554 - 693) and len(calls) == 1
        shard_file(folder, leaving).unlink()
        assert not any("/made/1/" in str(item.path) for item in reader)
        for hits in reader.search_vectors(unit_vectors(20, 101), 30):
            assert len(hits) == 30 and not any("/made/1/" in str(hit.path) for hit in hits)
        assert reader.item_at("/made/1/00003.jpg") is None
        assert not build(folder).changed


def test_a_shard_that_was_written_again(folder) -> None:
    """Rows that failed for a passing reason come again with a vector, under the same name."""
    build(folder)
    rows = generated_rows(2, 1100)
    vector = unit_vectors(1, 77)[0]
    rows[BROKEN] = ShardRow("/made/2/00007.jpg", 5, 5, bytes(32), 3, 4, "PNG", None, vector, b"\xff\xd8new\xff\xd9")
    write_rows(folder, prepared(folder), 2, rows)
    with Collection.open(folder) as reader:
        with pytest.raises(UserError, match=r"changed since the collection was built.*--rebuild-index"):
            reader.search_vectors(unit_vectors(1100, 102), 10)
        assert (built := build(folder)).changed and (built.new_shards, built.gone_shards) == (1, 1)
        assert reader.search(vector, 1)[0].path == Path("/made/2/00007.jpg")
        assert len(reader) == 4555 == len(list(reader))


STAGES = [("training", 1), ("adding", 1), ("listing", 1), ("merging", 1)]


@pytest.mark.parametrize(("stage", "at"), STAGES)
def test_a_killed_build_is_invisible_and_goes_on(folder, undisturbed, stage, at) -> None:
    calls: list[parts.PartTask] = []
    with pytest.raises(Killed):
        build(folder, run=counting(calls), on_progress=killed_at(stage, at))
    with Collection.open(folder) as reader:
        assert len(reader) == 0 and list(reader) == [] and reader.search(unit_vectors(1, 1)[0]) == []
        done = set(file.name for file in (folder / "parts").glob("part-*.faiss"))
        build(folder, run=counting(calls))
        assert len(calls) == len({task.key for task in calls}) == 3  # nothing was added twice
        assert done <= {file.name for file in (folder / "parts").glob("part-*.faiss")}
        assert len(reader) == 4554
    assert found(folder, unit_vectors(20, 3)) == undisturbed
    assert not list(folder.glob(".*.tmp"))


def test_a_kill_between_index_and_publication(folder, monkeypatch) -> None:
    build(folder)
    before = found(folder, unit_vectors(5, 4))
    write_rows(folder, prepared(folder), 9, generated_rows(9, 1000))
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise Killed

        patch.setattr(ParquetStore, "publish_shards", killed)
        with pytest.raises(Killed):
            build(folder)
    assert found(folder, unit_vectors(5, 4)) == before
    with Collection.open(folder) as reader:
        assert len(reader) == 4554 == len(list(reader))
        build(folder)
        assert len(reader) == 4554 + 990 == len(list(reader))


def test_a_killed_process_loses_nothing(folder) -> None:
    """SIGKILL in the middle of adding; the next build finishes."""
    code = (
        "import os, sys; from pathlib import Path; import simsiam_retrieval.collection.index.shard_parts as parts;"
        "from simsiam_retrieval.collection.index.build_shard_index import build;"
        f"parts.PART_BYTES = {parts.PART_BYTES};"
        "kill = lambda stage, done, total: os.kill(os.getpid(), 9) if (stage, done) == ('adding', 2) else 0;"
        "build(Path(sys.argv[1]), on_progress=kill)"
    )
    assert subprocess.run([sys.executable, "-c", code, folder], check=False).returncode == -9
    calls: list[parts.PartTask] = []
    assert build(folder, run=counting(calls)).images == 4554 and len(calls) == 1


def test_two_builds_at_once(folder) -> None:
    with writing(folder):
        with pytest.raises(UserError, match="another update of this collection is running"):
            build(folder)
        assert build(folder, locked=True).images == 4554


def test_no_room_for_the_merge(folder, monkeypatch) -> None:
    build(folder)
    before = found(folder, unit_vectors(5, 4))
    write_rows(folder, prepared(folder), 9, generated_rows(9, 1000))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))  # pyright: ignore
        with pytest.raises(UserError, match=r"takes 0\.0 GB, and 0\.0 GB are free; make room and run it again"):
            build(folder)
    with monkeypatch.context() as patch:  # and where it ends in the middle: a file may not become so large here
        patch.setattr(subprocess, "run", limited(subprocess.run))
        with pytest.raises(UserError, match=r"merging the index failed.*Nothing is lost; make room and run it again"):
            build(folder)
    assert found(folder, unit_vectors(5, 4)) == before and not list(folder.glob(".*.tmp"))
    assert build(folder).images == 4554 + 990


def limited(run: Callable) -> Callable:
    """Processes whose files cannot grow beyond 200 kB."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    return lambda *arguments, **options: run(*arguments, preexec_fn=limit, **options)


def killed_at(stage: str, at: int) -> Callable[[str, int, int], None]:
    def on_progress(now: str, done: int, total: int) -> None:
        if (now, done) == (stage, at):
            raise Killed

    return on_progress


def test_a_damaged_shard_stops_the_build_before_anything_changes(folder) -> None:
    build(folder)
    before = found(folder, unit_vectors(5, 4))
    made = prepared(folder)
    name = write_rows(folder, made, 9, generated_rows(9, 1000))
    file = shard_file(folder, name)
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(UserError, match=r"a damaged shard .*; delete it and embed its images again"):
        build(folder)
    file.write_bytes(content[:50_000] + b"\0\1\2" + content[50_003:])
    with pytest.raises(UserError, match=r"a damaged shard .*CRC"):
        build(folder)
    assert found(folder, unit_vectors(5, 4)) == before
    file.write_bytes(content)
    assert build(folder).images == 4554 + 990


def test_what_cannot_be_built(tmp_path) -> None:
    with pytest.raises(UserError, match=r"not a sharded collection \(shards.json is missing\)"):
        build(tmp_path)
    folder = tmp_path / "c"
    made = prepared(folder)
    with pytest.raises(UserError, match="no shard with an image in it"):
        build(folder)
    write_rows(folder, made, 0, [row for row in generated_rows(0, 300) if row.reason])
    with pytest.raises(UserError, match="no shard with an image in it"):
        build(folder)
    with pytest.raises(UserError, match="choose one of auto, ivf, ivf-sq8, ivf-pq"):
        build(folder, kind="hnsw")
    with pytest.raises(UserError, match="--recall 2"):
        build(folder, recall=2)
    write_rows(folder, made, 1, generated_rows(1, 3))
    assert build(folder).images == 3
    assert len(found(folder, unit_vectors(1, 1), 10)[0]) == 3
    manifest = folder / "shards.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 9}))
    with pytest.raises(UserError, match="newer version"):
        build(folder)


def test_another_type_is_trained_anew(folder) -> None:
    build(folder)
    calls: list[parts.PartTask] = []
    assert build(folder, kind="ivf", recall=0.9, run=counting(calls)).changed and len(calls) == 4
    with Collection.open(folder) as collection:
        assert collection.measured is not None and (collection.measured.kind, collection.measured.asked) == ("ivf", 0.9)
    assert not build(folder).changed
    assert len(list(folder.glob("index-*"))) == 2 and len(list((folder / "parts").glob("trained-*.faiss"))) == 1


def test_a_missing_index_is_merged_again(folder) -> None:
    build(folder)
    before = found(folder, unit_vectors(5, 4))
    lists = folder / "index-1.ivfdata"
    os.truncate(lists, lists.stat().st_size // 2)
    with pytest.raises(UserError, match="its index is missing or damaged; build it again"):
        found(folder, unit_vectors(5, 4))
    calls: list[parts.PartTask] = []
    assert build(folder, run=counting(calls)).changed and not calls
    assert found(folder, unit_vectors(5, 4)) == before
