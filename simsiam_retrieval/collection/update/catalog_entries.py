"""Making catalog entries of files: vector, thumbnail, hash and size."""

import time
from collections.abc import Iterable, Iterator, Sequence

from ...encoder import embed_files as embedding
from ...encoder.onnx_encoder import Encoder
from ...encoder.region_encoder import RegionEncoder
from ...images.file_facts import facts
from ...images.files import ImageFile
from ...images.reading import Reading
from ..regions.region_facts import RegionFacts
from ..types import RETRY, Entry

BATCH_SECONDS = 1.0  # a crash loses at most so much work
BATCH_ENTRIES = 2048  # about 30 MB


def embed_files(
    files: Sequence[ImageFile],
    encoder: Encoder,
    *,
    workers: int | None = None,
    reading: Reading | None = None,
    regions: bool = False,
) -> Iterator[list[Entry]]:
    """Embed files, chunk by chunk, in order.

    Args:
        files: The files.
        encoder: The encoder.
        workers: Number of worker processes; None is one per CPU.
        reading: How files become pixels; None is the encoder's own.
        regions: Whether to embed regions of the pictures, too.

    Yields:
        The catalog's entries of a chunk.
    """
    wanted = RegionFacts(RegionEncoder.of(encoder)) if regions else facts
    chunks = embedding.embed_files(files, encoder, facts=wanted, workers=workers, reading=reading)
    for chunk in chunks:
        yield [
            Entry(
                embedded.file.path,
                embedded.file.size,
                embedded.file.mtime_ns if embedded.lasting else RETRY,
                error=embedded.error,
                vector=embedded.vector,
                pages=embedded.pages,
                **(embedded.facts or {}),
            )
            for embedded in chunk
        ]


def batches(chunks: Iterable[list[Entry]]) -> Iterator[list[Entry]]:
    """Join chunks to batches of about one second's work. Each batch becomes a transaction, which waits for the disk.

    If ``chunks`` raises (also KeyboardInterrupt), the finished entries are yielded first.

    Args:
        chunks: Chunks of entries.

    Yields:
        Batches of entries.
    """
    batch: list[Entry] = []
    begun = time.monotonic()
    try:
        for chunk in chunks:
            batch += chunk
            if len(batch) >= BATCH_ENTRIES or time.monotonic() - begun >= BATCH_SECONDS:
                ready, batch = batch, []
                yield ready
                begun = time.monotonic()
    except (Exception, KeyboardInterrupt):
        if batch:
            yield batch
        raise
    if batch:
        yield batch
