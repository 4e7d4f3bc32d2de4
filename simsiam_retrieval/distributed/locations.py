"""Locations of images: absolute paths, or URLs of object storage, which fsspec reads."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from ..core.errors import UserError
from ..core.paths import absolute

# names under which storage systems give a file's version and its time of change
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "checksum")
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
_PYARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")  # schemes that pyarrow can read itself


@dataclass(frozen=True)
class StoredFile:
    """A file as it was when it was listed. Equal ones have equal bytes, as far as the storage can tell.

    Attributes:
        location: Absolute path, or URL.
        size: Size in bytes.
        mtime_ns: Time of the last change, in ns; 0 if the storage has none.
        version: ETag or checksum, if the storage has one.
    """

    location: str
    size: int
    mtime_ns: int
    version: str = ""


def is_url(location: str) -> bool:
    """Return whether a location is a URL.

    An absolute local path never contains two slashes in a row.

    Args:
        location: A path or URL.

    Returns:
        True for a URL.
    """
    return "://" in location


def located(source: str) -> str:
    """Normalise a source that a user named.

    Args:
        source: A path or URL.

    Returns:
        An absolute path, or a URL without a slash at its end.

    Raises:
        UserError: It is in the home of a user who does not exist.
    """
    if not is_url(source):
        return str(absolute(source))
    if source.startswith("file://"):
        return str(absolute(unquote(urlsplit(source).path)))
    return source.rstrip("/")


@lru_cache(maxsize=64)
def _filesystem(root: str) -> Any:
    """The file system of a scheme and host or bucket: fsspec's, or pyarrow's if fsspec's is not installed."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(root)[0]
    except ImportError as error:
        scheme = root.partition("://")[0]
        if scheme not in _PYARROW:
            raise UserError(f"{root}: {' '.join(str(error).split())}") from None
    except ValueError as error:  # an unknown scheme
        raise UserError(f"{root}: {' '.join(str(error).split())}") from None
    import pyarrow.fs
    from fsspec.implementations.arrow import ArrowFSWrapper

    try:
        return ArrowFSWrapper(pyarrow.fs.FileSystem.from_uri(root)[0])
    except (OSError, ValueError) as error:
        raise UserError(f"{root}: cannot be reached ({' '.join(str(error).split())[:200]})") from None


def filesystem(url: str) -> tuple[Any, str]:
    """Find the file system of a URL.

    Args:
        url: The URL.

    Returns:
        The file system, and the path in it.

    Raises:
        UserError: No installed library can read the URL.
    """
    scheme, _, rest = url.partition("://")
    files = _filesystem(f"{scheme}://{rest.partition('/')[0]}")
    return files, files._strip_protocol(url)


def open_file(location: str) -> BinaryIO:
    """Open a local or remote file for reading with seeks.

    Args:
        location: A path or URL.

    Returns:
        The open file.

    Raises:
        OSError: It cannot be opened.
    """
    if not is_url(location):
        return Path(location).open("rb")
    files, path = filesystem(location)
    return files.open(path, "rb")


def read_ranges(file_ranges: Sequence[tuple[str, int, int]]) -> list[bytes | Exception]:
    """Read ranges of files of one file system.

    Args:
        file_ranges: URL, start and end of each range.

    Returns:
        The bytes of each range, or the exception that prevented reading.
    """
    files, _ = filesystem(file_ranges[0][0])
    paths = [filesystem(url)[1] for url, _, _ in file_ranges]
    starts, ends = [start for _, start, _ in file_ranges], [end for _, _, end in file_ranges]
    return files.cat_ranges(paths, starts, ends, on_error="return")


def find_files(url: str) -> Iterator[StoredFile]:
    """List the files at or below a URL. Names with a leading dot, and everything below them, are skipped.

    Args:
        url: The URL.

    Yields:
        The files, sorted by URL.

    Raises:
        UserError: It does not exist, or the server does not answer.
    """
    files, root = filesystem(url)
    try:
        found = files.find(root, detail=True)
        if not found and not files.exists(root):
            raise FileNotFoundError
    except FileNotFoundError:
        raise UserError(f"{url}: no such file or folder there; check the spelling") from None
    except Exception as error:  # noqa: BLE001  # each storage has exceptions of its own
        raise UserError(f"{url}: cannot be listed ({_one_line(error)})") from None
    for path, facts in sorted(found.items(), key=lambda pair: pair[0].encode("utf-8", "surrogateescape")):
        below = path[len(root) :].strip("/")
        if any(part.startswith(".") for part in PurePosixPath(below).parts):
            continue
        if facts.get("size") is None:  # HTTP: a listing contains only names
            facts = files.info(path)
        yield StoredFile(_joined(url, below), int(facts.get("size") or 0), _changed(facts), _version(facts))


def _joined(url: str, below: str) -> str:
    return f"{url}/{below}" if below else url


def _version(facts: dict) -> str:
    return next((str(facts[key]).strip('"') for key in _VERSIONS if facts.get(key)), "")


def _changed(facts: dict) -> int:
    """Time of the last change in ns since 1970; 0 if the storage has none."""
    value = next((facts[key] for key in _TIMES if facts.get(key)), None)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return 0
    if isinstance(value, datetime):
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
        return int(value.timestamp()) * 10**9 + value.microsecond * 1000
    return int(value * 10**9) if isinstance(value, int | float) else 0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def exact(location: str) -> tuple[str, bytes | None]:
    """Convert a location to text without losing information.

    Args:
        location: A path or URL.

    Returns:
        The text, and the bytes if the text is not exact (names that are not UTF-8).
    """
    raw = os.fsencode(location) if not is_url(location) else location.encode("utf-8", "surrogateescape")
    text = raw.decode("utf-8", "replace")
    return text, None if text.encode() == raw else raw
