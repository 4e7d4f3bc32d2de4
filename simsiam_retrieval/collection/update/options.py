"""What somebody asks of an update, and who is told how it goes on."""

from collections.abc import Callable
from dataclasses import dataclass

from .patterns import Patterns

EMPTY = Patterns()


@dataclass(frozen=True)
class UpdateOptions:
    """Options of an update, as ``Collection.update`` describes them."""

    patterns: Patterns = EMPTY  # in place of those recorded with the roots
    prune: bool = False  # forget items of roots and mount points that are missing or empty
    reread: bool = False  # look into every file
    follow_links: bool | None = None  # look into links to folders; None is as before
    pages: str | None = None  # of TIFFs and DICOM files, which are items: first or all; None is as before
    workers: int | None = None  # processes; None is one a core


@dataclass(frozen=True)
class Hooks:
    """Functions that an update calls."""

    on_wait: Callable[[str], None] | None = None  # wait for another process after telling so; None: refuse
    on_start: Callable[[int], None] = lambda total: None  # how many files need reading
    on_progress: Callable[[int], None] = lambda done: None  # how many more were read
