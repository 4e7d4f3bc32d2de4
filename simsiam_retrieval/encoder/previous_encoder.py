"""The encoder that was shipped before the current one, available by name for one release without its 23 MB."""

import hashlib
import subprocess
from pathlib import Path

from ..core.atomic_files import replacing
from ..core.errors import UserError
from ..core.known_collections import known_collections
from ..core.paths import home

PREVIOUS = "previous"  # name of that encoder
DIGEST = "b66f3e2b1e582e579f8de338f15b7a0c6240a8d1a1ebb52ea9c3f63af85c634c"  # SHA-256 of the file
IDENTITY = DIGEST[:16]
BLOB = "7812f03746ef3d2d61e2c1309eb87e6a3329298c"  # the file in this repository's history
COPY = "encoder.onnx"  # a collection's own copy of its encoder


def previous_encoder() -> Path:
    """Find the file of the encoder that was shipped before.

    Looks in the data directory, in the collections of this user that were made with it, and in the git history of this
    checkout. A file from the git history is copied to the data directory.

    Returns:
        The ONNX file.

    Raises:
        UserError: It is in none of these places.
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
    """Return what to do with a collection that was made with the previous encoder.

    Args:
        identity: Identity of the collection's encoder.

    Returns:
        One line; None for any other encoder.
    """
    if identity != IDENTITY:
        return None
    return (
        f"made with the encoder shipped before ({IDENTITY}), which still works from the collection's own copy; "
        "for the current one, index the folders with a new --collection"
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
