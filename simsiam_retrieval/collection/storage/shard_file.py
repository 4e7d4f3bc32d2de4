"""The shards of a sharded collection: Parquet files of up to about 100,000 images, with one row per input.

The file ``COLLECTION/shards/<64 hex>.parquet`` is named after its input and encoder (``shard_name``). It is written
under a temporary name and renamed. Any Parquet reader can read it.

A search reads vectors and thumbnails without a Parquet reader. These two columns are therefore neither compressed (that
would not make them smaller) nor encoded, and each row group has one page of them. So their values are in the file as
they are (``read_places``).
"""

import hashlib
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError

FORMAT = 1
FOLDER = "shards"
SUFFIX = ".parquet"
ROW_GROUP = 1024  # rows
PREFIX = "simsiam_retrieval."  # prefix of this package's keys in a file's metadata
ONE_PAGE = 1 << 30  # page size in bytes; larger than a row group's vectors or thumbnails, so that each is one page
INSTALL = "pip install 'simsiam-retrieval[distributed]'"

_NAME = re.compile(r"[0-9a-f]{64}")
VECTOR = "vector.list.element"  # Parquet's name of the values


@dataclass(frozen=True)
class ShardRow:
    """One input: an image, or why it has no vector.

    Attributes:
        path: Text; bytes for a name that is not UTF-8.
        size: Size in bytes.
        mtime_ns: Time of the last change, in ns; 0 if unknown.
        digest: SHA-256 of the file.
        width: Pixels, upright.
        height: Pixels, upright.
        format: JPEG, PNG, ...
        taken: YYYY-MM-DDTHH:MM:SS by the camera's clock.
        vector: (dim,), unit length.
        thumbnail: JPEG.
        reason: Why there is no vector.
    """

    path: str | bytes
    size: int
    mtime_ns: int
    digest: bytes | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    taken: str | None = None
    vector: NDArray[np.floating] | None = None
    thumbnail: bytes | None = None
    reason: str | None = None


class Facts(NamedTuple):
    """The content of a shard's footer.

    Attributes:
        rows: Number of rows.
        first_path: The smallest path, or "" if it is not stored.
        extra: The writer's own keys, without ``PREFIX``.
    """

    rows: int
    first_path: str
    extra: dict[str, str]


class Places(NamedTuple):
    """The positions of one row group's values in the file.

    Attributes:
        rows: Number of rows.
        vectors_at: Position of the first vector; the others follow, 2 * dim bytes each.
        thumbnails_at: Position that ``thumbnails`` count from.
        thumbnails: (rows, 2): offset and size of each; size 0 for none.
        seals: uint32 (rows, 2), CRC-32 of each vector and thumbnail; None from parts that an older version made.
    """

    rows: int
    vectors_at: int
    thumbnails_at: int
    thumbnails: NDArray[np.uint32]
    seals: NDArray[np.uint32] | None = None


# -- names and folders


def shard_name(encoder: str, inputs: Sequence[Mapping[str, object]]) -> str:
    """Compute the name of a shard.

    Args:
        encoder: Identity of the encoder.
        inputs: JSON values that identify each input and its state: path or URL, size, mtime_ns or etag, member or range
            of rows.

    Returns:
        64 hexadecimal digits.
    """
    content = json.dumps([FORMAT, encoder, *inputs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def shard_file(collection: Path, name: str) -> Path:
    """Return the file of a shard.

    Args:
        collection: The collection's folder.
        name: Name of the shard.

    Returns:
        The file.
    """
    return collection / FOLDER / f"{name}{SUFFIX}"


def shard_names(collection: Path) -> list[str]:
    """List the shards in a collection's folder.

    Args:
        collection: The collection's folder.

    Returns:
        Names, sorted.
    """
    files = (collection / FOLDER).glob(f"*{SUFFIX}")
    return sorted(file.stem for file in files if _NAME.fullmatch(file.stem))


def schema(dim: int) -> Any:
    """Return the Arrow schema of a shard.

    Args:
        dim: Values per vector.

    Returns:
        The schema.
    """
    pa = pyarrow()
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),  # readable
            ("path_bytes", pa.binary()),  # where ``path`` is not exact
            ("digest", pa.binary(32)),
            pa.field("size", pa.int64(), nullable=False),
            pa.field("mtime_ns", pa.int64(), nullable=False),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("format", pa.string()),
            ("taken", pa.string()),
            # zeros if there is a reason: older versions of Arrow fail on null lists, and they would shift positions
            pa.field("vector", pa.list_(pa.field("element", pa.float16(), nullable=False), dim), nullable=False),
            ("thumbnail", pa.binary()),
            ("reason", pa.string()),
        ]
    )


def pyarrow() -> Any:
    """Import pyarrow; searching does not need it.

    Returns:
        The module.

    Raises:
        UserError: It is not installed.
    """
    return _imported("pyarrow")


def pyarrow_parquet() -> Any:
    """Import Arrow's reader and writer of Parquet.

    Returns:
        The module.

    Raises:
        UserError: It is not installed.
    """
    return _imported("pyarrow.parquet")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)  # imported late, because searching does not need it
    except ImportError:
        raise UserError(f"building a sharded collection needs pyarrow, which is not installed: {INSTALL}") from None
