"""Features of labelled files: read from the cache, otherwise computed and stored there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UserError
from ..core.text import printable
from ..images.files import ImageFile
from .extractors import Extractor
from .feature_cache import FeatureCache

KEPT_AT_ONCE = 512  # rows per write to the cache; a killed process loses at most so many


@dataclass
class Features:
    """The features of files, in their order.

    Attributes:
        stored: Stored vectors (n, dim); rows of unreadable files are zero.
        failed: Position -> why this file has no vector.
    """

    stored: NDArray
    failed: dict[int, str]


def extract(
    extractor: Extractor,
    files: Sequence[ImageFile],
    *,
    cached: bool = True,
    workers: int | None = None,
    on_start: Callable[[int], None] = lambda total: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Features:
    """Compute the features of files.

    Args:
        extractor: The extractor.
        files: The files.
        cached: Whether to read and write the cache; then only missing features are computed.
        workers: Number of worker processes; None chooses it.
        on_start: Called with the number of files to compute.
        on_progress: Called with the number of further files that are done.

    Returns:
        The features.

    Raises:
        UserError: No file can be read, or a feature is not a finite number.
    """
    cache = FeatureCache(extractor.identity, extractor.dim, extractor.stored) if cached else None
    known = cache.read(files) if cache else {}
    stored = np.zeros((len(files), extractor.dim), extractor.stored)
    for index, vector in known.items():
        stored[index] = vector
    missing = [index for index in range(len(files)) if index not in known]
    failed: dict[int, str] = {}
    on_start(len(missing))
    fresh: list[tuple[ImageFile, NDArray]] = []
    position = 0
    for chunk in extractor.rows([files[index] for index in missing], workers) if missing else ():
        for vector, reason in chunk:
            index = missing[position]
            position += 1
            if vector is None:
                failed[index] = reason
                continue
            if not np.isfinite(vector).all():
                path = printable(files[index].path)
                raise UserError(f"{extractor.name}: its features of {path} are not finite numbers; it cannot be used")
            stored[index] = vector
            fresh.append((files[index], stored[index]))
        if cache and len(fresh) >= KEPT_AT_ONCE:
            cache.write(fresh)
            fresh = []
        on_progress(len(chunk))
    if cache and fresh:
        cache.write(fresh)
    if len(failed) == len(files):
        raise UserError(f"none of {len(files)} images can be read; the first: {printable(files[0].path)}: {failed[0]}")
    return Features(stored, failed)
