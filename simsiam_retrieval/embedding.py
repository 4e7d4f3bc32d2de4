"""Many files -> vectors, in worker processes, with a reason for each file that gives none."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .encoder import Encoder
from .images.decode import Decoded, ImageError, centre_square, read_image
from .images.files import ImageFile, reason
from .images.pool import map_chunks

Facts = Callable[[bytes, Decoded], Any]


@dataclass(frozen=True)
class Embedded:
    """What became of one file: a vector, or an error."""

    file: ImageFile
    error: str | None = None
    lasting: bool = True  # False where the same bytes may well give a vector another time
    facts: Any = None  # what the caller's function made of the file
    vector: NDArray[np.float32] | None = None  # (dim,), unit length


class _Worker:
    """State of a worker process."""

    encoder: Encoder | None = None  # None: this worker only decodes
    image_size = 0
    short_side = 0
    facts: Facts | None = None


def embed_files(
    files: Sequence[ImageFile],
    encoder: Encoder,
    *,
    facts: Facts | None = None,
    workers: int | None = None,
) -> Iterator[list[Embedded]]:
    """Yield a result for each of ``files``, chunk by chunk, in order.

    ``facts`` (a module-level function) is called in the worker with a file's bytes and its decoded image.

    On a CPU each worker process decodes and embeds, with one ONNX Runtime thread: measured faster than one process
    with many threads. With a GPU the workers decode and this process embeds.
    """
    on_gpu = encoder.device != "cpu"
    for chunk in map_chunks(
        _process,
        files,
        lost=_lost,
        workers=workers,
        chunk_size=64 if on_gpu else 16,
        initializer=_start,
        initargs=(
            None if on_gpu else encoder.file,
            encoder.image_size,
            encoder.decode_side,
            facts,
        ),
    ):
        yield _embed(chunk, encoder) if on_gpu else [embedded for embedded, _ in chunk]


def _start(encoder_file: Path | None, image_size: int, short_side: int, facts: Facts | None) -> None:
    _Worker.encoder = None if encoder_file is None else Encoder(encoder_file, device="cpu", threads=1)
    _Worker.image_size, _Worker.short_side, _Worker.facts = image_size, short_side, facts


def _lost(file: ImageFile, reason: str) -> tuple[Embedded, None]:
    return Embedded(file, error=reason), None


def _process(files: list[ImageFile]) -> list[tuple[Embedded, np.ndarray | None]]:
    results = [_read(file) for file in files]
    if _Worker.encoder is None:
        return results
    return [(embedded, None) for embedded in _embed(results, _Worker.encoder)]


def _embed(results: list[tuple[Embedded, np.ndarray | None]], encoder: Encoder) -> list[Embedded]:
    squares = [square for _, square in results if square is not None]
    vectors = iter(encoder.embed_pixels(np.stack(squares)) if squares else ())
    return [embedded if square is None else replace(embedded, vector=next(vectors)) for embedded, square in results]


def _read(file: ImageFile) -> tuple[Embedded, np.ndarray | None]:
    try:
        content = file.path.read_bytes()
        decoded = read_image(content, _Worker.short_side)
    except ImageError as error:
        return Embedded(file, error=str(error), lasting=error.lasting), None
    except OSError as error:
        return Embedded(file, error=reason(error), lasting=False), None
    except MemoryError:
        return Embedded(file, error="not enough memory to read it", lasting=False), None
    facts = None if _Worker.facts is None else _Worker.facts(content, decoded)
    return Embedded(file, facts=facts), np.asarray(centre_square(decoded.image, _Worker.image_size))
