"""What ``index`` can do besides an update, and which of its options go together."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from ...core.errors import UserError
from .update_options import IndexOptions


@dataclass(frozen=True)
class Actions:
    """What is to be done with which folders; without one of these, an update."""

    folders: Positional[Annotated[tuple[str, ...], arg(metavar="[FOLDER ...]")]] = ()
    """Folders (or files) to index.
    With --engine ray also .tar archives, Parquet files, and URLs such as s3://BUCKET/FOLDER.
    Default: all folders that were indexed before."""
    dry_run: bool = False
    """List what an update would do, and change nothing."""
    follow: Annotated[bool, arg(name="follow-links")] = False
    """Follow links to folders. Stored for later updates, until --ignore-links."""
    ignore_links: bool = False
    """Stop following links to folders."""
    with_regions: Annotated[bool, arg(name="regions")] = False
    """Also store vectors of parts of each picture, for search --inside and --box. Stored for later updates."""
    drop_regions: bool = False
    """Delete the vectors of parts of pictures, and store no more."""
    moved: Annotated[tuple[str, str] | None, arg(metavar="OLD NEW", help_behavior_hint="")] = None
    """Say that the indexed folder OLD is at NEW now; nothing is embedded again."""
    remove: UseAppendAction[tuple[str, ...]] = ()
    """Forget the images at or below this path, and do nothing else. No picture is deleted. May be repeated."""
    verify: bool = False
    """Check catalog, vectors, index and encoder, mend what can be mended, and do nothing else."""
    rebuild_index: bool = False
    """Build the FAISS index again from the stored vectors, and do nothing else."""
    watch: bool = False
    """Keep running until Ctrl-C: update whenever something changes below the folders."""
    poll: float | None = None
    """With --watch: compare all files every N seconds, as network shares need."""
    wait: bool = False
    """Wait if another update of the collection is running."""

    @property
    def links(self) -> bool | None:
        """Whether to follow links to folders: two options stand for three values; None is as before."""
        return True if self.follow else False if self.ignore_links else None

    @property
    def region_choice(self) -> bool | None:
        """Whether to store regions: two options stand for three values; None is as before."""
        return True if self.with_regions else False if self.drop_regions else None


def check_together(actions: Actions, options: IndexOptions) -> None:
    """Check that options go together.

    Args:
        actions: What is to be done.
        options: How.

    Raises:
        UserError: They do not.
    """

    def given(*names: str) -> bool:
        values = vars(options) | vars(actions)
        return any(values[name] not in (None, False, ()) for name in names)

    others = ("remove", "verify", "rebuild_index", "dry_run")
    changes = ("folders", "include", "exclude", "prune", "with_regions", "drop_regions")
    if actions.poll is not None and not (actions.watch and 0 < actions.poll < 1e6):
        raise UserError("--poll needs --watch, and a number of seconds, such as 60")
    if actions.watch and given(*others, "prune"):
        raise UserError(
            "--watch cannot be combined with --dry-run, --prune, --remove, --verify or --rebuild-index; run those first"
        )
    if actions.follow and actions.ignore_links:
        raise UserError("--follow-links or --ignore-links: choose one")
    if actions.with_regions and actions.drop_regions:
        raise UserError("--regions or --drop-regions: choose one")
    if actions.moved is not None:
        if given(*changes, *others, "watch"):
            raise UserError("--moved goes with --collection, --wait and --workers only; update folders in a second run")
    elif actions.remove:
        if given(*changes, "dry_run") or options.index is not None or options.recall is not None:
            raise UserError("--remove goes with --collection and --wait only; update the other folders in a second run")
        if "" in actions.remove:  # probably an unset shell variable; as a path it would mean the current folder
            raise UserError("--remove '': name a path")
    elif actions.verify:
        chosen = options.index is not None or options.recall is not None
        if given(*changes, "dry_run", "rebuild_index") or chosen:
            raise UserError("--verify goes with --collection and --wait only; do the rest in a second run")
    elif actions.rebuild_index and given(*changes, "dry_run"):
        raise UserError(
            "--rebuild-index goes with --collection, --wait, --index and --recall only; do the rest in a second run"
        )
