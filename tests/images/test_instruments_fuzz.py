"""Damaged files of the extras' kinds, in worker processes as in indexing: a picture or a reason, never the run."""

import io

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval.images.decode import ImageError, decode
from simsiam_retrieval.images.worker_pool import Workers

SCENE = np.random.default_rng(0).integers(0, 4096, (24, 32, 3)).astype(np.uint16)


def outcomes(contents: list[bytes]) -> list[str]:
    """What each file gives; runs in a worker process."""
    return [_outcome(content) for content in contents]


def _outcome(content: bytes) -> str:
    try:
        return "picture" if decode(content, short_side=16).mode == "RGB" else "a wrong mode"
    except ImageError as error:
        return "reason" if str(error) and "\n" not in str(error) else f"not one line: {error!r}"


def lost(content: bytes, reason: str) -> str:
    return "lost"


def damaged(content: bytes, count: int):
    random = np.random.default_rng(len(content))
    for _ in range(count):
        data = bytearray(content)
        for _ in range(random.integers(1, 5)):
            place = int(random.integers(0, len(data) if random.random() < 0.5 else min(len(data), 400)))
            data[place] = int(random.integers(0, 256))
        if random.random() < 0.2:
            del data[int(random.integers(1, len(data))) :]
        yield bytes(data)


def specimens() -> list[bytes]:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    found = []
    for compression in (None, "zlib", "lzw", "jpeg2000", "lerc", "zstd"):
        for order, planar in (("<", "contig"), (">", "separate")):
            buffer = io.BytesIO()
            values = np.moveaxis(SCENE, 2, 0) if planar == "separate" else SCENE
            tifffile.imwrite(
                buffer,
                values,
                photometric="rgb",
                planarconfig=planar,
                compression=compression,
                byteorder="<" if compression == "lerc" else order,
            )
            found.append(buffer.getvalue())
    image = Image.fromarray((SCENE >> 4).astype(np.uint8))
    for file_format, options in (("JPEG2000", {}), ("PPM", {}), ("TIFF", {"compression": "group4"})):
        buffer = io.BytesIO()
        (image.convert("1") if options else image).save(buffer, file_format, **options)
        found.append(buffer.getvalue())
    return found


def test_damaged_files_of_instruments_do_not_take_the_run_with_them(capfd):
    contents = [data for content in specimens() for data in damaged(content, 60)]
    with Workers(1) as workers:
        found = [one for chunk in workers.map_chunks(outcomes, contents, lost=lost) for one in chunk]
    assert capfd.readouterr().err == ""  # libtiff, libjpeg and others print what they think of a file
    assert len(found) == len(contents)
    assert set(found) <= {"picture", "reason", "lost"}
    assert found.count("reason") > 100 and found.count("picture") > 100
