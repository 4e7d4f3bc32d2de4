"""The Duplicates page: groups of files that show the same picture. It lists, it never deletes."""

import math
from collections.abc import Callable

import streamlit as st

from simsiam_retrieval.collection import Collection, Duplicate
from simsiam_retrieval.collection.duplicates.comparison import Comparison
from simsiam_retrieval.collection.duplicates.duplicate_list import as_csv, as_json
from simsiam_retrieval.collection.duplicates.file_states import CHANGED, GONE, LINK
from simsiam_retrieval.collection.duplicates.thresholds import CALIBRATED, SURE, is_sure
from simsiam_retrieval.core.errors import UserError

from .. import markup, settings
from ..components import tiles
from ..components.downloads import download
from ..components.gallery import Picture, Section, gallery, picture
from ..open_collection import open_collection
from . import duplicates_comparison, duplicates_kinds

INDEX = "python -m simsiam_retrieval.index FOLDER"
PAGE = 12  # groups on a page
SHOWN = 24  # files of a group that are drawn; the lists have them all
STEP = 0.001
UNKNOWN = 0.99  # where the slider stands for an encoder whose threshold nobody has measured

MEANING = """
- The **best** file has most pixels, then most bytes; among equals the one whose path looks least like a backup or copy.
- Every other file has the same bytes as the best one, or a cosine of at least the threshold **with the best one
  itself**: whoever keeps only the best files has, for every other file, a kept one that is as similar as asked.
- No two best files reach the threshold with each other. Groups do not chain: where A is like B and B like C, C is in
  A's group only when it is like A.
- **exact** means equal in every byte; a number is the cosine with the best file. With **possibly** it is one that
  different pictures reach, too.
- **gone** and **changed** files are not as they were when they were indexed; a **link** takes no space of its own.

With **Compare pixels**, similar pictures are laid over each other, and each file gets its kind: *same file*,
*same pixels* (another format or other metadata), *resized or recompressed*, *edited* (and how), *crop of* (and how
much of the whole it shows; the whole has its outline), *burst* (another shot of the scene), *look-alike* (another
picture). Crops and edits below the threshold are found, too.

Different pictures can look alike to an encoder, most on plain backgrounds: look before you delete anything.
"""

STATES = {LINK: "link", CHANGED: "changed since it was indexed", GONE: "gone"}


def show() -> None:
    """Draw the page."""
    try:
        collection = open_collection(settings.collection())
        images = len(collection)
        markup.title("Duplicates", "Pictures that are there more than once. This page lists them and deletes nothing.")
        if images < 2:
            text = "There is only one image in this collection." if images else "This collection holds no images yet."
            markup.notice(f"{text} Index more photos:", INDEX, kind="info")
            return
        _groups(collection, duplicates_comparison.comparison(collection))
    except UserError as error:
        markup.notice(str(error))


def _groups(collection: Collection, compared: Comparison) -> None:
    threshold = _threshold(collection, compared)
    by_pixels = st.toggle(
        "Compare pixels: find crops and edits, too, and say what kind of copy each file is",
        key="pixels",
        bind="query-params",
    )
    if by_pixels:
        _verified(collection, threshold, compared.images)
        return
    groups = compared.groups(threshold)
    files = sum(len(group.rows) - 1 for group in groups)
    _figures(len(groups), files, compared.spare_bytes(groups), compared.images)
    if not groups:
        _nothing(threshold)
        return
    _list(collection, len(groups), lambda first, last: compared.describe(groups[first:last]))


def _verified(collection: Collection, threshold: float | None, images: int) -> None:
    wish = duplicates_kinds.preferences(collection)
    everything = duplicates_kinds.copies(collection, threshold, wish)
    groups = duplicates_kinds.chosen(everything) if everything else []
    others = [file for group in groups for file in group[1:]]
    spare = sum(file.item.size for file in others if not file.state)
    _figures(len(groups), len(others), spare, images)
    if not groups:
        _nothing(threshold)
        return
    _list(collection, len(groups), lambda first, last: groups[first:last])
    duplicates_kinds.moving(collection, groups)


def _figures(groups: int, files: int, spare: int, images: int) -> None:
    markup.figures(
        [
            ("Groups", f"{groups:,}"),
            ("Files besides the best", f"{files:,}"),
            ("They take", tiles.size_text(spare)),
            ("Images compared", f"{images:,}"),
        ]
    )
    with st.expander("What a group means"):
        st.markdown(MEANING)


def _nothing(threshold: float | None) -> None:
    lower = "Move the slider to the left to see pictures that are less alike."
    if threshold is None:
        lower = "Without the switch, pictures that are nearly alike are found, too."
    what = "equal files" if threshold is None else "duplicates at this threshold"
    markup.notice(f"There are no {what}. {lower}", kind="info")


