"""The file of a collection's index: a cache next to the catalog, named after the generation it was built from.

It is FAISS's own file, except for an exact index of 16-bit vectors (``flat_file.py``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from ...core.atomic_files import replacing
from . import flat_file
from .flat_vectors import FlatVectors

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

IMAGES, REGIONS = "index", "regions"  # beginnings of the files' names: what the vectors are of


def path_of(folder: Path, generation: int, stem: str = IMAGES) -> Path:
    """Return the file of a generation's index.

    Args:
        folder: The collection's folder.
        generation: The generation.
        stem: ``IMAGES`` or ``REGIONS``.

    Returns:
        The file; a killed update may leave none.
    """
    return folder / f"{stem}-{generation}.faiss"


def newest(folder: Path, stem: str = IMAGES) -> int | None:
    """Return the newest generation that has a file.

    Args:
        folder: The collection's folder.
        stem: ``IMAGES`` or ``REGIONS``.

    Returns:
        The generation, or None.
    """
    name = re.compile(rf"{stem}-(\d+)\.faiss")
    generations = [int(match[1]) for file in folder.glob(f"{stem}-*.faiss") if (match := name.fullmatch(file.name))]
    return max(generations, default=None)


def read(
    folder: Path, generation: int, seal: str | None = None, stem: str = IMAGES
) -> faiss.Index | FlatVectors | None:
    """Read the index of a generation.

    Args:
        folder: The collection's folder.
        generation: The generation.
        seal: Hash from ``write``; a file that differs in one byte counts as damaged.
        stem: ``IMAGES`` or ``REGIONS``.

    Returns:
        The index; None if the file is missing or damaged.
    """
    try:
        with path_of(folder, generation, stem).open("rb") as file:
            source = _Hashed(file.read)
            start = source(len(flat_file.MAGIC))
            if start == flat_file.MAGIC:
                index = FlatVectors(*flat_file.read(source, os.fstat(file.fileno()).st_size))
            else:
                # through a Python file, because FAISS cannot open names that are not UTF-8
                reader = faiss.PyCallbackIOReader(_After(start, source))  # pyright: ignore[reportAttributeAccessIssue]
                index = faiss.read_index(reader)
            while source(2**20):
                pass  # bytes after the index
            return index if seal in (None, source.seal) else None
    # FAISS fails in many ways on damage: a wrong length may even request more memory than there is
    except (OSError, RuntimeError, MemoryError, ValueError, OverflowError):
        return None


def seal_of(folder: Path, generation: int, stem: str = IMAGES) -> str | None:
    """Compute the hash of a file, as ``write`` does.

    Args:
        folder: The collection's folder.
        generation: The generation.
        stem: ``IMAGES`` or ``REGIONS``.

    Returns:
        The hash; None if the file cannot be read.
    """
    try:
        with path_of(folder, generation, stem).open("rb") as file:
            source = _Hashed(file.read)
            while source(2**20):
                pass
            return source.seal
    except OSError:
        return None


def write(
    index: faiss.Index | FlatVectors,
    folder: Path,
    generation: int,
    on_sealed: Callable[[str], None] = lambda seal: None,
    stem: str = IMAGES,
) -> None:
    """Write an index; delete those of other generations, and files that a killed writer left.

    Args:
        index: The index.
        folder: The collection's folder.
        generation: The generation.
        on_sealed: Called with a hash of the file before it gets its name.
        stem: ``IMAGES`` or ``REGIONS``.
    """
    file = path_of(folder, generation, stem)
    with replacing(file) as temporary:
        with temporary.open("wb") as stream:
            hashed = xxhash.xxh3_128()

            def write_block(block: bytes) -> int:
                hashed.update(block)
                return stream.write(block)

            if isinstance(index, FlatVectors) and not flat_file.write(index.ids, index.vectors, write_block):
                index = index.as_faiss()  # of an older collection: its vectors have 32 bits
            if not isinstance(index, FlatVectors):
                writer = faiss.PyCallbackIOWriter(write_block)  # pyright: ignore[reportAttributeAccessIssue]
                faiss.write_index(index, writer)
        on_sealed(hashed.hexdigest())
    for old in folder.glob(f"{stem}-*.faiss"):
        if old != file:
            old.unlink(missing_ok=True)
    for unfinished in folder.glob(f".{stem}-*.tmp"):
        unfinished.unlink(missing_ok=True)


class _After:
    """A ``read`` that first returns bytes that were read already."""

    def __init__(self, start: bytes, read: Callable[[int], bytes]) -> None:
        self._start, self._read = start, read

    def __call__(self, count: int) -> bytes:
        if not self._start:
            return self._read(count)
        block, self._start = self._start[:count], self._start[count:]
        return block + self._read(count - len(block)) if count > len(block) else block


class _Hashed:
    """A file's ``read`` that also hashes: 50 GB/s, while FAISS reads at 1 to 2 GB/s."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._hashed = xxhash.xxh3_128()

    def __call__(self, count: int) -> bytes:
        block = self._read(count)
        self._hashed.update(block)
        return block

    @property
    def seal(self) -> str:
        return self._hashed.hexdigest()
