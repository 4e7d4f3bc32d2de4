"""``shards.json``: the file that makes a folder a sharded collection, even before anything is built."""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...core.atomic_files import parse_json, replacing, write_json
from ...core.errors import UserError
from ...core.text import printable
from ...encoder.onnx_encoder import Encoder
from . import shard_file, shard_parquet_reader
from .catalog_file import ENCODER_FILE
from .finding import Finding

FILE = "shards.json"


@dataclass(frozen=True)
class Manifest:
    """The encoder of a sharded collection, and its sources.

    Attributes:
        format: Version of the shards.
        encoder: Identity of the encoder.
        encoder_file: Its copy in the collection's folder.
        dim: Values per vector.
        sources: Folders, archives and URLs, as the user named them.
    """

    format: int
    encoder: str
    encoder_file: str
    dim: int
    sources: list[str]


def is_sharded(collection: Path) -> bool:
    """Return whether a folder is a sharded collection, built or not.

    Args:
        collection: The folder.

    Returns:
        True if it is.
    """
    return (collection / FILE).is_file()


def read_manifest(collection: Path) -> Manifest:
    """Read the manifest.

    Args:
        collection: The collection's folder.

    Returns:
        The manifest.

    Raises:
        UserError: It is missing or cannot be used.
    """
    file = collection / FILE
    try:
        values = parse_json(file.read_text(encoding="utf-8"))
        found = Manifest(**{name: values[name] for name in Manifest.__dataclass_fields__})
        if not (isinstance(found.format, int) and isinstance(found.encoder, str) and isinstance(found.dim, int)):
            raise ValueError
    except FileNotFoundError:
        raise UserError(f"{collection}: not a sharded collection ({FILE} is missing)") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{file}: cannot be read; put it back, or mend it: "
            f"python -m simsiam_retrieval.index --verify --collection {collection}"
        ) from None
    if found.format > shard_file.FORMAT:
        raise UserError(f"{collection}: made by a newer version of this package (shards {found.format}); upgrade")
    return found


def mend_manifest(collection: Path) -> list[Finding]:
    """Make a manifest that cannot be read again, of the encoder and of what the shards say that they were made of.

    Nothing is done for a collection without one.

    Args:
        collection: The collection's folder.

    Returns:
        The problem with its repair, or nothing.

    Raises:
        UserError: The encoder cannot be read either, or is another one than the shards'.
    """
    file = collection / FILE
    if not is_sharded(collection):
        return []
    loaded = None
    try:
        found = read_manifest(collection)
        loaded = Encoder(collection / ENCODER_FILE, device="cpu")
        if (found.encoder, found.dim) == (loaded.identity, loaded.dim):
            return []
    except UserError as error:
        if "newer version" in str(error):
            raise
    loaded = loaded or Encoder(collection / ENCODER_FILE, device="cpu")
    sources = set()
    for name in shard_file.shard_names(collection):
        with contextlib.suppress(UserError):
            facts = shard_parquet_reader.read_facts(
                shard_file.shard_file(collection, name), loaded.identity, loaded.dim
            )
            sources.add(facts.extra.get("source", ""))
    if not sources:
        raise UserError(f"{collection}: not the encoder that made its shards; put that one back")
    listed = sorted(sources - {""})
    write_json(file, asdict(Manifest(shard_file.FORMAT, loaded.identity, ENCODER_FILE, loaded.dim, listed)))
    return [Finding(file, "damaged", f"made again; its sources: {', '.join(map(printable, listed))}")]


def prepare(collection: Path, encoder: Path, sources: Sequence[str]) -> Manifest:
    """Create a sharded collection, or add sources to one.

    Args:
        collection: The collection's folder.
        encoder: The encoder's ``.onnx`` file.
        sources: Sources to add.

    Returns:
        The manifest.

    Raises:
        UserError: The folder is a plain collection, or its shards are of another encoder.
    """
    loaded = Encoder(encoder, device="cpu")
    if is_sharded(collection):
        before = read_manifest(collection)
        if before.encoder != loaded.identity:
            raise UserError(
                f"{collection}: made by another encoder ({before.encoder}, not {loaded.identity}); "
                "name a new folder with --collection"
            )
        sources = [*before.sources, *(source for source in sources if source not in before.sources)]
    elif (collection / "catalog.sqlite").exists():
        raise UserError(f"{collection}: a collection without shards; name a new folder with --collection")
    (collection / shard_file.FOLDER).mkdir(parents=True, exist_ok=True)
    if not (collection / ENCODER_FILE).exists():
        with replacing(collection / ENCODER_FILE) as temporary:
            shutil.copyfile(encoder, temporary)
    found = Manifest(shard_file.FORMAT, loaded.identity, ENCODER_FILE, loaded.dim, list(sources))
    write_json(collection / FILE, asdict(found))
    return found
