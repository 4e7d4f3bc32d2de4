"""The collections of this user: where they are, what they are called, when each was used, and which one last."""

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
    """A collection that was used on this machine."""

    name: str
    path: Path
    used: datetime | None  # when it was last indexed or chosen; None where nobody noted it

    @property
    def present(self) -> bool:
        """Whether it is still there."""
        return any((self.path / mark).is_file() for mark in MARKS)


def known_collections() -> list[KnownCollection]:
    """All that were used, and those in the data directory; the one used last comes first."""
    noted = _read()
    found = {path: KnownCollection(name, path, used) for path, (name, used) in noted.items()}
    folder = home() / "collections"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        one = KnownCollection(_free(path.name, {known.name for known in found.values()}), path, None)
        if path not in found and one.present:
            found[path] = one
    return sorted(found.values(), key=lambda known: (known.used or datetime.min, known.name), reverse=True)


def path_of(given: str | Path) -> Path:
    """The folder that a name or a path means; a path that exists comes first."""
    path = absolute(given)
    if path.exists() or Path(given).name != str(given):
        return path
    return next((known.path for known in known_collections() if known.name == str(given)), path)


def find(given: str | Path) -> KnownCollection:
    """The known collection of this name or path.

    Raises :class:`UserError` when there is none, with those that there are.
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
    """Remember that the collection at ``path`` was used just now, and its new ``name`` if one is given."""
    noted = _read()
    others = {other for place, (other, _) in noted.items() if place != path}
    before = noted.get(path, (None, None))[0]
    noted[path] = (name or before or _free(path.name, others), datetime.now())
    _write(noted)


def rename(known: KnownCollection, name: str) -> None:
    """Give a collection another name; its folder stays.

    Raises :class:`UserError` for a name that is taken, empty, or a path.
    """
    if not name.strip() or Path(name).name != name or name in (".", ".."):
        raise UserError(f"{name!r}: a name has no slashes and is not empty")
    if any(other.name == name and other.path != known.path for other in known_collections()):
        raise UserError(f"{name}: another collection has this name")
    noted = _read()
    noted[known.path] = (name, known.used or datetime.now())
    _write(noted)


def forget(known: KnownCollection) -> None:
    """Take a collection off the list."""
    noted = _read()
    if noted.pop(known.path, None) is not None:
        _write(noted)


def remember(collection: Path) -> None:
    """Make ``collection`` the one that other commands find by themselves."""
    try:
        home().mkdir(parents=True, exist_ok=True)
        write_json(home() / LAST, {"collection": str(collection.absolute())})
        note_use(collection.absolute())
    except OSError:
        pass  # a convenience; the collection itself is safe


def last_collection() -> Path:
    """The collection that commands find by themselves, whether it is there or not."""
    try:
        return Path(parse_json((home() / LAST).read_text(encoding="utf-8"))["collection"])
    except (OSError, ValueError, KeyError, TypeError):
        return default_collection()


def find_collection(given: Path | str | None) -> Path:
    """The collection to read: ``given``, a folder or a name that ``collections`` shows, else the one used last.

    Raises :class:`UserError` when there is none yet, or when the one used last is gone.
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
    """``name``, or with a number behind it where it is taken."""
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
        return {}  # a convenience: damaged, it is made anew


def _write(noted: dict[Path, tuple[str, datetime | None]]) -> None:
    home().mkdir(parents=True, exist_ok=True)
    facts = {
        str(path): {"name": name, "used": (used or datetime.now()).isoformat()} for path, (name, used) in noted.items()
    }
    write_json(home() / FILE, facts)
