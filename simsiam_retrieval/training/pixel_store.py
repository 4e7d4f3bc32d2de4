"""All training images decoded once and held as uint8, so that an epoch never touches a file."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UserError
from ..core.memory import free_memory
from ..images.files import Identity, ImageFile
from ..images.reading import AS_THEY_ARE, Reading
from .decode_squares import DIGEST_BYTES, Refused, decode_squares
from .pixel_cache import Found, PixelCache


class OrderedRows:
    """Rows of an array in an order of their own, without a copy of it; integers and arrays of them index it."""

    def __init__(self, stored: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        """``rows``: (n,), where in ``stored``, (m, ...), row 0 ... n - 1 lies."""
        self._stored, self._rows = stored, rows
        self.shape, self.dtype = (len(rows), *stored.shape[1:]), stored.dtype
        self.nbytes = len(rows) * stored[:1].nbytes

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: SupportsIndex | slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._stored[self._rows[indices]]


@dataclass
class ImageStore:
    """Decoded images, each squashed to a square, with the aspect ratio it had.

    Squashing keeps the whole picture in a rectangular array; random crops are drawn in the original geometry
    and mapped into the square, so that nothing the network sees is distorted.
    """

    # uint8 (n, side, side, channels); to be indexed, since it may be larger than memory
    pixels: NDArray[np.uint8] | OrderedRows
    aspect: NDArray[np.float32]  # (n,), original width / height
    digests: NDArray[np.uint8]  # (n, 32), SHA-256 of each image's pixels
    files: list[ImageFile]  # the n files behind the images
    rejected: list[tuple[ImageFile, str]]  # files that could not be used, with the reason

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A copy of the images with these indices: (len(indices), channels, side, side), channels last in memory."""
        return self.pixels[indices].transpose(0, 3, 1, 2)

    @property
    def in_file(self) -> bool:
        """Whether taking images may have to wait for a disk."""
        return isinstance(self.pixels, np.memmap | OrderedRows)

    def fingerprint(self) -> str:
        """A short hash of the images' pixels, in order, from their digests: it reads no pixels.

        Equal for equal pixels, wherever they come from. Starts with "2:"; before version 2 it was
        :meth:`fingerprint_1`.
        """
        digest = hashlib.sha256(str(self.pixels.shape).encode())
        digest.update(self.digests.tobytes())
        return "2:" + digest.hexdigest()[:16]

    def fingerprint_1(self) -> str:
        """The fingerprint that the first version wrote: a hash of all pixels, which are read for it."""
        n, side, _, _ = self.pixels.shape
        digest = hashlib.sha256(str((n, 3, side, side)).encode())
        for index in range(n):
            digest.update(self.pixels[index].transpose(2, 0, 1).tobytes())
        return digest.hexdigest()[:16]

    def has_fingerprint(self, stored: str | None) -> bool:
        """Whether ``stored``, of this version or of the first, is the fingerprint of these images."""
        if stored is None:
            return False
        return stored == (self.fingerprint() if ":" in stored else self.fingerprint_1())


def load_store(
    files: Sequence[ImageFile],
    side: int,
    *,
    cache: Path | None = None,
    reading: Reading = AS_THEY_ARE,
    known_bad: Mapping[Identity, str] | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    remark: Callable[[str], None] = lambda text: None,
) -> ImageStore:
    """Decode ``files`` into an :class:`ImageStore` of ``side`` x ``side`` squares.

    ``reading``: how files become pixels. Memory: 3 * side**2 bytes an RGB image, see :func:`fits_in_memory`. With
    ``cache``, a folder, squares are kept and looked up there instead, and memory holds what the system's page cache
    cares to.

    ``known_bad`` are images not to be tried, with the reason. ``progress`` is told how many more files are done,
    ``remark`` what a person who waits may want to know.

    Raises :class:`UserError` when not one file can be decoded, and what :meth:`PixelCache.fill` raises.
    """
    tried, rejected = _without(files, known_bad)
    progress(len(rejected))
    if cache is None:
        store = _decode_to_memory(tried, side, workers, progress, reading)
    else:
        pixel_cache = PixelCache(cache, side, reading)
        store = _cached(tried, pixel_cache, pixel_cache.fill(tried, workers=workers, progress=progress, remark=remark))
    _add_rejected(store, rejected, files)
    if not len(store):
        first = f"; the first: {store.rejected[0][0].label}: {store.rejected[0][1]}" if store.rejected else ""
        raise UserError(f"none of the {len(files)} image files could be read{first}")
    return store