def _list(collection: Collection, count: int, describe: Callable[[int, int], list[list[Duplicate]]]) -> None:
    """Draw one page of ``count`` groups; ``describe`` gives the files of the groups from one number to another."""
    pages = -(-count // PAGE)
    _bar(lambda: describe(0, count))
    place = st.container()
    number = _page(pages)
    first = (number - 1) * PAGE
    with place:
        described = enumerate(describe(first, first + PAGE), 1)
        sections = [_section(collection, group, first + offset) for offset, group in described]
        gallery(sections, key="group gallery")


def _threshold(collection: Collection, compared: Comparison) -> float | None:
    """What the slider says; None where only equal bytes count."""
    known = CALIBRATED.get(collection.encoder_identity)
    lowest = math.ceil(round(compared.least / STEP, 6)) * STEP
    left, right = st.columns([3, 2], gap="large", vertical_alignment="center")
    with right:
        exact = st.toggle("Only files that are equal in every byte", key="equal", bind="query-params")
    if lowest > 1 - STEP:
        markup.notice(
            "Too many pairs of images are alike to all but the last digit: only equal files are shown here. The "
            "command finds groups at any threshold:",
            "python -m simsiam_retrieval.duplicates --threshold 0.999",
        )
        return None
    with left:
        threshold = st.slider(
            "How alike copies must be",
            lowest,
            1.0,
            max(lowest, known or UNKNOWN),
            STEP,
            format="%.3f",
            help="Lowest cosine similarity with the best file of the group",
            key="cosine",
            bind="query-params",
            disabled=exact,
        )
        if known is None and not exact:
            markup.faint("No threshold was measured for this encoder: move the slider until the groups are right.")
        elif known is not None and not exact:
            markup.faint(f"{known:g} was measured for this encoder: copies that were scaled, recompressed or turned.")
    return None if exact else threshold


def _bar(describe: Callable[[], list[list[Duplicate]]]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        # bytes as they are in names that are not UTF-8
        download("List as CSV", lambda: as_csv(describe()).encode("utf-8", "surrogateescape"), "duplicates.csv")
        download("List as JSON", lambda: as_json(describe()).encode(), "duplicates.json")
        st.button("Look again", on_click=_forget, help="Compare anew, and see which files are gone by now")


def _forget() -> None:
    duplicates_comparison.forget()
    duplicates_kinds.forget()


def _page(pages: int) -> int:
    if pages == 1:
        return 1
    return st.pagination(pages, key="groups", bind="query-params", width="stretch")


def _section(collection: Collection, group: list[Duplicate], number: int) -> Section:
    best = group[0]
    rest = sum(file.item.size for file in group[1:] if not file.state)
    others = len(group) - SHOWN
    sure = SURE.get(collection.encoder_identity)
    doubtful = not any(is_sure(file, sure) for file in group[1:])
    return Section(
        heading=f"Group {number}: {_doubt(group) if doubtful else ''}{len(group)} files",
        about=f"{tiles.size_text(rest)} besides the best one",
        pictures=[_picture(collection, file, group, best=file is best) for file in group[:SHOWN]],
        more=f"and {others:,} more, which the lists name" if others > 0 else "",
    )


def _doubt(group: list[Duplicate]) -> str:
    return "similar, " if group[1].kind else "possibly "


def _picture(collection: Collection, file: Duplicate, group: list[Duplicate], *, best: bool) -> Picture:
    thumbnail = collection.thumbnail(file.item.id)
    facts = f"{file.item.width} × {file.item.height}, {tiles.size_text(file.item.size)}"
    kind = [duplicates_kinds.kind_note(file)] if file.kind else []
    notes = [*kind, facts, file.path.parent.name] + ([STATES[file.state]] if file.state else [])
    return picture(
        file.item,
        markup.jpeg_address(thumbnail) if thumbnail else "",
        badge="best" if best else _badge(file, SURE.get(collection.encoder_identity)),
        best=best,
        notes=[markup.shown(note) for note in notes],
        boxes=_parts(file, group, best=best),
    )


def _parts(file: Duplicate, group: list[Duplicate], *, best: bool) -> list[list[float]]:
    """What is outlined: on the best picture its crops; on a whole of which the best one is a part, that part."""
    own = [other.box for other in group[1:SHOWN] if other.part == "this"] if best else []
    if not best and file.part == "best":
        own = [file.box]
    return [tiles.outlined(file.item, box) for box in own if box is not None]


def _badge(file: Duplicate, sure: float | None) -> str:
    if file.exact:
        return "exact"
    if file.kind:
        return f"{file.score:.3f}"
    return f"{file.score:.3f}" if is_sure(file, sure) else f"possibly {file.score:.3f}"
