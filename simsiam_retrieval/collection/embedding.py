"""From files to catalog entries: vector, thumbnail, hash and size of each."""

from collections.abc import Iterator, Sequence

from .. import embedding
from ..encoder import Encoder
from ..images.facts import facts
from ..images.files import ImageFile
from .catalog import RETRY, Entry


def embed_files(files: Sequence[ImageFile], encoder: Encoder, *, workers: int | None = None) -> Iterator[list[Entry]]:
    """Yield catalog entries for ``files``, chunk by chunk, in order."""
    chunks = embedding.embed_files(files, encoder, facts=facts, workers=workers)
    for chunk in chunks:
        yield [
            Entry(
                embedded.file.path,
                embedded.file.size,
                embedded.file.mtime_ns if embedded.lasting else RETRY,
                error=embedded.error,
                vector=embedded.vector,
                **(embedded.facts or {}),
            )
            for embedded in chunk
        ]