def open_store(
    files: Sequence[ImageFile],
    side: int,
    cache: Path,
    known_bad: Mapping[Identity, str] | None = None,
    reading: Reading = AS_THEY_ARE,
) -> ImageStore:
    """The :class:`ImageStore` that :func:`load_store` gave for ``files`` with this cache and ``known_bad``.

    Decodes and writes nothing, so that any number of processes may do it at once.

    Raises :class:`UserError` when there is no such cache, it is damaged, or lacks some of ``files``.
    """
    wanted, rejected = _without(files, known_bad)
    pixel_cache = PixelCache(cache, side, reading)
    found = pixel_cache.find(wanted)
    if len(found.missing):
        first = wanted[int(found.missing[0])].label
        raise UserError(f"{cache}: lacks {len(found.missing)} of {len(files)} images, {first} for one; fill it first")
    store = _cached(wanted, pixel_cache, found)
    _add_rejected(store, rejected, files)
    return store


def fits_in_memory(count: int, side: int, channels: int = 3) -> bool:
    """Whether ``count`` squares take less than half of the memory that is free now."""
    return count * channels * side * side < free_memory() / 2


def _decode_to_memory(
    files: Sequence[ImageFile], side: int, workers: int | None, progress: Callable[[int], None], reading: Reading
) -> ImageStore:
    pixels = np.empty((len(files), side, side, reading.channels), np.uint8)
    aspect = np.zeros(len(files), np.float32)
    digests = np.empty((len(files), DIGEST_BYTES), np.uint8)
    kept: list[ImageFile] = []
    rejected: list[tuple[ImageFile, str]] = []
    with closing(decode_squares(files, side, workers=workers, reading=reading)) as chunks:
        for results in chunks:
            for result in results:
                file = files[len(kept) + len(rejected)]
                if isinstance(result, Refused):
                    rejected.append((file, result.reason))
                else:
                    row = len(kept)
                    pixels[row], aspect[row] = result.pixels, result.aspect
                    digests[row] = np.frombuffer(result.digest, np.uint8)
                    kept.append(file)
            progress(len(results))
    n = len(kept)
    return ImageStore(pixels[:n], aspect[:n], digests[:n], kept, rejected)


def _cached(files: Sequence[ImageFile], cache: PixelCache, found: Found) -> ImageStore:
    usable = np.flatnonzero(found.rows >= 0)
    rows = found.rows[usable]
    kept = [files[index] for index in usable.tolist()]
    rejected = [(files[index], reason) for index, reason in sorted(found.reasons.items())]
    stored = cache.pixels(rows, found.digests[usable])
    in_a_row = len(rows) > 0 and bool((np.diff(rows) == 1).all())  # as after the first pass
    pixels = stored[rows[0] : rows[-1] + 1] if in_a_row else OrderedRows(stored, rows)
    return ImageStore(pixels, found.aspect[usable], found.digests[usable], kept, rejected)


def _without(
    files: Sequence[ImageFile], known_bad: Mapping[Identity, str] | None
) -> tuple[list[ImageFile], list[tuple[ImageFile, str]]]:
    if not known_bad:
        return list(files), []
    rejected = [(file, known_bad[file.identity]) for file in files if file.identity in known_bad]
    return [file for file in files if file.identity not in known_bad], rejected


def _add_rejected(store: ImageStore, rejected: list[tuple[ImageFile, str]], files: Sequence[ImageFile]) -> None:
    if rejected:
        reasons = {file.identity: reason for file, reason in rejected + store.rejected}
        store.rejected = [(file, reasons[file.identity]) for file in files if file.identity in reasons]
