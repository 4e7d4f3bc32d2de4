"""From files to catalog entries: vector, thumbnail, hash and size of each."""

import hashlib
import io
from collections.abc import Iterator, Sequence

from PIL import Image

from .. import embedding
from ..encoder import Encoder
from ..images.decode import Decoded
from ..images.files import ImageFile
from .catalog import RETRY, Entry

THUMBNAIL_SIDE = 256  # pixels, of the longer side


def embed_files(files: Sequence[ImageFile], encoder: Encoder, *, workers: int | None = None) -> Iterator[list[Entry]]:
    """Yield catalog entries for ``files``, chunk by chunk, in order."""
    chunks = embedding.embed_files(files, encoder, facts=_facts, workers=workers)
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


def _facts(content: bytes, decoded: Decoded) -> dict:
    return {
        "digest": hashlib.sha256(content).digest(),
        "width": decoded.width,
        "height": decoded.height,
        "format": decoded.format,
        "taken": decoded.taken,
        "thumbnail": _thumbnail(decoded.image),
    }


def _thumbnail(image: Image.Image) -> bytes:
    scale = THUMBNAIL_SIDE / max(image.size)
    if scale < 1:  # not thumbnail(): it works in place, so the picture would have to be copied
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
