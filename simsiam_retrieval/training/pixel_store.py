"""All training images, decoded once and kept as uint8, so that an epoch reads no files."""

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
    """Rows of an array in another order, without a copy. Indexed by integers, slices and arrays.

    Args:
        stored: The array, uint8 (m, ...).
        rows: (n,), the row of ``stored`` for each index.
    """

    def __init__(self, stored: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        self._stored, self._rows = stored, rows
        self.shape, self.dtype = (len(rows), *stored.shape[1:]), stored.dtype
        self.nbytes = len(rows) * stored[:1].nbytes

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: SupportsIndex | slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._stored[self._rows[indices]]

    def taken(self, rows: NDArray[np.int64]) -> "OrderedRows":
        """Choose some of the rows, without a copy.

        Args:
            rows: int64 (k,).

        Returns:
            Those rows.
        """
        return OrderedRows(self._stored, self._rows[rows])


@dataclass
class ImageStore:
    """Decoded images, each squeezed into a square, with their original aspect ratios.

    Squeezing keeps the whole picture in a rectangular array. Random crops are drawn in the original geometry and mapped
    into the square, so the network sees no distortion.

    Attributes:
        pixels: uint8 (n, side, side, 3); read it only by indexing, because it may be larger than memory.
        aspect: (n,), original width / height.
        digests: (n, 32), SHA-256 of each image's pixels.
        files: The n files.
        rejected: Files that cannot be used, with the reason.
    """

    pixels: NDArray[np.uint8] | OrderedRows
    aspect: NDArray[np.float32]
    digests: NDArray[np.uint8]
    files: list[ImageFile]
    rejected: list[tuple[ImageFile, str]]

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copy images.

        Args:
            indices: int64 (k,).

        Returns:
            uint8 (k, channels, side, side), in channels-last memory format.
        """
        return self.pixels[indices].transpose(0, 3, 1, 2)

    @property
    def in_file(self) -> bool:
        """Whether reading images may have to wait for a disk."""
        return isinstance(self.pixels, np.memmap | OrderedRows)

    def fingerprint(self) -> str:
        """Hash the images' pixels, in order, from their digests. Reads no pixels.

        Returns:
            "2:" and 16 hexadecimal digits; equal for equal pixels, wherever they come from. Before version 2 it was
            ``fingerprint_1``.
        """
        digest = hashlib.sha256(str(self.pixels.shape).encode())
        digest.update(self.digests.tobytes())
        return "2:" + digest.hexdigest()[:16]

    def fingerprint_1(self) -> str:
        """Compute the fingerprint of the first version: a hash of all pixels, which are read for it.

        Returns:
            16 hexadecimal digits.
        """
        n, side, _, _ = self.pixels.shape
        digest = hashlib.sha256(str((n, 3, side, side)).encode())
        for index in range(n):
            digest.update(self.pixels[index].transpose(2, 0, 1).tobytes())
        return digest.hexdigest()[:16]

    def has_fingerprint(self, stored: str | None) -> bool:
        """Compare a stored fingerprint, of this version or the first.

        Args:
            stored: The fingerprint, or None.

        Returns:
            True if it is the fingerprint of these images.
        """
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
    """Decode images. Needs 3 * side**2 bytes of memory per image, see ``fits_in_memory``.

    Args:
        files: The images.
        side: Side of the squares in pixels.
        cache: A folder in which squares are stored and looked up, instead of memory; None for memory.
        reading: How files become pixels.
        known_bad: Images that are not tried, with the reason.
        workers: Number of worker processes; None chooses it.
        progress: Called with the number of further files that are done.
        remark: Called with messages for a waiting user.

    Returns:
        The decoded images.

    Raises:
        UserError: No file can be decoded, or the cache cannot be used (see ``PixelCache.fill``).
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
    """Open the images that ``load_store`` has put into a cache.

    Decodes and writes nothing; any number of processes may call it at the same time.

    Args:
        files: The images.
        side: Side of the squares in pixels.
        cache: The folder.
        known_bad: As for ``load_store``.
        reading: How files become pixels.

    Returns:
        The decoded images.

    Raises:
        UserError: There is no such cache, it is damaged, or it lacks some of the images.
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
    """Return whether squares need less than half of the free memory.

    Args:
        count: Number of images.
        side: Side of the squares in pixels.
        channels: Of each pixel.

    Returns:
        True if they do.
    """
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
