"""Handing over, against the embedded forms of the databases, which speak the same API as their clusters."""

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.search.filters import Filter
from simsiam_retrieval.collection.storage.sqlite_store import SqliteStore
from simsiam_retrieval.collection.types import Entry
from simsiam_retrieval.vector_databases import handing_over
from simsiam_retrieval.vector_databases.handing_over import hand_over
from simsiam_retrieval.vector_databases.parquet import Parquet
from simsiam_retrieval.vector_databases.qdrant import Qdrant
from simsiam_retrieval.vector_databases.target import Table
from tests.support.commands import Run, refused
from tests.support.database_readers import FOLDER, KINDS, place_of, reading
from tests.support.small_encoder import paint, small_encoder

LIBRARIES = {"parquet": "pyarrow", "lance": "lancedb", "qdrant": "qdrant_client", "milvus": "milvus_lite"}
DIM = 32
FILTERS = {
    "size": Filter(min_bytes=50_000),
    "folder": Filter(folders=(Path(FOLDER),)),
    "date": Filter(since=date(2020, 3, 1), until=date(2020, 5, 31)),
    "label": Filter(labels=("cat's",)),
    "all of them": Filter(max_bytes=49_999, labels=("",), since=date(2020, 6, 1)),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(LIBRARIES[request.param])
    return request.param


def made(folder: Path, count: int, encoder: str = "an encoder") -> Collection:
    """A collection of ``count`` images that exist in its catalog alone."""
    folder.mkdir()
    draw = np.random.default_rng(count)
    centres = draw.standard_normal((20, DIM))
    vectors = centres[draw.integers(0, 20, count)] + 0.7 * draw.standard_normal((count, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    names = [FOLDER, "/photos/axb1", "/photos/c d/\udcff"]  # wildcards, what they would match, and no UTF-8
    catalog = SqliteStore.create(folder, {"encoder": encoder, "dim": str(DIM)})
    catalog.add(
        Entry(
            Path(names[row % 3]) / f"{row:05d}.jpg",
            size=int(draw.integers(1000, 100_000)),
            mtime_ns=int(datetime(2020, 1, 1).timestamp() + row * 3600) * 10**9,
            digest=row.to_bytes(32, "big"),
            width=640,
            height=480,
            format="JPEG",
            taken=datetime(2020, 1, 1) + timedelta(hours=row) if row % 2 else None,
            vector=vectors[row],
        )
        for row in range(count)
    )
    catalog.publish([], [Path("/photos")])
    catalog.close()
    collection = Collection.open(folder)
    labels = {item.id: "cat's" if item.id % 5 else 'a "dog"' for item in collection.items(limit=count // 3)}
    collection.set_labels(labels)
    return collection


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    """10,000 images; read only."""
    with made(tmp_path_factory.mktemp("handover") / "big", 10_000) as collection:
        yield collection


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Collection]:
    with made(tmp_path / "few", 300) as collection:
        yield collection


def holds(kind: str, place: str, collection: Collection) -> None:
    """Assert that a target holds the images of a collection, each once, with all that is known of them."""
    with reading(kind, place) as reader:
        rows = sorted(reader.rows(), key=lambda row: row["id"])
    ids, vectors = collection.vectors()
    items = {item.id: item for item in collection}
    labels = collection.labels()
    assert [row["id"] for row in rows] == ids.tolist()
    np.testing.assert_allclose(np.stack([row["vector"] for row in rows]), vectors, atol=1e-6)
    for row in rows:
        item = items[row["id"]]
        assert row["path"] == os.fsencode(item.path).decode("utf-8", "backslashreplace")
        assert [row["size"], row["width"], row["height"]] == [item.size, item.width, item.height]
        assert (row["format"], row["label"]) == (item.format, labels.get(item.id, ""))
        assert list(row["folders"])[-1] == "/" + item.path.parts[1] and len(row["folders"]) == len(item.path.parts) - 2
        times = [value.isoformat() if isinstance(value, datetime) else value for value in (row["date"], row["taken"])]
        assert times[0] == item.date.isoformat()
        assert (times[1] or None) == (item.taken and item.taken.isoformat())
        assert bytes.fromhex(row["digest"]) == collection.records(item.id - 1, item.id)[0][0].digest


def test_ten_thousand_vectors_find_what_exact_search_finds(kind: str, big: Collection, tmp_path: Path) -> None:
    place = place_of(kind, tmp_path)
    seen: list[int] = []
    handed = hand_over(big, kind, place, on_progress=seen.append)
    assert sum(seen) == handed.images == handed.change.written == 10_000
    queries = np.random.default_rng(0).standard_normal((20, DIM)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    with reading(kind, place) as reader:
        for condition in (None, *FILTERS):
            asked = queries if condition is None else queries[:1]  # local clients look at every row, in Python
            where = None if condition is None else FILTERS[condition]
            for query, hits in zip(asked, big.search_vectors(asked, 10, where=where), strict=True):
                found = reader.search(query, 10, condition)
                assert [id_ for id_, _ in found] == [hit.item.id for hit in hits], condition
                assert [score for _, score in found] == pytest.approx([hit.score for hit in hits], abs=1e-5)
    again = hand_over(big, kind, place)
    assert (again.change.written, again.change.kept, again.change.removed) == (0, 10_000, 0)


KILLED = """
import os, signal, sys
from simsiam_retrieval import Collection
from simsiam_retrieval.vector_databases import arrow, rows, target, qdrant, parquet
from simsiam_retrieval.vector_databases.handing_over import hand_over
target.Table.span = qdrant.Qdrant.span = parquet.Parquet.span = 40
calls = []
def dying(act):
    def wrapped(*given):
        calls.append(None)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*given)
    return wrapped
as_table, in_chunks = arrow.as_table, rows.Rows.in_chunks
arrow.as_table = dying(as_table)
def few(self, size):
    for chunk in in_chunks(self, 30):
        dying(lambda: None)()
        yield chunk
rows.Rows.in_chunks = few
hand_over(Collection.open(sys.argv[1]), sys.argv[2], sys.argv[3])
"""


def test_what_was_killed_goes_on(kind: str, few: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few.own_name()
    place = place_of(kind, tmp_path)
    command = [sys.executable, "-c", KILLED, str(few.folder), kind, place]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    for target in (Table, Qdrant, Parquet):
        monkeypatch.setattr(target, "span", 40)
    change = hand_over(few, kind, place).change
    assert change.kept >= 40 and change.written + change.kept == 300
    holds(kind, place, few)


def test_later_only_what_has_changed(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for target in (Table, Qdrant, Parquet):
        monkeypatch.setattr(target, "span", 4)
    pictures, place = tmp_path / "pictures", place_of(kind, tmp_path)
    for number in range(12):
        paint(pictures / f"{number:02d}.jpg", number)
    with Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([pictures], workers=0)
        assert hand_over(collection, kind, place).change.written == 12
        items = collection.items()
        collection.set_labels({items[0].id: "first"})
        for gone in (*items[4:8], items[11]):  # a whole tile, and the last of all
            gone.path.unlink()
        paint(pictures / "05.jpg", 50)
        collection.update(workers=0)
        change = hand_over(collection, kind, place).change
        holds(kind, place, collection)
        assert (change.written, change.kept, change.removed) == (2, 6, 5)

        # an update that comes in between is caught up with
        interfered: list[int] = []

        def interfere(done: int) -> None:
            if not interfered:
                paint(pictures / "99.jpg", 99)
                items[1].path.unlink()
                collection.update(workers=0)
            interfered.append(done)

        handed = hand_over(collection, kind, place, on_progress=interfere)
        assert not handed.unsettled and handed.images == len(collection)
        holds(kind, place, collection)


def test_a_table_of_something_else_is_not_overwritten_unasked(kind: str, few: Collection, tmp_path: Path) -> None:
    place = place_of(kind, tmp_path)
    hand_over(few, kind, place)
    with made(tmp_path / "stranger", 5) as stranger, made(tmp_path / "other", 5, "another encoder") as other:
        with pytest.raises(UserError, match=r"contains another collection; choose another --name .* --replace"):
            hand_over(stranger, kind, place)
        with pytest.raises(UserError, match=r"another encoder \(an encoder; this collection's is another encoder\)"):
            hand_over(other, kind, place)
        holds(kind, place, few)
        assert hand_over(other, kind, place, replace=True).change.written == 5
        holds(kind, place, other)
        assert hand_over(other, kind, place, replace=True).change.kept == 5  # its own is not written again


def test_the_printed_lines_find_the_query(kind: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        paint(tmp_path / "pictures" / f"{number:02d}.jpg", number)
    encoder = small_encoder(tmp_path / "small.onnx")
    run("index", "pictures", "--collection", "made", "--encoder", encoder, "--workers", 0)
    done = run("hand_over", f"it's here{'.db' if kind == 'milvus' else ''}", "--to", kind, "--collection", "made")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report, _, lines = done.stdout.partition("To search there, in Python:")
    assert report.startswith("12 images in ") and "12 written, 0 as they were, 0 removed" in report
    code = [line.strip() for line in lines.splitlines() if line.strip()]
    assert len(code) <= 6
    paint(tmp_path / "query.jpg", 7)
    asked = subprocess.run([sys.executable, "-c", "\n".join(code)], cwd=tmp_path, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    score, path = asked.stdout.splitlines()[0].split(" ", 1)
    assert float(score) == pytest.approx(1, abs=1e-4) and path.endswith("07.jpg")
    assert len(asked.stdout.splitlines()) == 10


def test_a_large_lance_table_gets_an_index(few: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lancedb = pytest.importorskip("lancedb")
    monkeypatch.setattr("simsiam_retrieval.vector_databases.lance.INDEX_FROM", 300)
    place = str(tmp_path / "lance")
    for _ in range(2):
        hand_over(few, "lance", place)
        table = lancedb.connect(place).open_table("images")
        [index] = table.list_indices()
        found = table.index_stats(index.name)
        assert (found.distance_type, found.num_indexed_rows, found.num_unindexed_rows) == ("cosine", 300, 0)
    few.remove([FOLDER])
    done = hand_over(few, "lance", place)
    assert done.change.removed == 100
    holds("lance", place, few)
    # the printed lines, but for the encoder: scores are cosines although the index is quantised
    ids, vectors = few.vectors()
    names: dict[str, Any] = {"lancedb": lancedb, "query": vectors[0]}
    search = [line for line in done.query if line.startswith("found = ")]
    exec("\n".join(search), names)
    scores = {row["id"]: 1 - row["_distance"] for row in names["found"].to_list()}
    assert len(scores) == 10
    cosines = {int(i): float(v @ vectors[0]) for i, v in zip(ids, vectors, strict=True) if i in scores}
    assert scores == pytest.approx(cosines, abs=1e-4)


LEFT = """
import gc, sys, threading, time
from milvus_lite.server_manager import server_manager_instance
from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.vector_databases.handing_over import hand_over
for name in sys.argv[2:]:
    try:
        hand_over(Collection.open(name), "milvus", sys.argv[1])
    except UserError as error:
        print(error)
    assert server_manager_instance._servers == {}
gc.collect()
until = time.monotonic() + 20
while threading.active_count() > 1 and time.monotonic() < until:
    time.sleep(0.05)
print(threading.enumerate())
"""


def test_nothing_of_milvus_lite_stays_behind(few: Collection, tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    made(tmp_path / "other", 3, "another").close()
    command = [sys.executable, "-c", LEFT, tmp_path / "a.db", few.folder, tmp_path / "other"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    refusal, threads = done.stdout.splitlines()
    assert "another encoder" in refusal
    assert threads.count("Thread") == 2 and "MainThread" in threads  # <_MainThread(MainThread, ...)>


@pytest.mark.parametrize("kind", ["parquet", "lance"])
def test_an_address_of_files(kind: str, few: Collection, tmp_path: Path) -> None:
    pytest.importorskip(LIBRARIES[kind])
    place = (tmp_path / "there").as_uri()
    assert hand_over(few, kind, place).change.written == 300
    assert hand_over(few, kind, place).change.kept == 300
    holds(kind, str(tmp_path / "there"), few)


def test_a_milvus_server(few: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus Lite as a server of its own: through its address, with the index that servers get."""
    pytest.importorskip("milvus_lite")
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    monkeypatch.setenv("MILVUS_TOKEN", "right")
    server, database, port = start_server_in_thread(str(tmp_path / "served.db"))
    try:
        handed = hand_over(few, "milvus", f"http://127.0.0.1:{port}", name="photos")
        assert handed.change.written == 300
        assert hand_over(few, "milvus", f"http://127.0.0.1:{port}", name="photos").change.kept == 300
        [lines] = [handed.query]
        assert lines[0] == "import os" and "os.environ['MILVUS_TOKEN']" in lines[-2] and "right" not in str(lines)
        described = database.get_collection("photos").describe()
        assert "COSINE" in str(described) and "AUTOINDEX" in str(described)
    finally:
        server.stop(grace=1)
        database.close()


# -- what cannot be


class Refusing(http.server.BaseHTTPRequestHandler):
    """A Qdrant that knows nobody."""

    def do_GET(self) -> None:
        body = b'{"status": {"error": "forbidden"}}'
        self.send_response(401 if self.headers.get("api-key") is None else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_wrong_token(few: Collection, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("qdrant_client")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for token in (None, "wrong"):
            if token:
                monkeypatch.setenv("QDRANT_API_KEY", token)
            done = run("hand_over", address, "--to", "qdrant", "--collection", few.folder)
            refused(done, "refused the key", "QDRANT_API_KEY")
            assert "wrong" not in done.stderr
        server.shutdown()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.parametrize(
    ("kind", "place", "words"),
    [
        ("qdrant", "http://127.0.0.1:{port}", ("no Qdrant answers",)),
        ("milvus", "http://127.0.0.1:{port}", ("Milvus",)),
        ("qdrant", "https://me:secret@example.org:6333", ("QDRANT_API_KEY",)),
        ("milvus", "https://:secret@example.org", ("MILVUS_TOKEN",)),
        ("qdrant", "ftp://example.org", ("http:// or https://",)),
        ("milvus", "http://", ("not an address",)),
        ("milvus", "http://a:b:c", ("not an address",)),
        ("milvus", "images", ("ends with .db",)),
        ("parquet", "nonsense://x/y", ("nonsense",)),
        ("lance", "nonsense://x/y", ("s3://",)),
        ("lance", "few/inside", ("belongs to the collection",)),
        ("parquet", "file.txt", ("a file",)),
        ("qdrant", "file.txt/deeper", ("a file",)),
        ("parquet", "full", ("other files", "notes.txt")),
        ("qdrant", "full", ("other files",)),
    ],
)
def test_places_that_cannot_be(
    kind: str, place: str, words: tuple[str, ...], few: Collection, tmp_path: Path, run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip(LIBRARIES[kind])
    (tmp_path / "file.txt").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    monkeypatch.setattr("simsiam_retrieval.vector_databases.milvus.SECONDS", 1)
    done = run("hand_over", place.format(port=free_port()), "--to", kind, "--collection", few.folder)
    refused(done, *words)
    assert "secret" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few", "file.txt", "full"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_no_permission(kind: str, few: Collection, open_folder: Path, unprivileged) -> None:
    few.own_name()
    open_folder.chmod(0o555)
    place = place_of(kind, open_folder)
    with unprivileged(), pytest.raises(UserError, match="no permission to write there"):
        handing_over._open(kind, place, "images", handing_over.Mark("e", DIM, "c"), False)
    open_folder.chmod(0o755)
    hand_over(few, kind, place)


def test_two_at_once_in_one_embedded_database(kind: str, few: Collection, tmp_path: Path) -> None:
    """The second is told so, or both do the same work; nothing is doubled."""
    place = place_of(kind, tmp_path)
    hand_over(few, kind, place)
    with reading(kind, place):
        code = "import sys\nfrom simsiam_retrieval import Collection, UserError\n"
        code += "from simsiam_retrieval.vector_databases.handing_over import hand_over\n"
        code += "try: hand_over(Collection.open(sys.argv[1]), sys.argv[2], sys.argv[3])\n"
        code += "except UserError as error: print(error)\n"
        code += "assert 'torch' not in sys.modules\n"
        done = subprocess.run(
            [sys.executable, "-c", code, str(few.folder), kind, place], capture_output=True, text=True
        )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    if kind in ("qdrant", "milvus"):
        assert "refused" in done.stdout and done.stdout.count("\n") == 1
    holds(kind, place, few)


@pytest.mark.parametrize("damage", [b"", b"PAR1 and nothing else"])
def test_a_damaged_parquet_file_is_refused_and_replaced(damage: bytes, few: Collection, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    place = tmp_path / "files"
    hand_over(few, "parquet", str(place))
    [file] = place.iterdir()
    file.write_bytes(damage)
    with pytest.raises(UserError, match="was not made by hand_over"):
        hand_over(few, "parquet", str(place))
    hand_over(few, "parquet", str(place), replace=True)
    holds("parquet", str(place), few)


def test_a_library_that_is_not_installed(kind: str, few: Collection, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, LIBRARIES[kind], None)
    with pytest.raises(UserError, match=f"^--to {kind}: {LIBRARIES[kind]} is not installed; pip install"):
        hand_over(few, kind, place_of(kind, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["few"]
