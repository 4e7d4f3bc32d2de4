"""An update in words: the lines that ``index`` prints."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.text import printable, without_detail

if TYPE_CHECKING:
    from ..index.build_shard_index import Built
    from ..index.tuning import Measured
    from .results import Preview, Update

SHOWN_FAILURES = 10
SHOWN_KINDS = 5
EXTRA = ": pip install 'simsiam-retrieval["  # in the reason of a file whose kind needs one
# suffixes of pictures and clips that this package does not read; the report mentions only these
UNREAD = frozenset(
    (
        *(".srf", ".iiq", ".mos", ".fff"),
        *(".psd", ".psb", ".xcf", ".kra", ".ai", ".eps", ".svg", ".pdf", ".jxr", ".tga"),
        *(".exr", ".hdr", ".ico", ".nii", ".svs", ".ndpi", ".heics"),
        *(".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".insv"),
    )
)


def facts(update: "Update") -> str:
    """Return the numbers of an update.

    Args:
        update: What was done.

    Returns:
        Such as "3 new, 0 changed, 1 gone".
    """
    found = [
        f"{update.added - update.moved} new",
        f"{update.changed} changed",
        f"{update.removed - update.moved} gone",
    ]
    if update.moved:
        found.append(f"{update.moved} moved")
    if update.regions_added:
        found.append(f"regions of {update.regions_added} more")
    if update.failed:
        found.append(f"{len(update.failed)} unusable")
    if update.left_out:
        found.append(f"{update.left_out} left out by patterns")
    if update.companions:
        found.append(f"{update.companions} sidecars, clips and raw files of pictures")
    others = update.other_files - update.companions
    if others:
        kinds = f": {_named(update.kinds)}" if update.kinds else ""
        found.append(f"{others} other files passed over{kinds}")
    return ", ".join(found)


def preview_lines(preview: "Preview") -> Iterator[str]:
    """Say what an update would do.

    Args:
        preview: What it would do.

    Yields:
        A line for each file.
    """
    for what, paths in (("new", preview.new), ("changed", preview.changed), ("gone", preview.gone)):
        for path in paths:
            yield f"{what:8} {printable(path)}"
    for old, new in preview.moved:
        yield f"{'moved':8} {printable(old)} -> {printable(new)}"


def preview_facts(preview: "Preview") -> str:
    """Return the numbers of a preview.

    Args:
        preview: What an update would do.

    Returns:
        Such as "3 new, 0 changed, 1 gone, 0 moved".
    """
    found = [f"{len(preview.new)} new", f"{len(preview.changed)} changed", f"{len(preview.gone)} gone"]
    found.append(f"{len(preview.moved)} moved")
    if preview.left_out:
        found.append(f"{preview.left_out} left out by patterns")
    if preview.regions_added:
        found.append(f"regions of {preview.regions_added} more")
    if preview.drops_regions:
        found.append("all regions deleted")
    return ", ".join(found)


def failure_lines(failed: Sequence[tuple[Path, str]]) -> Iterator[str]:
    """Name files that cannot be used; those of a kind whose extra is missing are summed up.

    Args:
        failed: Paths and reasons.

    Yields:
        The lines.
    """
    lacking = Counter(reason for _, reason in failed if EXTRA in reason)
    for reason, count in lacking.most_common():
        kind, install = reason.removeprefix("a ").split(": ", 1)
        if count > 1:  # "12 DICOM files", "3 TIFFs compressed as JPEG2000"
            kind = kind.replace("file", "files", 1) if "file" in kind else kind.replace("TIFF", "TIFFs", 1)
        yield f"left out: {count} {kind}: {install}"
    failed = [(path, reason) for path, reason in failed if EXTRA not in reason]
    kinds = Counter(without_detail(reason) for _, reason in failed[SHOWN_FAILURES:])
    summed = {kind for kind, count in kinds.items() if count > 1}
    for number, (path, reason) in enumerate(failed):
        if number < SHOWN_FAILURES or without_detail(reason) not in summed:
            yield f"left out: {printable(path)}: {printable(reason)}"
    for kind, count in kinds.most_common(SHOWN_FAILURES):
        if kind in summed:
            yield f"left out: {count} more: {printable(kind)}"


def damaged_lines(update: "Update") -> Iterator[str]:
    """Name the files whose rows did not fit their checksums.

    Args:
        update: What an update did.

    Yields:
        Lines.
    """
    left = set(update.still_damaged)
    if again := [path for path in update.damaged if path not in left]:
        yield (
            f"what was stored of {_first(again)} did not fit its checksum; read again; "
            "--verify checks vectors, thumbnails and the index, too"
        )
    if left:
        yield (
            f"what is stored of {_first(update.still_damaged)} does not fit its checksum, and was not read again; "
            "update its folder, or forget it with --verify"
        )


def _first(paths: Sequence[Path]) -> str:
    return printable(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def held_lines(held: Sequence[tuple[Path, int]]) -> Iterator[str]:
    """Name places that may be unmounted.

    Args:
        held: Places, and how many images of each are kept.

    Yields:
        The lines.
    """
    for place, count in held:
        yield (
            f"{printable(place)}: missing, not mounted, or without most of its images now; {count} images are kept; "
            "mount or restore it, or forget them with --prune"
        )


def passed_over_lines(update: "Update") -> Iterator[str]:
    """Say which folders and files an update did not look at.

    Args:
        update: What was done.

    Yields:
        The lines.
    """
    if update.system_folders:
        count, named = sum(update.system_folders.values()), _named(update.system_folders)
        folders = "1 trash or system folder" if count == 1 else f"{count} trash and system folders"
        yield f"passed over {folders} ({named}); name {'it' if count == 1 else 'one'} to index it"
    if update.linked_folders:
        count = update.linked_folders
        links = "1 link to a folder" if count == 1 else f"{count} links to folders"
        yield f"passed over {links}; --follow-links follows {'it' if count == 1 else 'them'}"
    if update.pages_left_out:
        files = f"{update.paged_files} file{'' if update.paged_files == 1 else 's'}"
        yield f"{update.pages_left_out} further pages or frames of {files} left out; --pages all takes them"
    if update.without_regions:
        images = "1 image has" if update.without_regions == 1 else f"{update.without_regions} images have"
        yield f"{images} no regions yet; an update of the folders with their files adds them"
    unread = {kind: count for kind, count in update.kinds.items() if kind in UNREAD}
    if unread:
        yield f"pictures and clips of kinds that are not read: {_named(unread)}"


def measured_lines(found: "Measured") -> Iterator[str]:
    """Say what an approximate index gives.

    Args:
        found: Its measured recall and latency.

    Yields:
        The lines.
    """
    settings = "".join(f", {name} {value}" for name, value in found.settings.items())
    exact = "" if found.exact_milliseconds is None else f", exact search {found.exact_milliseconds:.1f} ms"
    yield (
        f"index: {found.kind}{settings}: recall@10 {found.recall:.3f} of {found.asked:g} asked, "
        f"{found.milliseconds:.1f} ms a query{exact}"
    )
    if found.falls_short:
        yield "this index cannot reach that recall; use --index flat, which is exact, or a lower --recall"


def built_line(built: "Built", folder: Path) -> str:
    """Say what the build of a sharded collection did.

    Args:
        built: Its result.
        folder: The collection's folder.

    Returns:
        The line.
    """
    found = [f"{built.new_shards} shards new, {built.gone_shards} gone, {built.shards} in all"]
    if built.unusable:
        found.append(f"{built.unusable} unusable")
    done = "built the index of" if built.changed else "nothing to do:"
    return f"{done} {built.images} images in {printable(folder)} ({', '.join(found)})"


def file_roots_lines(roots: Sequence[Path]) -> Iterator[str]:
    """Warn of files in the place of folders, as a shell makes of ``photos/*.jpg``.

    Args:
        roots: What was named to be indexed.

    Yields:
        The line, where there are several files.
    """
    files = [root for root in roots if root.is_file()]
    if len(files) > 1:
        yield (
            f"{printable(files[0])} and {len(files) - 1} more are files: updates do not find new pictures beside them; "
            f"name the folder instead: python -m simsiam_retrieval.index {printable(files[0].parent)}"
        )


def _named(counts: dict[str, int]) -> str:
    """What there is of each, the most frequent first: "12 .cr2, 3 .mov"."""
    shown = [f"{count} {printable(what) or 'without a suffix'}" for what, count in list(counts.items())[:SHOWN_KINDS]]
    return ", ".join(shown) + (", ..." if len(counts) > SHOWN_KINDS else "")
