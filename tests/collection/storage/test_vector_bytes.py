"""Stored vectors: what rounding loses, that it happens once, and that damage is found."""

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection import maintenance
from simsiam_retrieval.collection.index import flat_file
from simsiam_retrieval.collection.index.make_index import seal_index
from simsiam_retrieval.collection.index.vector_index import VectorIndex
from simsiam_retrieval.collection.storage import checksums, sealing, vector_table
from simsiam_retrieval.collection.storage.catalog_file import connect
from simsiam_retrieval.collection.storage.opening import open_store, open_to_update
from simsiam_retrieval.collection.storage.vector_bytes import from_bytes, read_into, to_bytes
from tests.support.small_encoder import Killed, contents

DIM = 96


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    made = np.random.default_rng(0).standard_normal((500, DIM)) ** 3  # some values are far larger than others
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def test_the_bytes_are_integers_and_a_checksum(vectors) -> None:
    for vector in vectors[:20]:
        expected = np.rint(vector.astype(float) * 32767 / np.abs(vector).max()).astype(int)
        packed = struct.pack(f"<{DIM}h", *expected)
        assert to_bytes(vector) == packed + struct.pack("<I", zlib.crc32(packed))
        decoded = from_bytes(to_bytes(vector), DIM)
        assert decoded is not None
        np.testing.assert_allclose(decoded, expected / np.sqrt((expected**2).sum()), rtol=2e-7)


def test_rounding_is_bounded_and_happens_once(vectors) -> None:
    found = np.array([from_bytes(to_bytes(vector), DIM) for vector in vectors])
    # half a step of each value, and the change of length
    bound = np.abs(vectors).max(axis=1) / 32767 * np.sqrt(DIM) / 2 * 2
    assert (np.linalg.norm(found - vectors, axis=1) <= bound).all()
    assert np.abs(np.linalg.norm(found.astype(float), axis=1) - 1).max() < 1e-6
    float16 = vectors.astype(np.float16).astype(np.float32)
    assert np.abs(found @ found.T - vectors @ vectors.T).max() < np.abs(float16 @ float16.T - vectors @ vectors.T).max()
    for vector in found:
        np.testing.assert_array_equal(from_bytes(to_bytes(vector), DIM), vector)


def test_one_and_many_and_older_ones_are_the_same(vectors) -> None:
    stored = [to_bytes(vector) if number % 3 else vector.tobytes() for number, vector in enumerate(vectors)]
    rows = np.empty_like(vectors)
    assert read_into(rows, stored) is None
    for vector, content, row in zip(vectors, stored, rows, strict=True):
        np.testing.assert_array_equal(row, from_bytes(content, DIM))
        if len(content) == 4 * DIM:
            np.testing.assert_array_equal(row, vector)


@pytest.mark.parametrize("vector", [[0.6, 0.8], [1.0], [0.0] * 5, [np.nan, 0.0, 1.0], [3.0, 4.0, 0.0]])
def test_what_cannot_be_rounded_is_stored_as_it_is(vector) -> None:
    values = np.array(vector, np.float32)
    assert to_bytes(values) == values.tobytes()
    np.testing.assert_array_equal(from_bytes(values.tobytes(), len(values)), values)


