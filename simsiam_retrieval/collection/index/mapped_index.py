"""The index of a sharded collection: inverted lists that stay on disk and are mapped into memory.

One index is trained on a sample. Each part (some of the shards) is added to an empty copy of it. FAISS merges the
parts' lists into one file. The code of a vector does not depend on the other vectors, so the result equals that of one
process.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash
from numpy.typing import NDArray

from ..storage.store import Store
from .make_index import INDEX_SEAL
from .vector_index import VectorIndex

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

RESCORED = {"ivf": 1, "ivf-sq8": 4, "ivf-pq": 16}  # candidates per result that are compared again by exact cosine
LISTS, SUFFIX = "ivfdata", "faiss"
PREFETCHING_THREADS = 4  # threads that read a query's lists; FAISS's default of 32 is slower with lists in memory


def ivf(index: faiss.Index) -> faiss.IndexIVF:
    """Check that an index consists of inverted lists.

    Args:
        index: The index.

    Returns:
        The same index.

    Raises:
        RuntimeError: It is something else.
    """
    if not isinstance(index, faiss.IndexIVF):
        raise RuntimeError(f"{type(index).__name__}: no inverted lists")
    return index


def hashes_of(folder: Path, generation: int) -> list[str]:
    """Hash the two files of a generation's index with XXH3.

    Args:
        folder: The collection's folder.
        generation: The generation.

    Returns:
        The hashes; "" for a missing file, such as the lists of an empty index.
    """
    return [_hash_of(file) for file in files_of(folder, generation)]


def _hash_of(file: Path) -> str:
    hashed = xxhash.xxh3_128()
    try:
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                hashed.update(block)
    except FileNotFoundError:
        return ""
    return hashed.hexdigest()


def open_mapped(index_file: Path, lists_file: Path) -> faiss.IndexIVF | None:
    """Open an index whose lists stay on disk, read-only.

    Args:
        index_file: The index.
        lists_file: The lists.

    Returns:
        The index; None if a file is missing or damaged.
    """
    try:
        with index_file.open("rb") as stream:
            reader = faiss.PyCallbackIOReader(stream.read)  # pyright: ignore[reportAttributeAccessIssue]
            index = ivf(faiss.read_index(reader, faiss.IO_FLAG_SKIP_IVF_DATA))
        lists = faiss.downcast_InvertedLists(index.invlists)  # pyright: ignore[reportArgumentType]
        if isinstance(lists, faiss.OnDiskInvertedLists):
            if lists_file.stat().st_size < lists.totsize:  # reading beyond the end of the map would kill the process
                return None
            lists.filename, lists.read_only = str(lists_file), True
            lists.prefetch_nthread = PREFETCHING_THREADS
            lists.do_mmap()
        return index
    except (OSError, RuntimeError, AttributeError):
        return None


class DamagedLists(Exception):
    """A list does not fit its checksum."""


def seals_of(index: faiss.IndexIVF, lists: Iterable[int]) -> NDArray[np.uint64]:
    """Hash the codes and ids in lists, with XXH3.

    Args:
        index: The index.
        lists: Numbers of lists.

    Returns:
        The hashes, uint64 (lists,).
    """
    inverted, found = index.invlists, []
    assert inverted is not None
    for number in lists:
        hashed, size = xxhash.xxh3_64(), inverted.list_size(number)
        if size:
            hashed.update(faiss.rev_swig_ptr(inverted.get_codes(number), size * index.code_size).tobytes())
            hashed.update(faiss.rev_swig_ptr(inverted.get_ids(number), size).tobytes())
        found.append(hashed.intdigest())
    return np.array(found, np.uint64)


class ShardIndex(VectorIndex):
    """Approximate inner-product search in mapped inverted lists. Thread-safe.

    Args:
        index: The index.
        generation: Its generation.
    """

    mapped = True

    def __init__(self, index: faiss.IndexIVF, generation: int, seals: NDArray[np.uint64] | None = None) -> None:
        """``seals`` (lists,): as :func:`seals_of`; a list is compared when a search looks into it first."""
        super().__init__(index, generation)
        self._ivf, self._seals = index, seals
        self._sound = np.zeros(index.nlist, bool)

    @classmethod
    def load(
        cls, folder: Path, generation: int, seal: str | None = None, seals: NDArray[np.uint64] | None = None
    ) -> ShardIndex | None:
        """Load the index of a generation.

        Args:
            folder: The collection's folder.
            generation: The generation.
            seal: Hash of the file with the centroids. The lists are only mapped; ``--verify`` checks their hash.
            seals: (lists,), the checksum of each list, which a search compares when it reads the list first.

        Returns:
            The index; None if it is missing or damaged.
        """
        if seal is not None and _hash_of(files_of(folder, generation)[0]) != seal:
            return None
        index = open_mapped(*files_of(folder, generation))
        if index is None or (seals is not None and len(seals) != index.nlist):
            return None
        return cls(index, generation, seals)

    def holds_sound_lists(self) -> bool:
        """Check all lists.

        Returns:
            True if they fit their checksums.
        """
        return self._seals is None or np.array_equal(seals_of(self._ivf, range(self._ivf.nlist)), self._seals)

    def _search_in(
        self,
        queries: NDArray[np.float32],
        k: int,
        lists: NDArray[np.int64],
        distances: NDArray[np.float32],
        parameters: faiss.SearchParametersIVF,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search in ``lists`` (n, nprobe); as FAISS's own ``search_preassigned``, which takes no parameters (1.15)."""
        scores, ids = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        pointers = [faiss.swig_ptr(array) for array in (lists, distances, scores, ids)]
        self._ivf.search_preassigned_c(  # pyright: ignore[reportAttributeAccessIssue]
            len(queries), faiss.swig_ptr(queries), k, *pointers, False, parameters
        )
        return scores, ids

    def _check(self, lists: NDArray[np.int64]) -> None:
        if self._seals is None:
            return
        new = np.unique(lists[lists >= 0])
        new = new[~self._sound[new]]
        if len(new) and not np.array_equal(seals_of(self._ivf, new.tolist()), self._seals[new]):
            raise DamagedLists
        self._sound[new] = True

    @property
    def rescored(self) -> int:
        """Candidates per result that must be compared again by exact cosine."""
        return RESCORED[self.kind]

    def search(
        self, queries: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """See ``VectorIndex.search``; scores are approximate.

        More lists than tuned are read if they contain too few results.

        Raises:
            DamagedLists: A list that is read does not fit its checksum.
        """
        k = min(k, len(self) if among is None else len(among))
        if k == 0:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        selector = None
        if among is not None:
            mask = np.zeros((int(among[-1]) // 8 + 1) * 8, bool)
            mask[among] = True
            selector = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))  # pyright: ignore[reportCallIssue]
        probed, queries = min(self._ivf.nprobe, self._ivf.nlist), np.ascontiguousarray(queries, np.float32)
        while True:
            parameters = faiss.SearchParametersIVF()
            parameters.sel, parameters.nprobe = selector, probed
            distances, lists = self._ivf.quantizer.search(queries, probed)  # pyright: ignore[reportCallIssue]
            self._check(lists)
            scores, ids = self._search_in(queries, k, lists, distances, parameters)
            if probed >= self._ivf.nlist or not (ids < 0).any():
                return np.clip(scores, -1, 1), ids
            probed = min(4 * probed, self._ivf.nlist)


def files_of(folder: Path, generation: int) -> tuple[Path, Path]:
    """Return the two files of a generation's index.

    Args:
        folder: The collection's folder.
        generation: The generation.

    Returns:
        The file with the centroids, and the file with the lists.
    """
    return folder / f"index-{generation}.{SUFFIX}", folder / f"index-{generation}.{LISTS}"


def index_hash(catalog: Store, generation: int) -> str | None:
    """Return the stored hash of the file with the centroids.

    Args:
        catalog: The catalog.
        generation: The generation.

    Returns:
        The hash; None if a build of an older version stored none.
    """
    match catalog.noted_json(INDEX_SEAL):
        case [int(of), str(found), str()] if of == generation:
            return found
    return None
