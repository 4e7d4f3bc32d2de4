"""What an update has to do: the catalog compared with the disk. Nothing is written here."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import UserError
from ...images.files import ImageFile, Listing
from ...images.page_paths import content_digest
from ..storage.sqlite_store import SqliteStore
from ..types import Content, Known
from .patterns import Patterns, Selection

FEW = 20  # images; to forget so many needs no second word
NO_PATTERNS = Patterns()


@dataclass
class Plan:
    """What an update is about to do."""

    todo: list[ImageFile] = field(default_factory=list)  # new and changed files, sorted by path
    touched: list[ImageFile] = field(default_factory=list)  # size and time as known, yet to be read to see if changed
    known: dict[Path, Known] = field(default_factory=dict)  # what the catalog has below the roots
    present: set[Path] = field(default_factory=set)  # image files below the roots that belong to the collection
    gone: list[Path] = field(default_factory=list)  # to be forgotten
    stray: list[Path] = field(default_factory=list)  # likewise: damaged rows below no root
    # roots without images now and mount points where nothing is mounted, and how many images of each are kept
    held: list[tuple[Path, int]] = field(default_factory=list)
    mounts: set[Path] = field(default_factory=set)  # where other file systems hold images of the collection
    left_out: int = 0  # image files that the patterns leave out

    def hold(self, place: Path, kept: set[Path]) -> None:
        """Add a place to those whose missing files are not gone, if it has missing files.

        Args:
            place: The place.
            kept: The places that were added before; it is added to them.
        """
        missing = (path for path in self.known if path not in self.present and not _is_below(path, kept))
        count = sum(_is_below(path, {place}) for path in missing)
        if count:
            self.held.append((place, count))
            kept.add(place)

    def to_note(self, listed: Iterable[ImageFile]) -> list[ImageFile]:
        """Return the files whose change time the catalog does not have yet.

        Args:
            listed: All files.

        Returns:
            Those files.
        """
        return [
            file
            for file in listed
            if file.path in self.present
            and ((row := self.known.get(file.path)) is None or row.ctime_ns != file.ctime_ns or not _same(file, row))
        ]


def make_plan(
    catalog: SqliteStore,
    roots: Sequence[Path],
    listing: Listing,
    selection: Selection,
    patterns: Patterns = NO_PATTERNS,
    *,
    prune: bool = False,
    reread: bool = False,
    damaged: Collection[Path] = (),
) -> Plan:
    """Compare the catalog with the files that are there; roots that are not on the disk have no file.

    Unless ``prune``, an update that would forget most of what is known below the roots holds it, or is refused if
    patterns do it. A root without a single image may be a drive that is not mounted. So may a place that was a mount
    point when its images were indexed and is none now. Unless ``prune``, items that are missing there are held.

    Args:
        catalog: The catalog.
        roots: Absolute paths.
        listing: Their files.
        selection: The patterns of all roots.
        patterns: The patterns that were given with this update; they are in ``selection``.
        prune: See ``Collection.update``.
        reread: See ``Collection.update``.
        damaged: Files whose row does not fit its checksum. They are read again; those below no root are forgotten,
            because their path itself must be damaged.

    Returns:
        The plan.

    Raises:
        UserError: Patterns leave nothing, or would forget most of what is known.
    """
    known = catalog.known_below(roots)
    images = [file for file in listing.images if selection.takes(file.path)]
    present = {file.path for file in images}
    # what cannot be looked at now is not gone
    kept = {path for path, _ in listing.unreadable}
    plan = Plan(known=known, present=present, left_out=len(listing.images) - len(images), mounts=catalog.mounts())
    # looked at twice: a drive may come or go while its files are listed
    unmounted = [mount for mount in plan.mounts if mount not in listing.mounts or not os.path.ismount(mount)]
    if prune:
        plan.mounts -= {
            mount for mount in unmounted if any(_is_below(root, {mount}) or root in mount.parents for root in roots)
        }
    else:
        filled = _with_folders({file.path for file in listing.images} | kept)
        for root in dict.fromkeys(roots):
            if root not in filled:
                plan.hold(root, kept)
        for mount in sorted(unmounted):
            plan.hold(mount, kept)
    plan.mounts |= listing.mounts & _with_folders(present)
    _check_patterns(roots, listing, plan, patterns, prune=prune)
    for file in images:
        row = known.get(file.path)
        if file.path in damaged or not _same(file, row):
            plan.todo.append(file)
        elif row is not None and (reread or row.ctime_ns not in (None, file.ctime_ns)):
            plan.touched.append(file)
    plan.gone = [path for path in known if path not in present and not _is_below(path, kept)]
    folders = {*roots, *catalog.roots()}
    plan.stray = [path for path in damaged if path not in known and not _is_below(path, folders)]
    if not prune and (lost := _lost(plan)) > max(FEW, len(known) // 2):
        if patterns:
            raise UserError(
                f"this would forget {lost} of {len(known)} images below {named(roots)}; nothing was done; look at them "
                "with --dry-run --prune, and if that is right, add --prune"
            )
        for root in roots:
            plan.hold(root, kept)
        plan.gone = [path for path in plan.gone if not _is_below(path, kept)]
    return plan


def _check_patterns(roots: Sequence[Path], listing: Listing, plan: Plan, patterns: Patterns, *, prune: bool) -> None:
    """Raise ``UserError`` where patterns that were just given leave nothing of what is there."""
    if patterns and not prune and listing.images and not plan.present:
        raise UserError(
            f"{named(roots)}: --include and --exclude leave none of {len(listing.images)} image files; nothing was "
            "done; mend the pattern, or forget them all with --prune"
        )


def _lost(plan: Plan) -> int:
    """How many usable images would be forgotten, less those that may have moved: new files of their size."""
    new = Counter(file.size for file in plan.todo if file.path not in plan.known)
    gone = Counter(plan.known[path].size for path in plan.gone if plan.known[path].error is None)
    return (gone - new).total()


def named(roots: Sequence[Path]) -> str:
    """Return roots as they are named in a message.

    Args:
        roots: The roots.

    Returns:
        The text.
    """
    return ", ".join(map(str, roots[:3])) + (" ..." if len(roots) > 3 else "")


class KnownContent:
    """Files found again by their content, under another name or time: their vectors need not be computed again."""

    def __init__(self, catalog: SqliteStore, todo: Iterable[ImageFile]) -> None:
        sizes = {file.size for file in todo}
        self._by_digest: dict[bytes, Content] = {}
        self._sizes: set[int] = set()
        for content in catalog.contents_of(sizes):
            self._by_digest.setdefault(content.digest, content)
            self._sizes.add(content.size)

    def of(self, file: ImageFile) -> Content | None:
        """Look up what the catalog knows of a file's bytes; a file is only read if one of its size is known.

        Args:
            file: The file.

        Returns:
            The content, or None.
        """
        if file.size not in self._sizes:
            return None
        try:
            return self._by_digest.get(content_digest(file.path))
        except OSError:
            return None  # reading it as a picture will say why


def changed_inside(file: ImageFile, row: Known) -> bool:
    """Return whether a file's bytes are others than when it was indexed.

    Args:
        file: The file.
        row: What the catalog has of it.

    Returns:
        True if they are, or if they cannot be read.
    """
    try:
        return content_digest(file.path) != row.digest
    except OSError:
        return True  # reading it as a picture will say why


def moves(gone: Iterable[Path], known: dict[Path, Known], found: dict[Path, bytes]) -> list[tuple[Path, Path]]:
    """Find files that were moved: an old and a new path with the same content.

    Args:
        gone: Paths that are gone.
        known: Path -> row, of all that is known.
        found: Path -> digest, of new files.

    Returns:
        Pairs of an old and a new path.
    """
    left: dict[bytes, list[Path]] = {}
    for path in gone:
        digest = known[path].digest
        if digest is not None:
            left.setdefault(digest, []).append(path)
    pairs = []
    for path, digest in found.items():
        old = left.get(digest)
        if old:
            # a file that only moved keeps its name: the likelier partner where there are several
            same = next((candidate for candidate in old if candidate.name == path.name), old[0])
            old.remove(same)
            pairs.append((same, path))
    return pairs


def _with_folders(files: set[Path]) -> set[Path]:
    """Files and all folders above them."""
    folders = {path.parent for path in files}  # far fewer than files
    return files | folders | {above for folder in folders for above in folder.parents}


def _is_below(path: Path, folders: set[Path]) -> bool:
    return bool(folders) and (path in folders or not folders.isdisjoint(path.parents))


def _same(file: ImageFile, row: Known | None) -> bool:
    return row is not None and (row.size, row.mtime_ns) == (file.size, file.mtime_ns)
