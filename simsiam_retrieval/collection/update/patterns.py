"""Globs that decide which files below a root belong to a collection."""

import fnmatch
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import UserError
from ...core.text import one_spelling


class Glob:
    """One pattern, as in a ``.gitignore``, but case-insensitive.

    Without a slash, it is compared with every name between the root and the file: ``*.png`` means files and ``private``
    means folders at any depth. With a slash, it is a path from the root, of the file or of a folder above it. ``*`` and
    ``?`` do not match slashes; ``**`` matches any number of folders. Accents match in both Unicode spellings.

    Args:
        pattern: The pattern.
        option: Name of the option, for the message.

    Raises:
        UserError: The pattern is not relative to the indexed folder.
    """

    def __init__(self, pattern: str, option: str) -> None:
        parts = one_spelling(pattern).rstrip("/").removeprefix("./").split("/")
        if pattern.startswith("/") or ".." in parts or "" in parts:
            raise UserError(
                f"{option} {pattern!r}: give a pattern relative to the indexed folder, such as '*.png' or 'raw/**'"
            )
        self._anywhere = len(parts) == 1 and parts != ["**"]
        # fnmatch's expression includes re.DOTALL, because a name may contain a line break
        self._parts = [None if part == "**" else re.compile(fnmatch.translate(part), re.IGNORECASE) for part in parts]

    def matches(self, names: Sequence[str]) -> bool:
        """Return whether a file matches.

        Args:
            names: Names of the folders from the root to the file, and of the file.

        Returns:
            True if it does.
        """
        names = [one_spelling(name) for name in names]
        if self._anywhere:
            [part] = self._parts
            return part is not None and any(part.match(name) for name in names)
        return self._matches(0, names)

    def _matches(self, at: int, names: Sequence[str]) -> bool:
        if at == len(self._parts):
            return True  # the file, or a folder above it
        part = self._parts[at]
        if part is None:
            return any(self._matches(at + 1, names[skip:]) for skip in range(len(names) + 1))
        return bool(names) and part.match(names[0]) is not None and self._matches(at + 1, names[1:])


@dataclass(frozen=True)
class Patterns:
    """What a root takes: files that match one of ``include``, if there are any, and none of ``exclude``."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude)


EMPTY = Patterns()


class Selection:
    """The patterns of all roots: each file is judged by the deepest root above it that has patterns."""

    def __init__(self, by_root: dict[Path, Patterns]) -> None:
        self.by_root = by_root
        self._globs = {
            root: (
                [Glob(pattern, "--include") for pattern in patterns.include],
                [Glob(pattern, "--exclude") for pattern in patterns.exclude],
            )
            for root, patterns in by_root.items()
        }
        self._judges: dict[Path, Path | None] = {}  # folder -> root

    def takes(self, file: Path) -> bool:
        """Return whether a file belongs to the collection.

        Args:
            file: Absolute path.

        Returns:
            True if it does.
        """
        root = self._judge(file.parent)
        if root is None:
            return True
        include, exclude = self._globs[root]
        names = file.parts[len(root.parts) :]
        return (not include or any(glob.matches(names) for glob in include)) and not any(
            glob.matches(names) for glob in exclude
        )

    def _judge(self, folder: Path) -> Path | None:
        if folder not in self._judges:
            above = (root for root in (folder, *folder.parents) if root in self.by_root)
            self._judges[folder] = next(above, None)
        return self._judges[folder]

    def with_asked(self, roots: Iterable[Path], asked: Patterns) -> "Selection":
        """Replace the patterns of some roots, if new ones are given.

        Args:
            roots: The roots.
            asked: The new patterns.

        Returns:
            The new selection.
        """
        return Selection({**self.by_root, **dict.fromkeys(roots, asked)}) if asked else self

    def without(self, gone: Iterable[Path]) -> "Selection":
        """Remove roots.

        Args:
            gone: The roots.

        Returns:
            The new selection.
        """
        lost = set(gone)
        return Selection({root: patterns for root, patterns in self.by_root.items() if root not in lost})

    def to_json(self) -> str:
        """Return the text for the catalog.

        Returns:
            JSON.
        """
        return json.dumps({str(root): [p.include, p.exclude] for root, p in sorted(self.by_root.items())})

    @classmethod
    def from_json(cls, text: str) -> "Selection":
        """Read the text from the catalog.

        Args:
            text: JSON.

        Returns:
            The selection.

        Raises:
            ValueError: The text is damaged.
            TypeError: The text is damaged.
        """
        return cls({Path(root): Patterns(*map(tuple, both)) for root, both in json.loads(text).items()})
