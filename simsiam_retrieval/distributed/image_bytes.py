"""Reading the bytes of a piece's images, local or remote."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from ..encoder.embed_files import Source
from ..images.decode import ImageError
from ..images.files import ImageFile, reason
from ..images.tar_archives import LARGEST_MEMBER, ShardMember
from .locations import StoredFile, is_url, open_file, read_ranges
from .pieces import Part, Piece

AT_ONCE = 16  # ranges in one request to object storage
ROWS = 16  # rows of a table that are unpacked at once


def contents(piece: Piece) -> Iterator[tuple[Source, int]]:
    """Read the images of a piece.

    Local files and archive members are only named; the decoding process, which may crash, reads them. Other images are
    given as bytes.

    Args:
        piece: The piece.

    Yields:
        For each image, in order: what to embed, and its size in bytes.
    """
    first = piece.files[0]
    if piece.part is not None and not piece.members:
        yield from _rows(first, piece.part)
    elif is_url(first.location):
        yield from _ranges(piece)
    elif piece.members:
        for member in piece.members:
            place = (member.name, member.offset, member.length)
            yield ShardMember(Path(first.location), first.size, first.mtime_ns, *place), member.length
    else:
        for file in piece.files:
            yield ImageFile(Path(file.location), file.size, file.mtime_ns), file.size


def _ranges(piece: Piece) -> Iterator[tuple[Source, int]]:
    if piece.members:
        url = piece.files[0].location
        wanted = [(url, member.offset, member.offset + member.length) for member in piece.members]
    else:
        wanted = [(file.location, 0, file.size) for file in piece.files]
    rest = iter(wanted)
    while batch := list(itertools.islice(rest, AT_ONCE)):
        asked = [one for one in batch if 0 < one[2] - one[1] <= LARGEST_MEMBER]
        answers = iter(read_ranges(asked) if asked else ())
        for _, start, end in batch:
            if end == start:
                yield b"", 0
            elif end - start > LARGEST_MEMBER:
                yield ImageError(f"too large: {(end - start) / 1e9:.1f} GB"), end - start
            else:
                yield _answer(next(answers), end - start), end - start


def _answer(answer: bytes | Exception, length: int) -> Source:
    if isinstance(answer, FileNotFoundError):
        return ImageError("the file is gone", lasting=False)
    if isinstance(answer, Exception):
        said = reason(answer) if isinstance(answer, OSError) else str(answer)
        return ImageError(f"cannot be read: {' '.join(said.split())[:200] or type(answer).__name__}", lasting=False)
    if len(answer) != length:
        return ImageError("it has changed since it was listed", lasting=False)
    return bytes(answer)


def _rows(table: StoredFile, part: Part) -> Iterator[tuple[Source, int]]:
    """The rows of ``part``; a damaged row group costs only its own rows."""
    import pyarrow.parquet as pq

    done = 0
    try:
        with open_file(table.location) as opened:
            file = pq.ParquetFile(opened)
            if file.metadata.num_rows != part.total:
                raise ImageError("its table has changed since it was listed", lasting=False)
            start = 0
            for group in range(file.metadata.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                first, last = max(start, part.first), min(stop, part.stop)
                if first < last:
                    yield from _group(file, group, part.column, first - start, last - start)
                    done = last - part.first
                start = stop
    except Exception as error:  # noqa: BLE001  # storage systems and pyarrow have their own exceptions
        problem = _damage(error)
        for _ in range(part.stop - part.first - done):
            yield problem, 0


def _group(file, group: int, column: str, first: int, stop: int) -> Iterator[tuple[Source, int]]:
    """Rows ``first`` to ``stop`` of a row group."""
    done = first
    try:
        values = itertools.chain.from_iterable(
            _bytes(batch.column(0)) for batch in file.iter_batches(ROWS, [group], columns=[column])
        )
        for value in itertools.islice(values, first, stop):
            yield (ImageError("its row has no bytes") if value is None else value), len(value or b"")
            done += 1
    except Exception as error:  # noqa: BLE001  # pyarrow raises OSError and ValueError, codecs any exception
        problem = _damage(error)
        for _ in range(stop - done):
            yield problem, 0


def _damage(error: Exception) -> ImageError:
    if isinstance(error, ImageError):
        return error
    passing = isinstance(error, OSError) and error.errno is not None  # errors of the operating system have a number
    said = reason(error) if isinstance(error, OSError) else str(error)
    return ImageError(f"its table is damaged: {' '.join(said.split())[:200]}", lasting=not passing)


def _bytes(column) -> Iterator[bytes | None]:
    import pyarrow.types

    while pyarrow.types.is_struct(column.type):  # a null struct gives null bytes
        column = column.flatten()[0]
    for value in column:
        yield value.as_py()