def test_every_changed_bit_is_found(vectors) -> None:
    stored = to_bytes(vectors[0])
    for bit in range(8 * len(stored)):
        damaged = bytearray(stored)
        damaged[bit // 8] ^= 1 << bit % 8
        assert from_bytes(bytes(damaged), DIM) is None
    for wrong in (b"", stored[:-1], stored + b"\0", "text"):
        assert read_into(np.empty((2, DIM), np.float32), [stored, wrong]) == 1  # pyright: ignore[reportArgumentType]


def test_the_index_file_has_the_same_vectors_in_half_the_bytes(vectors, tmp_path: Path) -> None:
    rounded = np.empty_like(vectors)
    read_into(rounded, [to_bytes(vector) for vector in vectors])
    ids = 3 + 5 * np.arange(len(vectors), dtype=np.int64)
    content = b""
    for generation, saved in enumerate((rounded, vectors)):
        VectorIndex.build(ids, saved, generation).save(tmp_path)
        content = (tmp_path / f"index-{generation}.faiss").read_bytes()
        found = VectorIndex.load(tmp_path, generation)
        assert found is not None and found.kind == "flat" and found.holds(ids, DIM)
        np.testing.assert_array_equal(found.vectors(ids.tolist()), saved)
        np.testing.assert_array_equal(found.search(rounded[7:8], 3)[1][0, 0], ids[7])
        assert content.startswith(flat_file.MAGIC) == (saved is rounded)
        if saved is rounded:
            assert len(content) == 24 + len(ids) * (8 + 2 * DIM)
    for cut in (9, 24, len(content) - 1):
        (tmp_path / "index-1.faiss").write_bytes(flat_file.MAGIC + content[8:cut])
        assert VectorIndex.load(tmp_path, 1) is None


def make_older(folder: Path) -> None:
    """Turn a collection into what an older version wrote: float32 vectors, FAISS's own index file, schema 4."""
    with contextlib.closing(open_to_update(folder)) as store:
        generation, ids, found = store.vectors(192)
    found += np.float32(1e-5) * np.random.default_rng(0).standard_normal(found.shape).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    with contextlib.closing(connect(folder)) as database, database:
        for id_, vector in zip(ids.tolist(), found, strict=True):
            database.execute("UPDATE vectors SET vector = ? WHERE item = ?", [vector.tobytes(), id_])
        database.execute(checksums.SEAL)
        sealing.put(database, "schema", "4")
    index = VectorIndex.build(ids, found, generation)
    with contextlib.closing(open_store(folder)) as store:
        index.save(folder, lambda seal: seal_index(store, generation, seal))
    assert not next(folder.glob("*.faiss")).read_bytes().startswith(flat_file.MAGIC)


def test_an_older_collection_is_used_as_it_is_and_rounded_when_its_index_is_rebuilt(collection, folder) -> None:
    make_older(collection.folder)
    with Collection.open(collection.folder) as opened:
        ids, before = opened.vectors()
        hits = [(hit.path, hit.score) for hit in opened.search(before[2], 6)]
        assert opened.verify() == []
        assert opened.update(workers=0).added == 0
        assert all(len(stored) == 4 * 192 for stored in contents(opened).values())
        opened.rebuild_index()
        assert all(len(stored) == 2 * 192 + 4 for stored in contents(opened).values())
        after_ids, after = opened.vectors()
        np.testing.assert_array_equal(after_ids, ids)
        np.testing.assert_allclose(after @ after.T, before @ before.T, atol=1e-5)
        found = [(hit.path, hit.score) for hit in opened.search(before[2], 6)]
        assert [path for path, _ in found] == [path for path, _ in hits]
        assert [score for _, score in found] == pytest.approx([score for _, score in hits], abs=1e-5)
        assert opened.verify() == []
    assert next(collection.folder.glob("*.faiss")).read_bytes().startswith(flat_file.MAGIC)


@pytest.mark.parametrize("moment", range(6))
def test_rounding_may_be_killed_at_any_moment(collection, monkeypatch, moment) -> None:
    """Before, within and between the transactions, and before the new index file is there."""
    make_older(collection.folder)
    monkeypatch.setattr(vector_table, "ROUNDED", 2)
    calls = []

    def killing(vector):
        calls.append(vector)
        if len(calls) > moment:
            raise Killed
        return to_bytes(vector)

    with Collection.open(collection.folder) as opened:
        ids, before = opened.vectors()
        hits = [hit.path for hit in opened.search(before[2], 6)]
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(vector_table.vector_bytes, "to_bytes", killing)
            patched.setattr(maintenance, "make_index", lambda *given, **named: killing(before[0]))
            opened.rebuild_index()
    with Collection.open(collection.folder) as again:
        after_ids, after = again.vectors()
        np.testing.assert_array_equal(after_ids, ids)
        np.testing.assert_allclose(after @ after.T, before @ before.T, atol=1e-5)
        stored = contents(again).values()
        assert sum(len(content) < 4 * 192 for content in stored) == (5 if moment == 5 else moment // 2 * 2)
        assert [hit.path for hit in again.search(before[2], 6)] == hits
        again.rebuild_index()
        assert all(len(content) < 4 * 192 for content in contents(again).values())
        assert again.verify() == []
        assert [hit.path for hit in again.search(before[2], 6)] == hits


def test_a_damaged_row_is_not_rounded(collection) -> None:
    make_older(collection.folder)
    victim = next(item.path for item in collection if item.id == 3)
    with contextlib.closing(connect(collection.folder)) as database, database:
        wrong = (np.ones(192, np.float32) / np.sqrt(np.float32(192))).tobytes()
        database.execute("UPDATE vectors SET vector = ? WHERE item = 3", [wrong])
    with Collection.open(collection.folder) as opened:
        opened.rebuild_index()
        [finding] = opened.verify()
        assert finding.subject == victim


def test_a_damaged_vector_in_the_catalog_is_named_when_it_is_read(collection) -> None:
    """Also where no search would show its image, and its length is still 1."""
    next(collection.folder.glob("*.faiss")).unlink()
    with contextlib.closing(connect(collection.folder)) as database, database:
        database.execute(
            "UPDATE vectors SET vector = CAST((SELECT substr(vector, 1, 384) FROM vectors WHERE item = 2)"
            " || substr(vector, 385) AS BLOB) WHERE item = 3"
        )
    with Collection.open(collection.folder) as opened, pytest.raises(UserError, match=r"item 3 is damaged.*--verify"):
        opened.search(np.ones(192, np.float32), 1)
