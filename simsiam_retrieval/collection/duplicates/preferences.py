"""Which file of a group is the best, and which pairs are of interest."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ...core.paths import absolute
from ...core.text import one_spelling
from .file_states import Files, in_system_folder
from .pixels.kinds import KINDS

LARGEST, OLDEST, SHORTEST, FOLDER = "largest", "oldest", "shortest-path", "folder:"
WORDS = {kind.split(" or ")[0].removesuffix(" of").replace(" ", "-"): kind for kind in KINDS}


@dataclass(frozen=True)
class Preferences:
    """What the user wants of pairs and groups.

    Attributes:
        kinds: Kinds that are listed; empty for all.
        keep: Which file is the best: "largest", "oldest", "shortest-path" or "folder:PATH".
        reference: Files below these folders are the best ones and are never listed as copies; absolute.
        across: Whether only pairs from different roots are of interest.
    """

    kinds: tuple[str, ...] = ()
    keep: str = LARGEST
    reference: tuple[Path, ...] = ()
    across: bool = False

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise UserError(f"--kind {unknown[0]}: choose from {', '.join(WORDS)}")
        folder = self.keep.removeprefix(FOLDER) if self.keep.startswith(FOLDER) else None
        if self.keep not in (LARGEST, OLDEST, SHORTEST) and not folder:
            raise UserError(f"--keep {self.keep}: choose {LARGEST}, {OLDEST}, {SHORTEST} or {FOLDER}PATH")

    def ordered(self, files: Files, dates: Sequence[float]) -> Files:
        """Put the preferred files first: after the state and system folders, which always decide.

        Args:
            files: The files, largest first.
            dates: When each was taken or last changed, in seconds.

        Returns:
            The same files in another order.
        """
        count = len(files.ids)
        system = [in_system_folder(path) for path in files.paths]
        kept = [self.is_reference(path) for path in files.paths]
        if self.keep == OLDEST:
            wish: Sequence[float] = dates
        elif self.keep == SHORTEST:
            wish = [len(os.fsencode(path)) for path in files.paths]
        elif self.keep.startswith(FOLDER):
            below = Below([absolute(self.keep.removeprefix(FOLDER))])
            wish = [0 if below(path) else 1 for path in files.paths]
        else:
            wish = [0] * count
        order = sorted(range(count), key=lambda row: (files.states[row], not kept[row], system[row], wish[row], row))
        return files.reordered(np.array(order, np.int64))

    def is_reference(self, path: Path) -> bool:
        """Return whether a file is below a reference folder.

        Args:
            path: Absolute path.

        Returns:
            True if it is.
        """
        return bool(self.reference) and Below(self.reference)(path)


class Below:
    """Tells whether a path is at or below one of some folders.

    Args:
        folders: Absolute.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [one_spelling(os.fspath(folder)).rstrip(os.sep) for folder in folders]

    def __call__(self, path: Path) -> bool:
        """Return whether a path is at or below one of them."""
        text = one_spelling(os.fspath(path))
        return any(text == folder or text.startswith(folder + os.sep) for folder in self._folders)


def root_numbers(paths: Sequence[Path], roots: Sequence[Path]) -> NDArray[np.int64]:
    """Number the root that each file was indexed with: of nested ones, the innermost.

    Args:
        paths: Absolute paths.
        roots: Folders and files that were indexed.

    Returns:
        int64 (n,); -1 for a path below none.
    """
    number = {root: place for place, root in enumerate(roots)}
    found = (next((number[part] for part in (path, *path.parents) if part in number), -1) for path in paths)
    return np.fromiter(found, np.int64, len(paths))


def with_absolute(preferences: Preferences) -> Preferences:
    """Make the folders of preferences absolute.

    Args:
        preferences: The preferences.

    Returns:
        The same with absolute folders.
    """
    return replace(preferences, reference=tuple(absolute(folder) for folder in preferences.reference))
