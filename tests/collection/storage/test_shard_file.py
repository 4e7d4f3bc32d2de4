"""The format of shards: what any Parquet reader finds in them, where values lie, and what is no shard."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simsiam_retrieval.collection.storage import shard_file, shard_parquet_reader, shard_writer
from simsiam_retrieval.collection.storage.shard_file import ShardRow
from simsiam_retrieval.collection.storage.shard_reader import ShardReader, footer_identity
from simsiam_retrieval.core.errors import UserError
from tests.support.sharded_collections import DIM, generated_rows, unit_vectors

NAME = "ab" * 32
ROWS = generated_rows(1, 2500)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of three row groups; read only."""
    folder = tmp_path_factory.mktemp("shard")
    return shard_writer.write_shard(folder, NAME, ROWS, encoder="me", dim=DIM, extra={"source": "/made", "input": "x"})


def test_any_parquet_reader_can_use_it(written) -> None:
    table = pq.read_table(written)
    assert table.num_rows == 2500 and pq.ParquetFile(written).num_row_groups == 3
    assert table["path"].to_pylist() == [row.path for row in ROWS]
    assert table["thumbnail"].to_pylist() == [row.thumbnail for row in ROWS]
    assert table["reason"].to_pylist() == [row.reason for row in ROWS]
    vectors = np.array(table["vector"].to_pylist(), np.float16)
    for row, vector in zip(ROWS, vectors, strict=True):
        assert not vector.any() if row.vector is None else np.array_equal(vector, row.vector.astype(np.float16))
    metadata = table.schema.metadata
    assert metadata[b"simsiam_retrieval.format"] == b"1" and metadata[b"simsiam_retrieval.encoder"] == b"me"


def test_facts_and_rows(written) -> None:
    facts = shard_parquet_reader.read_facts(written, "me", DIM)
    assert facts == (2500, "/made/1/00000.jpg", {"source": "/made", "input": "x"})
    rows = [row for group in shard_parquet_reader.read_rows(written) for row in group]
    for name in ("path", "digest", "size", "mtime_ns", "width", "height", "format", "taken", "reason"):
        assert [row[name] for row in rows] == [getattr(row, name) for row in ROWS]


def test_values_lie_in_the_file_as_they_are(written) -> None:
    content, number = written.read_bytes(), 0
    for places, _ in shard_parquet_reader.read_places(written):
        for row in range(places.rows):
            raw = np.frombuffer(content, "<f2", DIM, places.vectors_at + 2 * DIM * row)
            expected = ROWS[number].vector
            assert np.array_equal(raw, np.zeros(DIM) if expected is None else expected.astype(np.float16))
            offset, count = places.thumbnails[row].tolist()
            start = places.thumbnails_at + offset
            assert (content[start : start + count] or None) == ROWS[number].thumbnail
            number += 1
    assert number == 2500


def test_the_reader_takes_single_rows_and_stretches(written) -> None:
    reader = ShardReader(written.parent.parent)
    identity = footer_identity(written)[1]
    second = list(shard_parquet_reader.read_places(written))[1][0]
    for rows in ([0], [3, 1023], [5, 6, 8], list(range(1024))):
        found = reader.vectors(NAME, identity, second.vectors_at, np.array(rows), DIM)
        for row, vector in zip(rows, found, strict=True):
            expected = ROWS[1024 + row].vector
            if expected is None:
                assert not vector.any()
            else:
                half = expected.astype(np.float16).astype(np.float64)
                assert np.allclose(vector, half / np.linalg.norm(half), atol=1e-7)
    reader.close()


def test_names_that_are_not_utf8(tmp_path) -> None:
    row = ShardRow(b"/x/\xff.jpg", 1, 2, reason="gone")
    file = shard_writer.write_shard(tmp_path, NAME, [row], encoder="me", dim=4)
    assert pq.read_table(file)["path"].to_pylist() == ["/x/\\xff.jpg"]
    assert [row["path"] for rows in shard_parquet_reader.read_rows(file) for row in rows] == [b"/x/\xff.jpg"]


