"""The table ``vectors`` of a plain collection's catalog: reading it, and rounding what older versions stored."""

import sqlite3

import numpy as np
from numpy.typing import NDArray

from . import checksums, vector_bytes
from .catalog_file import VISIBLE

FEW = 10  # a lookup by id costs about as much as passing over this many rows
UNIT, ROWS = 4e-3, 8192  # how far a squared length may be from 1; vectors looked at together
ROUNDED = 1000  # rows of older versions that are rounded in one transaction

_ALL = f"SELECT id, vector FROM items JOIN vectors ON item = id WHERE {VISIBLE} ORDER BY id"


def read_all(db: sqlite3.Connection, count: int, dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read the vectors of all usable images.

    Args:
        db: The catalog.
        count: Number of usable images in the same state.
        dim: Values per vector.

    Returns:
        Ids, int64 (n,), ascending, and vectors, float32 (n, dim).

    Raises:
        DatabaseError: One is missing or damaged.
    """
    ids, matrix = np.empty(count, np.int64), np.empty((count, dim), np.float32)
    found, rows = db.execute(_ALL), 0
    while batch := found.fetchmany(ROWS):
        there = slice(rows, rows + len(batch))
        ids[there] = [id_ for id_, _ in batch]
        _convert(matrix[there], ids[there], [vector for _, vector in batch])
        rows += len(batch)
    if rows != count:
        raise sqlite3.DatabaseError(f"{count - rows} vectors are missing")
    return ids, matrix


def read(db: sqlite3.Connection, ids: NDArray[np.int64], dim: int, count: int) -> NDArray[np.float32]:
    """Read the vectors of some usable images.

    Args:
        db: The catalog.
        ids: Their ids, int64 (n,).
        dim: Values per vector.
        count: Number of usable images.

    Returns:
        float32 (n, dim), in the order of ``ids``.

    Raises:
        DatabaseError: One is missing or damaged.
    """
    matrix = np.empty((len(ids), dim), np.float32)
    if FEW * len(ids) < count:  # to pass over all the others would take longer
        query = "SELECT vector FROM vectors WHERE item = ?"
        found = [db.execute(query, [id_]).fetchone() or (b"",) for id_ in ids.tolist()]
        _convert(matrix, ids, [vector for (vector,) in found])
        return matrix
    order, rows = np.argsort(ids), db.execute(_ALL)
    for start in range(0, len(order), ROWS):
        block = order[start : start + ROWS]
        stored = []
        for wanted in ids[block].tolist():
            id_, vector = next((row for row in rows if row[0] >= wanted), (-1, b""))
            stored.append(vector if id_ == wanted else b"")
        part = np.empty((len(block), dim), np.float32)
        _convert(part, ids[block], stored)
        matrix[block] = part
    return matrix


def read_one(db: sqlite3.Connection, id_: int, dim: int) -> NDArray[np.float32] | None:
    """Read one vector.

    Args:
        db: The catalog.
        id_: The image's id.
        dim: Values per vector.

    Returns:
        float32 (dim,); None for an unknown id.

    Raises:
        DatabaseError: It is damaged.
    """
    row = db.execute("SELECT vector FROM vectors WHERE item = ?", [id_]).fetchone()
    if row is None:
        return None
    vector = np.empty((1, dim), np.float32)
    _convert(vector, np.array([id_]), [row[0]])
    return vector[0]


def _convert(rows: NDArray[np.float32], ids: NDArray[np.int64], stored: list[bytes]) -> None:
    wrong = vector_bytes.read_into(rows, stored)
    if wrong is not None:
        problem = "missing" if stored[wrong] == b"" else "damaged or has the wrong length"
        raise sqlite3.DatabaseError(f"the vector of item {ids[wrong]} is {problem}")


def check_unit(ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
    """Check that vectors have unit length.

    Args:
        ids: Ids of their items, int64 (n,).
        vectors: float32 (n, dim).

    Raises:
        DatabaseError: One has not.
    """
    for start in range(0, len(vectors), ROWS):
        block = vectors[start : start + ROWS]
        with np.errstate(over="ignore", invalid="ignore"):
            wrong = np.flatnonzero(~(np.abs(np.einsum("ij,ij->i", block, block) - 1) <= UNIT))  # so that NaN counts
        if len(wrong):
            raise sqlite3.DatabaseError(f"the vector of item {ids[start + wrong[0]]} is damaged")


def round_older(db: sqlite3.Connection, dim: int) -> int:
    """Store float32 vectors with 16 bits, ``ROUNDED`` rows a transaction.

    A row keeps its id and is never without a vector, so this may be interrupted at any moment. Rows that do not fit
    their checksums stay as they are, for ``--verify``.

    Args:
        db: The catalog, of the newest schema.
        dim: Values per vector.

    Returns:
        How many were rounded.
    """
    query = (
        f"SELECT id, vector, checksum IS NOT NULL FROM items JOIN vectors ON item = id WHERE id > ?"
        f" AND length(vector) = ? AND (checksum IS NULL OR checksum = {checksums.OF_ROW}) ORDER BY id LIMIT ?"
    )
    rounded, last = 0, -1
    while True:
        with db:
            db.execute("BEGIN IMMEDIATE")
            rows = db.execute(query, [last, 4 * dim, ROUNDED]).fetchall()
            for id_, stored, has_checksum in rows:
                content = vector_bytes.to_bytes(np.frombuffer(stored, "<f4"))
                if len(content) < len(stored):
                    db.execute("UPDATE vectors SET vector = ? WHERE item = ?", [content, id_])
                    if has_checksum:
                        db.execute(checksums.SEAL + " WHERE id = ?", [id_])
                    rounded += 1
        if not rows:
            return rounded
        last = rows[-1][0]
