"""Features of labelled files: from the cache where they are there, else computed and kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UserError
from ..core.text import printable
from ..images.files import ImageFile
from .extractors import Extractor
from .feature_cache import FeatureCache

KEPT_AT_ONCE = 512  # rows between two writes to the cache: what a kill can cost


@dataclass
class Features:
    """What an extractor made of files, in their order."""

    stored: NDArray  # (n, dim), as the extractor stores vectors; rows of unreadable files are zero
    failed: dict[int, str]  # position -> why this file gave none


def extract(
    extractor: Extractor,
    files: Sequence[ImageFile],
    *,
    cached: bool = True,
    workers: int | None = None,
    on_start: Callable[[int], None] = lambda total: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Features:
    """The features of ``files``; with ``cached``, only those that the cache lacks are computed.

    Raises :class:`UserError` when not one file can be read, or a feature is not a finite number.
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
                raise UserError(f"{extractor.name}: its features of {path} are not finite numbers; it is of no use")
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
