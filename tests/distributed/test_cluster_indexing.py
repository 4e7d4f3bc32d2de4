"""Embedding on a local Ray cluster gives what a plain index gives, whatever is killed or broken on the way."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.storage.shard_file import ShardRow, shard_file, shard_names
from simsiam_retrieval.collection.storage.shard_manifest import read_manifest
from simsiam_retrieval.collection.storage.shard_parquet_reader import read_rows, read_vectors
from simsiam_retrieval.collection.storage.shard_writer import write_shard
from simsiam_retrieval.collection.update.results import Update
from simsiam_retrieval.collection.update.update_options import Hooks
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.distributed.cluster_options import Options
from simsiam_retrieval.distributed.index_on_cluster import index_on_cluster
from tests.support.commands import Run, refused
from tests.support.small_encoder import expected_vector, paint, small_encoder

TOKEN = secrets.token_hex(32)  # one for the whole process: Ray reads it once
ACTOR = b"ray::MapWorker(Map(Embedder))"
FACTS = ("digest", "width", "height", "format", "taken", "reason")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster of two CPUs, in processes of its own, which asks for a token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        yield from started()


def started() -> Iterator[str]:
    # short: there are sockets in it
    folder = Path("/tmp") / f"ray-test-{os.getpid()}"
    said = folder.with_suffix(".txt")
    command = ["start", "--head", "--block", "--num-cpus=2", "--object-store-memory=200000000", "--port=0"]
    command += [f"--temp-dir={folder}", "--include-dashboard=false"]
    with said.open("wb") as out:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ray.scripts.scripts",
                *command,
                f"--temp-dir={folder}",
                "--include-dashboard=false",
            ],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        )
    try:
        deadline = time.monotonic() + 90
        while not (found := re.search(r"--address='([\d.]+:\d+)'", said.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.2)
        yield found[1]
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)  # it would take its time
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
        said.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_encoder(tmp_path_factory.mktemp("encoder") / "small.onnx")


@pytest.fixture
def options(cluster: str) -> Options:
    return Options(address=cluster, shard_images=40)


def pack(tar: Path, files: list[Path]) -> None:
    with tarfile.open(tar, "w") as archive:
        for file in files:
            archive.add(file, file.name)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """640 pictures: loose, in two archives and in a table; a broken file in each; and as plain files beside them."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(640):
        kind = ("loose", "loose", "one", "two")[number % 4] if number < 600 else "rows"
        paint(root / "plain" / kind / f"{number:04d}.jpg", number, size=(24 + number % 7, 20))
    for kind in ("loose", "one", "two", "rows"):
        (root / "plain" / kind / "broken.jpg").write_bytes(b"no picture")
    (root / "plain" / "loose" / os.fsdecode(b"\xff.jpg")).write_bytes((root / "plain/loose/0000.jpg").read_bytes())
    (root / "in").mkdir()
    shutil.copytree(root / "plain" / "loose", root / "in" / "loose", copy_function=shutil.copy2)
    for kind in ("one", "two"):
        pack(root / "in" / f"{kind}.tar", sorted((root / "plain" / kind).iterdir()))
    rows = [file.read_bytes() for file in sorted((root / "plain" / "rows").iterdir())]
    images = pa.array(
        [{"bytes": row, "path": None} for row in rows], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    pq.write_table(pa.table({"image": images}), root / "in" / "rows.parquet", row_group_size=16)
    return root


Rows = dict[Any, tuple[dict[str, Any], np.ndarray]]


def stored(folder: Path) -> Rows:
    """Path -> facts and vector of all rows of a sharded collection's files, each path once."""
    found: Rows = {}
    for name in shard_names(folder):
        file = shard_file(folder, name)
        for rows, vectors in zip(read_rows(file), read_vectors(file), strict=True):
            for row, vector in zip(rows, vectors, strict=True):
                assert row["path"] not in found
                found[row["path"]] = (row, vector.astype(np.float32))
    return found


def in_plain(path: str | bytes, root: Path) -> Path:
    """The plain file that an input was made of."""
    text = os.fsdecode(path).removeprefix(f"{root}/in/")
    if "#" in text:
        return sorted((root / "plain" / "rows").iterdir())[int(text.partition("#")[2])]
    return root / "plain" / text.replace(".tar/", "/")


def times(folder: Path) -> dict[str, int]:
    return {name: shard_file(folder, name).stat().st_mtime_ns for name in shard_names(folder)}


def processes(mark: str) -> dict[int, bytes]:
    """Process id -> command line of all processes with ``mark`` in their environment."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes()
    return found


def killing_actors(folder: Path, times: int, stop: threading.Event, killed: list[int]) -> None:
    """Kill processes that embed while they are at work, after the first shard and after the third."""
    while len(killed) < times and not stop.wait(0.05):
        at_work = [process for process, command in processes(TOKEN).items() if ACTOR + b".submit" in command]
        if at_work and at_work[0] not in killed and len(shard_names(folder)) > 2 * len(killed):
            os.kill(at_work[0], signal.SIGKILL)
            killed.append(at_work[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_with_actors_killed_it_equals_a_plain_index(pictures, encoder, options, tmp_path):
    stop, killed, remarks = threading.Event(), [], []
    folder = tmp_path / "sharded"
    killer = threading.Thread(target=killing_actors, args=(folder, 2, stop, killed))
    killer.start()
    done: list[int] = []
    hooks = Hooks(on_progress=done.append, on_start=lambda total: done.append(-total), on_remark=remarks.append)
    try:
        update = index_on_cluster([str(pictures / "in")], folder, replace(options, encoder=str(encoder)), hooks=hooks)
    finally:
        stop.set()
        killer.join()
    assert len(killed) == 2 and all("begun again" in remark for remark in remarks)
    assert (update.added, update.images, len(update.failed)) == (641, 641, 4)
    assert done[0] == -645 and done[-1] == 645 and max(done) == 645
    assert len(shard_names(folder)) >= 17  # of 40 at most

    with Collection.create(tmp_path / "plain", encoder) as plain:
        plain.update([pictures / "plain"], workers=0)
        items = {item.path: item for item in plain}
        ids, vectors = plain.vectors()
        vector_of = dict(zip(ids.tolist(), vectors, strict=True))
        reasons = dict(plain.failures())
    rows = stored(folder)
    assert {in_plain(path, pictures) for path in rows} == items.keys() | reasons.keys() and len(rows) == 645
    for path, (row, vector) in rows.items():
        file = in_plain(path, pictures)
        assert row["reason"] == reasons.get(file)
        assert row["size"] == file.stat().st_size
        if row["reason"] is None:
            item = items[file]
            assert (row["width"], row["height"], row["format"]) == (item.width, item.height, item.format)
            np.testing.assert_allclose(vector, vector_of[item.id], atol=5e-4)
            np.testing.assert_allclose(vector, expected_vector(file), atol=2e-3)
    with Collection.open(folder) as collection:
        assert len(collection) == 641
        hit = collection.search(pictures / "in/loose/0001.jpg", k=1)[0]
        assert hit.path == pictures / "in/loose/0001.jpg" and hit.score > 0.999


def test_a_run_goes_on_where_another_ended_and_embeds_nothing_twice(folder, encoder, options, tmp_path):
    for number in range(60):
        paint(folder / f"more/{number:03d}.jpg", 100 + number)
    options = replace(options, shard_images=8)
    target = tmp_path / "sharded"
    totals: list[int] = []
    hooks = Hooks(on_start=totals.append)

    def update(**changes: Any) -> Update:
        return index_on_cluster([], target, replace(options, **changes), hooks=hooks)

    first = index_on_cluster([str(folder)], target, replace(options, encoder=str(encoder)), hooks=hooks)
    assert (first.added, first.images, totals) == (65, 65, [65])
    before, whole = times(target), stored(target)
    # as if it had been killed, while it wrote the third shard
    names = sorted(before)
    shard_file(target, names[0]).unlink()
    shard_file(target, names[1]).unlink()
    shard_file(target, names[2]).write_bytes(shard_file(target, names[2]).read_bytes()[:-100])
    missing = sum(1 for name in names[:3] for _ in range(before[name] > 0))
    assert missing == 3
    update()
    after = times(target)
    assert {name for name in names if after[name] != before[name]} == set(names[:3])
    again = stored(target)
    assert again.keys() == whole.keys() and 3 <= totals[-1] <= 24
    assert all(np.array_equal(again[path][1], whole[path][1]) for path in whole)
    # nothing has changed: not even a cluster is joined
    nobody = replace(options, address="127.0.0.1:1")
    index_on_cluster([], target, nobody, hooks=hooks)
    assert totals[-1] == 0
    # one more, one changed, one gone: only two are embedded, the rows around them are used again
    paint(folder / "more/000a.jpg", 900)
    paint(folder / "more/030.jpg", 901)
    (folder / "more/050.jpg").unlink()
    changed = update()
    assert (changed.added, changed.changed, changed.removed, changed.images) == (1, 1, 1, 65)
    assert totals[-1] == 2
    rows = stored(target)
    assert len(rows) == 65 and str(folder / "more/050.jpg") not in rows
    for path, (row, vector) in rows.items():
        np.testing.assert_allclose(vector, expected_vector(Path(path)), atol=2e-3)
        assert row["size"] == Path(path).stat().st_size and row["mtime_ns"] == Path(path).stat().st_mtime_ns
    with Collection.open(target) as collection:
        assert {str(item.path) for item in collection} == rows.keys()


def test_what_may_pass_is_tried_again_and_missing_folders_are_kept(folder, encoder, options, tmp_path):
    target = tmp_path / "sharded"
    totals: list[int] = []
    hooks = Hooks(on_start=totals.append)
    index_on_cluster([str(folder)], target, replace(options, encoder=str(encoder)), hooks=hooks)
    # as if a file could not be read for a while
    [name] = shard_names(target)
    facts = read_manifest(target)
    [rows], [vectors] = read_rows(shard_file(target, name)), read_vectors(shard_file(target, name))
    made = [ShardRow(**row, vector=vector) for row, vector in zip(rows, vectors, strict=True)]
    made[2] = ShardRow(made[2].path, made[2].size, -1, reason="permission denied")
    extra = {"source": str(folder), "unusable": "1", "retry": "1"}
    write_shard(target, name, made, encoder=facts.encoder, dim=facts.dim, extra=extra)
    update = index_on_cluster([], target, options, hooks=hooks)
    assert (totals[-1], update.images, update.added, update.failed) == (1, 5, 1, [])
    # a second source; then the first one is away
    paint(tmp_path / "other" / "x.jpg", 77)
    index_on_cluster([str(tmp_path / "other")], target, options, hooks=hooks)
    assert totals[-1] == 1 and len(shard_names(target)) == 2
    folder.rename(tmp_path / "away")
    update = index_on_cluster([], target, options, hooks=hooks)
    assert (update.held, update.images) == ([(folder, 5)], 6)
    with pytest.raises(UserError, match="no such file or folder"):
        index_on_cluster([str(folder)], target, options)
    update = index_on_cluster([], target, replace(options, prune=True), hooks=hooks)
    assert (update.held, update.images, update.removed) == ([], 1, 5)
    assert read_manifest(target).sources == [str(tmp_path / "other")]


def test_object_storage_is_read_by_the_actors(pictures, encoder, options, tmp_path):
    """``local://`` goes the way of s3://: through fsspec, in ranges, with URLs for names."""
    url = f"local://{pictures}/in"
    update = index_on_cluster([url], tmp_path / "sharded", replace(options, encoder=str(encoder)))
    assert (update.images, len(update.failed)) == (641, 4)
    rows = stored(tmp_path / "sharded")
    path = f"{url}/one.tar/0002.jpg"
    np.testing.assert_allclose(rows[path][1], expected_vector(pictures / "plain/one/0002.jpg"), atol=2e-3)
    assert rows[f"{url}/rows.parquet#0"][0]["size"] == (pictures / "plain/rows/0600.jpg").stat().st_size


# -- the command


def index(*arguments: object) -> list[str]:
    return ["-m", "simsiam_retrieval.index", *map(str, arguments)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_the_command_stopped_by_ctrl_c_keeps_its_shards_and_leaves_no_process(pictures, cluster, run, tmp_path):
    """With a cluster of its own, and the shipped encoder, which takes a while."""
    mark = secrets.token_hex(16)
    folder = tmp_path / "many"
    for number in range(2000):
        (folder / f"{number % 3}").mkdir(parents=True, exist_ok=True)
        picture = pictures / f"plain/loose/{number % 300 // 2 * 4:04d}.jpg"
        os.link(picture, folder / f"{number % 3}" / f"{number:04d}.jpg")
    arguments = (folder, "--collection", "sharded", "--engine", "ray", "--workers", 2)
    process = subprocess.Popen(
        [sys.executable, "-m", "simsiam_retrieval.index", *map(str, arguments)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "MARK": mark},
    )
    deadline = time.monotonic() + 120
    while not (folders := set(re.findall(r"/tmp/(ray-\w+)/", str(processes(mark))))):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
    [folder_of_ray] = {Path("/tmp") / name for name in folders}
    while not (names := shard_names(tmp_path / "sharded")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert err == "stopped early; finished shards are kept; run the same command to continue\n"
    kept = times(tmp_path / "sharded")
    assert set(names) <= kept.keys()
    assert not folder_of_ray.exists()
    deadline = time.monotonic() + 20
    while processes(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes(mark) == {}
    done = run("index", *arguments, "--address", cluster)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1) and done.stderr.startswith("index: ivf"), done.stderr
    assert done.stdout == f"2000 images in {tmp_path}/sharded (2000 new, 0 changed, 0 gone)\n"
    assert all(times(tmp_path / "sharded")[name] == when for name, when in kept.items())


@pytest.fixture
def ray_index(run: Run, folder: Path, encoder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def call(*arguments: object, source: object = folder) -> subprocess.CompletedProcess[str]:
        sources = source if isinstance(source, list) else [source]
        return run("index", *sources, "--collection", "sharded", "--engine", "ray", "--encoder", encoder, *arguments)

    return call


def test_what_the_user_can_mend_is_one_line(ray_index, run, folder, encoder, tmp_path, monkeypatch):
    refused(ray_index("--address", "127.0.0.1:1"), "nobody answers there", "--address 127.0.0.1:1")
    refused(ray_index("--address", "nonsense"), "HOST:PORT")
    refused(ray_index("--watch"), "cannot be combined", "--watch")
    refused(ray_index("--workers", 0), "at least 1")
    refused(ray_index("--num-gpus", -1), "0 or more")
    refused(ray_index("--index", "flat"), "ivf")
    refused(ray_index(source="s3x://bucket/x"), "s3x")
    refused(ray_index(source=[folder, folder / "sub"]), "is inside")
    refused(run("index", folder, "--image-column", "x"), "--engine ray")
    refused(run("index", "s3://bucket/x"), "--engine ray")
    (tmp_path / "empty").mkdir()
    refused(ray_index(source=tmp_path / "empty"), "no image files, tar archives or Parquet files")
    refused(ray_index(source=tmp_path / "gone"), "no such file or folder")
    assert not (tmp_path / "sharded").exists()
    Collection.create(tmp_path / "sharded", encoder).close()
    refused(ray_index(), "without shards")
    shutil.rmtree(tmp_path / "sharded")
    (tmp_path / "sharded").mkdir()
    (tmp_path / "sharded" / "letter.txt").touch()
    refused(ray_index(), "not an empty folder")
    (tmp_path / "sharded" / "letter.txt").unlink()
    monkeypatch.setitem(sys.modules, "ray", None)
    refused(ray_index(), "Ray is not installed", "pip install 'simsiam-retrieval[distributed]'")


def test_another_encoder_and_pictures_that_are_none(ray_index, cluster, folder, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.jpg").write_text("a letter")
    refused(ray_index("--address", cluster, source=tmp_path / "letters"), "none of 1 images can be read", "a.jpg")
    assert not (tmp_path / "sharded").exists()
    done = ray_index("--address", cluster)
    assert (done.returncode, done.stdout) == (0, f"5 images in {tmp_path}/sharded (5 new, 0 changed, 0 gone)\n")
    other = small_encoder(tmp_path / "other.onnx", grey=100.0)
    refused(ray_index("--address", cluster, "--encoder", other), "made by another encoder")
