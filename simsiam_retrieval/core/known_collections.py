"""The list of this user's collections: path, name, time of last use."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .atomic_files import parse_json, write_json
from .errors import UserError
from .paths import absolute, default_collection, home

FILE = "collections.json"
LAST = "last.json"
MARKS = ("catalog.sqlite", "shards.json")  # a folder that has one of these is a collection


@dataclass(frozen=True)
class KnownCollection:
    """A collection that was used on this machine.

    Attributes:
        name: Its name.
        path: Its folder.
        used: When it was last indexed or chosen; None if unknown.
    """

    name: str
    path: Path
    used: datetime | None

    @property
    def present(self) -> bool:
        """Whether it still exists."""
        return any((self.path / mark).is_file() for mark in MARKS)


def known_collections() -> list[KnownCollection]:
    """List all collections that were used on this machine, and all in the data directory.

    Returns:
        The collections; the one used last is first.
    """
    noted = _read()
    found = {path: KnownCollection(name, path, used) for path, (name, used) in noted.items()}
    folder = home() / "collections"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        one = KnownCollection(_free(path.name, {known.name for known in found.values()}), path, None)
        if path not in found and one.present:
            found[path] = one
    return sorted(found.values(), key=lambda known: (known.used or datetime.min, known.name), reverse=True)


def path_of(given: str | Path) -> Path:
    """Return the folder that a name or a path stands for. An existing path has priority.

    Args:
        given: Name or path.

    Returns:
        The folder; it need not exist.
    """
    path = absolute(given)
    if path.exists() or Path(given).name != str(given):
        return path
    return next((known.path for known in known_collections() if known.name == str(given)), path)


def find(given: str | Path) -> KnownCollection:
    """Find a known collection by name or path.

    Args:
        given: Name or path.

    Returns:
        The collection.

    Raises:
        UserError: There is none; the message lists the known ones.
    """
    known = known_collections()
    path = path_of(given)
    for one in known:
        if one.path == path or one.name == str(given):
            return one
    one = KnownCollection(path.name, path, None)
    if one.present:
        return one
    named = ", ".join(one.name for one in known) or "none yet"
    raise UserError(f"{given}: no such collection; there are: {named}")


def note_use(path: Path, name: str | None = None) -> None:
    """Record that a collection was used now.

    Args:
        path: Its folder.
        name: Its new name; None keeps the old one.
    """
    noted = _read()
    others = {other for place, (other, _) in noted.items() if place != path}
    before = noted.get(path, (None, None))[0]
    noted[path] = (name or before or _free(path.name, others), datetime.now())
    _write(noted)


def rename(known: KnownCollection, name: str) -> None:
    """Give a collection another name. Its folder is not changed.

    Args:
        known: The collection.
        name: The new name.

    Raises:
        UserError: The name is taken, empty, or a path.
    """
    if not name.strip() or Path(name).name != name or name in (".", ".."):
        raise UserError(f"{name!r}: a name has no slashes and is not empty")
    if any(other.name == name and other.path != known.path for other in known_collections()):
        raise UserError(f"{name}: another collection has this name")
    noted = _read()
    noted[known.path] = (name, known.used or datetime.now())
    _write(noted)


def forget(known: KnownCollection) -> None:
    """Remove a collection from the list. Its folder is not changed.

    Args:
        known: The collection.
    """
    noted = _read()
    if noted.pop(known.path, None) is not None:
        _write(noted)


def remember(collection: Path) -> None:
    """Make a collection the default for other commands.

    Args:
        collection: Its folder.
    """
    try:
        home().mkdir(parents=True, exist_ok=True)
        write_json(home() / LAST, {"collection": str(collection.absolute())})
        note_use(collection.absolute())
    except OSError:
        pass  # only a convenience; the collection itself is safe


def last_collection() -> Path:
    """Return the collection that commands use by default.

    Returns:
        Its folder, which may not exist any more.
    """
    try:
        return Path(parse_json((home() / LAST).read_text(encoding="utf-8"))["collection"])
    except (OSError, ValueError, KeyError, TypeError):
        return default_collection()


def find_collection(given: Path | str | None) -> Path:
    """Find the collection to read.

    Args:
        given: A folder, a name that ``collections`` lists, or None for the collection used last.

    Returns:
        Its folder.

    Raises:
        UserError: There is no collection yet, or the one used last does not exist any more.
    """
    if given is not None:
        return path_of(given)
    last = last_collection()
    if last.exists():
        return last
    others = [known for known in known_collections() if known.present]
    if not others:
        raise UserError("nothing is indexed yet; run: python -m simsiam_retrieval.index FOLDER")
    named = ", ".join(known.name for known in others[:5]) + (", ..." if len(others) > 5 else "")
    noted = (home() / LAST).exists()
    missing = f"{last}: the collection used last is not there any more" if noted else "no collection was chosen yet"
    raise UserError(
        f"{missing}; there are: {named}; choose one: python -m simsiam_retrieval.collections use {others[0].name}"
    )


def _free(name: str, taken: set[str]) -> str:
    """Return ``name``, with a number added if it is taken."""
    number = 2
    wanted = name
    while wanted in taken:
        wanted, number = f"{name}-{number}", number + 1
    return wanted


def _read() -> dict[Path, tuple[str, datetime | None]]:
    try:
        stored = json.loads((home() / FILE).read_text(encoding="utf-8"))
        return {
            Path(path): (str(facts["name"]), datetime.fromisoformat(facts["used"])) for path, facts in stored.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # the list is only a convenience; if damaged, it is created again


def _write(noted: dict[Path, tuple[str, datetime | None]]) -> None:
    home().mkdir(parents=True, exist_ok=True)
    facts = {
        str(path): {"name": name, "used": (used or datetime.now()).isoformat()} for path, (name, used) in noted.items()
    }
    write_json(home() / FILE, facts)
