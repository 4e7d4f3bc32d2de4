"""Listing the images of a source: loose files, members of archives, rows of tables. Decodes nothing."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ..images.files import COMPRESSED_TARS, SUFFIXES, TABLE, TAR, Listing, list_images, reason
from ..images.tar_archives import Damaged, image_members
from .locations import StoredFile, find_files, is_url, open_file
from .pieces import SHARD_IMAGES, Member, Piece, cut_archive, cut_files, cut_table

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]  # like the built-in map

IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes", "content", "data", "picture", "photo")


@dataclass
class Found:
    """The files of a source, before archives and tables are opened.

    Attributes:
        files: Loose images, sorted by location.
        archives: Tar archives.
        tables: Parquet files.
        other: Number of other files.
        unreadable: Paths that cannot be read, with the reason.
    """

    files: list[StoredFile] = field(default_factory=list)
    archives: list[StoredFile] = field(default_factory=list)
    tables: list[StoredFile] = field(default_factory=list)
    other: int = 0
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


def find_images(source: str) -> Found:
    """List the files of a source.

    Args:
        source: A folder, file or URL.

    Returns:
        The files.

    Raises:
        UserError: It does not exist or cannot be read.
    """
    if not is_url(source):
        listing = list_images([Path(source)])
        found = Found(unreadable=listing.unreadable, other=listing.other - len(listing.archives) - len(listing.tables))
        found.files = [StoredFile(str(file.path), file.size, file.mtime_ns) for file in listing.images]
        for paths, stored in ((listing.archives, found.archives), (listing.tables, found.tables)):
            for path in paths:
                try:
                    status = path.stat()
                except OSError as error:
                    found.unreadable.append((path, reason(error)))
                    continue
                if path.is_file():  # opening a FIFO would block
                    stored.append(StoredFile(str(path), status.st_size, status.st_mtime_ns))
                else:
                    found.unreadable.append((path, "not a regular file"))
        return found
    found = Found()
    for file in find_files(source):
        name = file.location.lower()
        if PurePosixPath(name).suffix in SUFFIXES:
            found.files.append(file)
        elif name.endswith((TAR, *COMPRESSED_TARS)):
            found.archives.append(file)
        elif name.endswith(TABLE):
            found.tables.append(file)
        else:
            found.other += 1
    return found


@dataclass(frozen=True)
class Inside:
    """The content of an archive or table.

    Attributes:
        file: The archive or table.
        members: Images of an archive.
        groups: Number of rows of each row group of a table.
        column: Path of the column with images.
        other: Number of other members.
        problem: Why not all, or nothing, can be used.
    """

    file: StoredFile
    members: tuple[Member, ...] = ()
    groups: tuple[int, ...] = ()
    column: str = ""
    other: int = 0
    problem: str = ""


def look_into_archive(file: StoredFile) -> Inside:
    """List the images in a tar archive. Of members with the same name the last one is used, as when unpacking.

    Args:
        file: The archive.

    Returns:
        Its content.
    """
    if file.location.lower().endswith(COMPRESSED_TARS):
        return Inside(file, problem="a compressed archive; decompress it first, to a plain .tar")
    counts, members, problem = Listing(), {}, ""
    try:
        with open_file(file.location) as opened:
            for member in image_members(opened, file.size, counts):
                members.pop(member.name, None)
                members[member.name] = Member(member.name, member.offset_data, member.size)
    except Damaged as damage:
        problem = str(damage)
    except Exception as error:  # noqa: BLE001  # each storage system has its own exceptions
        members, problem = {}, _said(error)
    return Inside(file, tuple(members.values()), other=counts.other, problem=problem)


def look_into_table(file: StoredFile, column: str | None = None) -> Inside:
    """Read the number of rows of a Parquet file, and find its column of images.

    Args:
        file: The table.
        column: Name of the column; None for the only possible one.

    Returns:
        Its content.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_file(file.location) as opened:
            metadata = pq.read_metadata(opened)
            groups = tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
            schema = metadata.schema.to_arrow_schema()
    except pa.ArrowInvalid:
        return Inside(file, problem="not a Parquet file, or a damaged one")
    except Exception as error:  # noqa: BLE001  # each storage system has its own exceptions
        return Inside(file, problem=_said(error))
    if b"simsiam_retrieval.format" in (schema.metadata or {}):
        return Inside(file, other=1)  # a shard of a collection, perhaps of this one
    columns = {name: path for name, path in map(_image_column, schema) if path}
    named = f"{', '.join(columns)}" or "none"
    if column is not None and column not in columns:
        return Inside(file, problem=f"no column {column!r} of images; those with bytes: {named}")
    likely = [name for name in columns if name.lower() in IMAGE_NAMES]
    chosen = [column] if column is not None else list(columns) if len(columns) == 1 else likely
    if len(chosen) != 1:
        hint = (
            f"more than one may hold the images ({named}); choose with --image-column" if columns else "none of bytes"
        )
        return Inside(file, problem=f"no column of images: {hint}")
    return Inside(file, groups=groups, column=columns[chosen[0]])


def _image_column(field) -> tuple[str, str]:
    """A column's name and the path to its bytes: a binary column, or a struct with ``bytes`` (as Hugging Face uses)."""
    from pyarrow import types

    def binary(type_) -> bool:
        return types.is_binary(type_) or types.is_large_binary(type_) or types.is_binary_view(type_)

    if binary(field.type):
        return field.name, field.name
    if types.is_struct(field.type):
        index = field.type.get_field_index("bytes")
        if index >= 0 and binary(field.type.field(index).type):
            return field.name, f"{field.name}.bytes"
    return field.name, ""


def _said(error: Exception) -> str:
    said = reason(error) if isinstance(error, OSError) else str(error)
    return " ".join(said.split())[:200] or type(error).__name__


@dataclass
class Pieces:
    """The pieces of a source.

    Attributes:
        pieces: The pieces.
        other: Number of files and archive members that are no images.
        unreadable: Paths that cannot be read, with the reason.
    """

    pieces: list[Piece] = field(default_factory=list)
    other: int = 0
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


def cut(source: str, found: Found, run: Run = map, *, column: str | None = None, most: int = SHARD_IMAGES) -> Pieces:
    """Divide the images of a source into pieces.

    Args:
        source: The source.
        found: Its files.
        run: A function like ``map``, for opening archives and tables.
        column: Column of images in tables; None for the only possible one.
        most: Images per piece at most.

    Returns:
        The pieces.
    """
    cut = Pieces(list(cut_files(source, found.files, most)), found.other, list(found.unreadable))
    for inside in run(look_into_archive, found.archives):
        cut.pieces += cut_archive(source, inside.file, inside.members, most)
        _note(inside, cut)
    for inside in run(partial(look_into_table, column=column), found.tables):
        cut.pieces += cut_table(source, inside.file, inside.groups, inside.column, most)
        _note(inside, cut)
    return cut


def _note(inside: Inside, cut: Pieces) -> None:
    cut.other += inside.other
    if inside.problem:
        cut.unreadable.append((Path(inside.file.location), inside.problem))
