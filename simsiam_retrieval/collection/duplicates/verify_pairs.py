"""Comparing many pairs of files by their pixels, in worker processes."""

import functools
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from ...images.decode import decode, read_image
from ...images.image_error import ImageError
from ...images.reading import Reading
from ...images.worker_pool import Workers, default_workers
from .pixels.kinds import LOOK_ALIKE, RESIZED, SAME_FILE, SAME_PIXELS, Verdict

FEW = 24  # pairs that are compared in this process: starting others takes longer
CHUNK = 8
HELD = 48  # pictures that a worker keeps, about 1.5 MB each
SHORT_SIDE = 384  # of the reduced pictures, in pixels: a hint for the decoder
NEARLY_ALL = 0.99  # fraction of agreeing cells from which all pixels may be equal
UNREADABLE = Verdict(LOOK_ALIKE, "could not be compared")


@dataclass(frozen=True)
class Source:
    """A file to compare.

    Attributes:
        path: Its path.
        digest: SHA-256 of its content; None if unknown.
        width: Pixels, upright.
        height: Pixels, upright.
        taken: When it was taken, if known.
        thumbnail: JPEG that is compared in place of a file that is gone or changed; else None.
    """

    path: Path
    digest: bytes | None
    width: int
    height: int
    taken: datetime | None = None
    thumbnail: bytes | None = None


Task = tuple[Source, Source, Reading]


class PixelComparison:
    """Compares pairs of files by their pixels; a context manager that ends its worker processes.

    A file that cannot be read makes its pairs ``UNREADABLE``.

    Args:
        reading: How files become pixels.
        workers: Number of processes; None is one per CPU, and none while there are few pairs.
    """

    def __init__(self, reading: Reading, workers: int | None = None) -> None:
        self._reading, self._workers = reading, workers
        self._pool: Workers | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.__exit__(*exception)

    def compare(
        self, pairs: Sequence[tuple[Source, Source]], on_progress: Callable[[int], None] = lambda pairs: None
    ) -> Iterator[Verdict]:
        """Compare pairs.

        Args:
            pairs: The pairs.
            on_progress: Called with the number of further pairs that are done.

        Yields:
            A verdict for each pair, in order.
        """
        tasks = [(first, second, self._reading) for first, second in pairs]
        if self._workers == 0 or (self._workers is None and len(pairs) <= FEW):
            chunks = ([_verdict(*task)] for task in tasks)
        else:
            if self._pool is None:
                self._pool = Workers(self._workers or default_workers())
            chunks = self._pool.map_chunks(_verdicts, tasks, lost=lambda task, reason: UNREADABLE, chunk_size=CHUNK)
        for chunk in chunks:
            on_progress(len(chunk))
            yield from chunk


def _verdicts(tasks: list[Task]) -> list[Verdict]:
    return [_verdict(*task) for task in tasks]


def _verdict(first: Source, second: Source, reading: Reading) -> Verdict:
    import cv2

    from .pixels.verdict import verdict

    if first.digest is not None and first.digest == second.digest:
        return Verdict(SAME_FILE, agreement=1.0)
    cv2.setNumThreads(1)
    try:
        found = verdict(_picture(first, reading), _picture(second, reading), (first.taken, second.taken))
        if found.kind == RESIZED and found.agreement >= NEARLY_ALL and _same_pixels(first, second, reading):
            return found._replace(kind=SAME_PIXELS)
    except (ImageError, cv2.error):
        return UNREADABLE
    return found


@functools.lru_cache(maxsize=HELD)
def _picture(source: Source, reading: Reading):
    from .pixels.picture import Picture

    if source.thumbnail is not None:
        return Picture(decode(io.BytesIO(source.thumbnail)))
    return Picture(read_image(source.path, SHORT_SIDE, reading).image)


def _same_pixels(first: Source, second: Source, reading: Reading) -> bool:
    if (first.width, first.height) != (second.width, second.height) or first.thumbnail or second.thumbnail:
        return False
    one, other = (_pixels(read_image(source.path, None, reading).image) for source in (first, second))
    return one.shape == other.shape and bool((one == other).all())


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))
