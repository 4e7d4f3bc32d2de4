"""The encoder that was shipped before today's, by name for one release; its 23 MB are not in the package again."""

import hashlib
import subprocess
from pathlib import Path

from ..core.atomic_files import replacing
from ..core.errors import UserError
from ..core.known_collections import known_collections
from ..core.paths import home

PREVIOUS = "previous"  # its name
DIGEST = "b66f3e2b1e582e579f8de338f15b7a0c6240a8d1a1ebb52ea9c3f63af85c634c"  # SHA-256 of the file
IDENTITY = DIGEST[:16]
BLOB = "7812f03746ef3d2d61e2c1309eb87e6a3329298c"  # the file in this repository's history
COPY = "encoder.onnx"  # of a collection's own encoder


def previous_encoder() -> Path:
    """The file of the encoder that was shipped before.

    Looks in the data directory, then in the collections of this user that were made with it, then in the git history
    of this checkout; what is found there is kept in the data directory.

    Raises :class:`UserError` where it is in none of them.
    """
    kept = home() / "encoders" / f"{IDENTITY}.onnx"
    for file in (kept, *(known.path / COPY for known in known_collections())):
        if _is_it(file):
            return file
    content = _from_history()
    if content is None:
        raise UserError(
            f"{PREVIOUS}: the encoder shipped before ({IDENTITY}) is in no collection here and not in git; "
            "name the folder of a collection that was made with it"
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    with replacing(kept) as file:
        file.write_bytes(content)
    return kept


def advice(identity: str) -> str | None:
    """What to do with a collection made by the encoder ``identity``: a line where that was shipped before."""
    if identity != IDENTITY:
        return None
    return (
        f"made with the encoder shipped before ({IDENTITY}), which goes on working from the collection's own copy; "
        "for today's, index the folders with a new --collection"
    )


def _is_it(file: Path) -> bool:
    try:
        return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == DIGEST
    except OSError:
        return False


def _from_history() -> bytes | None:
    try:
        found = subprocess.run(
            ["git", "cat-file", "blob", BLOB], cwd=Path(__file__).parent, capture_output=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return found if hashlib.sha256(found).hexdigest() == DIGEST else None
