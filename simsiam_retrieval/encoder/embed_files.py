"""Embedding many files in worker processes. Each file gives a vector, or the reason why not."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UserError
from ..core.memory import free_memory
from ..images.decode import Decoded, ImageError, read_image, square_of
from ..images.files import ImageFile, reason
from ..images.page_paths import file_and_page
from ..images.reading import AS_THEY_ARE, Reading
from ..images.tar_archives import ShardMember, read_member
from ..images.worker_pool import Workers, map_chunks
from .onnx_encoder import Encoder

LARGE = 64 * 2**20  # bytes; of larger files the pixels are decoded before the whole file is read
LARGEST_FILE = 4 * 2**30  # bytes; 200 megapixels with four 32-bit values each

Facts = Callable[[bytes, Decoded], Any]
Source = ImageFile | bytes | ImageError  # a file to read, the bytes of a file, or why reading failed


@dataclass(frozen=True)
class Outcome:
    """The result for one image: a vector or an error.

    Attributes:
        error: Why there is no vector, or None.
        lasting: False if the same bytes may give a vector at another attempt.
        facts: What the caller's function returned for the image.
        vector: float32 (dim,), unit length, or None.
    """

    error: str | None = None
    lasting: bool = True
    facts: Any = None
    vector: NDArray[np.float32] | None = None
    pages: int = 1  # of the file that it comes from


@dataclass(frozen=True)
class Embedded(Outcome):
    """The result for one file.

    Attributes:
        file: The file.
    """

    file: ImageFile = field(kw_only=True)


class _Worker:
    """State of a worker process."""

    encoder: Encoder | None = None  # None: this worker only decodes
    image_size = 0
    short_side = 0
    reading = AS_THEY_ARE
    facts: Facts | None = None


def embed_files(
    files: Sequence[ImageFile],
    encoder: Encoder,
    *,
    facts: Facts | None = None,
    workers: int | None = None,
    reading: Reading | None = None,
) -> Iterator[list[Embedded]]:
    """Embed files in worker processes.

    On a CPU each worker process decodes and embeds with one ONNX Runtime thread. This was measured to be faster than
    one process with many threads. With a GPU the workers decode, and this process embeds.

    Args:
        files: The files.
        encoder: The encoder.
        facts: A module-level function, called in the worker with the bytes and the decoded image of each file.
        workers: Number of worker processes; None chooses it.
        reading: How files become pixels; the encoder's own way by default.

    Yields:
        One result per file, in order, in chunks.
    """
    rest = iter(files)
    for chunk in map_chunks(
        _process,
        files,
        lost=_lost,
        workers=workers,
        chunk_size=_chunk_size(encoder),
        initializer=_start,
        initargs=_settings(encoder, facts, reading),
    ):
        yield [Embedded(**vars(outcome), file=next(rest)) for outcome in _finished(chunk, encoder)]


class Embedders:
    """The worker processes of ``embed_files``, kept for several calls. A context manager that ends them.

    Never decodes in this process, even for few images: an image that crashes the decoder costs only that image.

    Args:
        encoder: The encoder.
        facts: See ``embed_files``.
        workers: Number of worker processes.
    """

    def __init__(self, encoder: Encoder, *, facts: Facts | None = None, workers: int = 1) -> None:
        self._encoder = encoder
        self._workers = Workers(workers, initializer=_start, initargs=_settings(encoder, facts, None))

    def __enter__(self) -> "Embedders":
        return self

    def __exit__(self, *exception: object) -> None:
        self._workers.__exit__(*exception)

    def embed(self, sources: Iterable[Source]) -> Iterator[list[Outcome]]:
        """Embed images.

        Args:
            sources: Files, bytes, or errors. They are consumed a few chunks ahead.

        Yields:
            One outcome per source, in order, in chunks.
        """
        size = _chunk_size(self._encoder)
        for chunk in self._workers.map_chunks(_process, sources, lost=_lost, chunk_size=size):
            yield _finished(chunk, self._encoder)


def _chunk_size(encoder: Encoder) -> int:
    return 16 if encoder.device == "cpu" else 64


def _settings(
    encoder: Encoder, facts: Facts | None, reading: Reading | None
) -> tuple[Path | None, int, int, Facts | None, Reading]:
    file = encoder.file if encoder.device == "cpu" else None
    return file, encoder.image_size, encoder.decode_side, facts, reading or encoder.reading


def _start(encoder_file: Path | None, image_size: int, short_side: int, facts: Facts | None, reading: Reading) -> None:
    _Worker.encoder = None if encoder_file is None else Encoder(encoder_file, device="cpu", threads=1, tested=True)
    _Worker.image_size, _Worker.short_side, _Worker.facts, _Worker.reading = image_size, short_side, facts, reading


def _lost(source: Source, reason: str) -> tuple[Outcome, None]:
    return Outcome(error=reason), None


def _process(sources: list[Source]) -> list[tuple[Outcome, np.ndarray | None]]:
    results = [_read(source) for source in sources]
    if _Worker.encoder is None:
        return results
    return [(outcome, None) for outcome in _embed(results, _Worker.encoder)]


def _finished(chunk: list[tuple[Outcome, np.ndarray | None]], encoder: Encoder) -> list[Outcome]:
    """Outcomes of a chunk; with a GPU this process embeds here."""
    return [outcome for outcome, _ in chunk] if encoder.device == "cpu" else _embed(chunk, encoder)


def _embed(results: list[tuple[Outcome, np.ndarray | None]], encoder: Encoder) -> list[Outcome]:
    squares = [square for _, square in results if square is not None]
    vectors = iter(_vectors(squares, encoder))
    return [outcome if square is None else _with(outcome, next(vectors)) for outcome, square in results]


def _vectors(squares: list[np.ndarray], encoder: Encoder) -> list[NDArray[np.float32] | None]:
    """One vector per square; None if the encoder gives no usable one, for example for an image of one colour."""
    if not squares:
        return []
    try:
        return list(encoder.embed_pixels(np.stack(squares)))
    except UserError:
        return [None] if len(squares) == 1 else [vector for one in squares for vector in _vectors([one], encoder)]


def _with(outcome: Outcome, vector: NDArray[np.float32] | None) -> Outcome:
    if vector is None:
        return Outcome(error="the encoder gives no usable vector for it")
    return replace(outcome, vector=vector)


def _read(source: Source) -> tuple[Outcome, np.ndarray | None]:
    try:
        content, decoded = _decoded(source)
        facts = None if _Worker.facts is None else _Worker.facts(content, decoded)
        return Outcome(facts=facts, pages=decoded.pages), square_of(decoded, _Worker.image_size)
    except ImageError as error:
        return Outcome(error=str(error), lasting=error.lasting), None
    except OSError as error:
        return Outcome(error=reason(error), lasting=False), None
    except MemoryError:
        return Outcome(error="not enough memory to read it", lasting=False), None


def _decoded(source: Source) -> tuple[bytes, Decoded]:
    """The bytes and pixels of an image. A large file's bytes are read only after its pixels were decoded."""
    if isinstance(source, ImageError):
        raise source
    if isinstance(source, bytes):
        return source, read_image(source, _Worker.short_side, _Worker.reading)
    if isinstance(source, ShardMember):
        return (content := read_member(source)), read_image(content, _Worker.short_side, _Worker.reading)
    file, page = file_and_page(source.path)
    if file.stat().st_size > LARGE:
        decoded = read_image(file, _Worker.short_side, _Worker.reading, page)  # reads only the parts that it needs
        size = file.stat().st_size
        if size > LARGEST_FILE or size > free_memory() // 2:
            raise ImageError(f"too large: a file of {size / 1e9:.1f} GB", lasting=size > LARGEST_FILE)
        return file.read_bytes(), decoded
    content = file.read_bytes()
    return content, read_image(content, _Worker.short_side, _Worker.reading, page)