def test_a_sink_instead_of_a_file() -> None:
    sink = io.BytesIO()
    shard_writer.write_table(shard_writer.to_table(ROWS[:3], DIM), sink, encoder="me", dim=DIM)
    assert pq.read_table(io.BytesIO(sink.getvalue())).num_rows == 3


def test_the_name_is_of_all_that_went_in() -> None:
    inputs = [{"path": "/a.tar", "size": 1, "rows": [0, 10]}]
    name = shard_file.shard_name("me", inputs)
    assert len(name) == 64 and name == shard_file.shard_name("me", [{"rows": [0, 10], "size": 1, "path": "/a.tar"}])
    others = [[{**inputs[0], "size": 2}], [{**inputs[0], "rows": [0, 11]}], inputs * 2]
    assert len({name, shard_file.shard_name("you", inputs), *(shard_file.shard_name("me", o) for o in others)}) == 5


@pytest.mark.parametrize(
    "row",
    [
        ShardRow("a", 1, 2),
        ShardRow("a", 1, 2, vector=np.ones(4), reason="both"),
        ShardRow("a", 1, 2, vector=np.ones(5)),
        ShardRow("a", 1, 2, vector=np.zeros(4)),
        ShardRow("a", 1, 2, vector=np.array([1, np.nan, 0, 0])),
    ],
)
def test_rows_that_are_none(row) -> None:
    with pytest.raises(ValueError, match="'a': "):
        shard_writer.to_table([row], 4)


def test_what_is_no_shard_of_this_collection(written, tmp_path) -> None:
    content = written.read_bytes()
    bad = tmp_path / f"{NAME}.parquet"

    def refused(*words: str, content: bytes | None = None, encoder: str = "me", dim: int = DIM) -> None:
        if content is not None:
            bad.write_bytes(content)
        with pytest.raises(UserError) as error:
            shard_parquet_reader.read_facts(bad, encoder, dim)
            list(shard_parquet_reader.read_places(bad))
        assert "\n" not in str(error.value) and str(bad) in str(error.value)
        for word in words:
            assert word in str(error.value)

    refused("gone")
    refused("damaged", content=b"")
    refused("damaged", content=content[: len(content) // 2])
    middle = next(shard_parquet_reader.read_places(written))[0].vectors_at + 1000
    refused("damaged", "CRC", content=content[:middle] + b"\1\2\3" + content[middle + 3 :])
    bad.write_bytes(content)
    refused("another encoder", "(me,", encoder="you")
    refused("another encoder", dim=4)
    pq.write_table(pa.table({"path": ["a"]}), bad)
    refused("not a shard")
    table = shard_writer.to_table(ROWS[:2000], DIM)
    facts = {"simsiam_retrieval.format": "1", "simsiam_retrieval.encoder": "me", "simsiam_retrieval.dim": str(DIM)}
    pq.write_table(table.replace_schema_metadata(facts), bad, row_group_size=1000, use_dictionary=False)
    refused("compressed, or not written by this package")
    pq.write_table(table.replace_schema_metadata(facts), bad)
    refused("row groups")
    pq.write_table(table.replace_schema_metadata({**facts, "simsiam_retrieval.format": "2"}), bad)
    refused("newer version")


def test_repeated_vectors_are_found_at_their_own_place(tmp_path) -> None:
    """A stretch that occurs twice must not be taken for the other one."""
    same = unit_vectors(1, 5)[0]
    rows = [ShardRow(f"/{n}", 1, 2, bytes(32), 1, 1, "PNG", None, same, b"\xff\xd8same\xff\xd9") for n in range(5)]
    file = shard_writer.write_shard(tmp_path, NAME, rows, encoder="me", dim=DIM)
    [(places, _)] = shard_parquet_reader.read_places(file)
    content = file.read_bytes()
    assert len(set(places.thumbnails[:, 0].tolist())) == 5
    for offset, count in places.thumbnails.tolist():
        start = places.thumbnails_at + offset
        assert content[start : start + count] == b"\xff\xd8same\xff\xd9"
