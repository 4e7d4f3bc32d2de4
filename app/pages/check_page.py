"""The Check page: images that are blurred, dark, odd, or unlike all others. It changes and deletes no file."""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.collection.check.find_problems import Report, find_problems, with_fine
from simsiam_retrieval.collection.check.fine import set_fine
from simsiam_retrieval.collection.check.problems import FENCE, KINDS, Problem
from simsiam_retrieval.collection.check.report import as_csv, page_of_report
from simsiam_retrieval.collection.storage.shard_manifest import is_sharded
from simsiam_retrieval.core.errors import UserError

from .. import markup, settings
from ..components import paging, tiles
from ..components.downloads import download
from ..components.grid import grid
from ..open_collection import open_collection
from ..search.address import LEAVING, Address
from . import search_page

LOWEST, STEP = 0.5, 0.1  # of the slider, in interquartile ranges
FILES = ("damaged", "missing")  # they have no score
COSINES = ("near-duplicate",)  # their score is a cosine
ON_REQUEST = ("near-duplicate", "label error")  # they take long, or need to be told where labels are
ASKED = tuple(kind for kind in KINDS if kind not in (*ON_REQUEST, "leak"))
SOURCES = {"folders": "Names of folders", "app": "Labels given in this app"}
KIND, MARKED, AT = "check kind", "check marked", "check at"  # in the session


def show() -> None:
    """Draw the page."""
    if (address := st.session_state.get(LEAVING)) is not None:  # until the Search page has it
        search = st.Page(search_page.show, title="Search", url_path="search", default=True)
        st.switch_page(search, query_params=address.parameters())
    try:
        collection = open_collection(settings.collection())
        images = len(collection)
        markup.title("Check", "Images that may not belong here. Nothing is changed or deleted.")
        if not images:
            markup.notice(
                "This collection holds no images yet. Index a folder of photos:", search_page.INDEX, kind="info"
            )
        elif is_sharded(collection.folder):
            markup.notice("Sharded collections are not checked.", kind="info")
        else:
            _kinds(collection)
            search_page.show_large(collection)
    except UserError as error:
        markup.notice(str(error))


# -- what was found


@st.cache_resource(show_spinner="Checking all images …", max_entries=4)
def _report(_collection: Collection, key: tuple, kinds: tuple[str, ...], labels: tuple = ()) -> Report:
    return find_problems(_collection, kinds, fence=LOWEST, labels=dict(labels) if labels else None)


def _key(collection: Collection) -> tuple:
    return str(collection.folder), id(collection), collection.generation


def _kinds(collection: Collection) -> None:
    report = _report(collection, _key(collection), ASKED)
    problems = with_fine(collection, report.problems)
    usual = [problem for problem in problems if problem.kind in FILES or problem.score > FENCE]
    counts = Counter(problem.kind for problem in usual if not problem.fine)
    there = {*ON_REQUEST, *(problem.kind for problem in usual)}  # also where all are fine by now
    offered = [kind for kind in KINDS if kind in there]
    if report.not_measured:
        markup.notice(
            f"{report.not_measured:,} images were indexed by an older version and not measured. Measure them:",
            "python -m simsiam_retrieval.check --measure",
            kind="info",
        )

    def switched() -> None:
        st.session_state[MARKED] = {}
        st.session_state[AT] = 1

    kind = st.pills(
        "Kind",
        offered,
        default=offered[0],
        required=True,
        key=KIND,
        format_func=lambda kind: f"{kind} · {counts[kind]:,}" if kind in ASKED else kind,
        on_change=switched,
        label_visibility="collapsed",
    )
    if kind in ON_REQUEST:
        problems = _on_request(collection, kind)
    markup.faint(f"{KINDS[kind][:1].upper()}{KINDS[kind][1:]}.")
    if problems is not None:
        _problems(collection, report, kind, [problem for problem in problems if problem.kind == kind])


def _on_request(collection: Collection, kind: str) -> list[Problem] | None:
    """Near-duplicates, or wrong labels; None where those cannot be looked for."""
    labels: tuple = ()
    if kind == "label error":
        source = st.segmented_control(
            "Labels to judge", tuple(SOURCES), default="folders", required=True, format_func=SOURCES.__getitem__
        )
        from simsiam_retrieval.collection.labelling.read_labels import read_labels

        try:
            labels = tuple(sorted(read_labels(collection, source).items()))
        except UserError:
            markup.notice("No image has a label there. Give some on the Teach page.", kind="info")
            return None
    found = _report(collection, _key(collection), (kind,), labels)
    if reason := found.skipped.get(kind):
        markup.notice(reason, kind="info")
        return None
    return with_fine(collection, found.problems)


# -- one kind


def _problems(collection: Collection, report: Report, kind: str, problems: list[Problem]) -> None:
    fine = sum(problem.fine for problem in problems)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        least = _least(kind, problems)
        with_them = bool(fine) and st.toggle(f"Also the {fine:,} that are fine", key="check fine")
    found = [one for one in problems if one.score >= least and (with_them or not one.fine)]
    _bar(collection, report, kind, found)
    if not found:
        markup.faint("No image is that unusual. Move the slider to the left to see more." if problems else "None.")
        return
    here = [problem for problem in found if problem.item is not None]
    pages = tiles.page_count(len(here))
    page = min(st.session_state.get(AT, 1), pages)
    _grid(collection, kind, here[(page - 1) * tiles.PAGE : page * tiles.PAGE], page)
    if pages > 1:
        paging.turn(AT, pages, page)
    files = [(problem.path, problem.reason) for problem in found if problem.item is None]
    if files:
        markup.table(("File", "Reason"), files[: tiles.PAGE])
        if len(files) > tiles.PAGE:
            markup.faint(f"and {len(files) - tiles.PAGE:,} more, which the list names")


def _least(kind: str, problems: Sequence[Problem]) -> float:
    """What the slider says: the lowest score that is shown."""
    scores = [problem.score for problem in problems]
    if kind in FILES or len(set(scores)) < 2:
        return float("-inf")
    share = kind in ON_REQUEST
    step = 0.001 if kind in COSINES else 0.01 if share else STEP
    low = min(scores) // step * step if share else LOWEST
    high = max(max(scores) // step * step + step, low + step)
    if kind in COSINES:
        high = min(high, 1.0)
    return st.slider(
        "How alike copies must be" if kind in COSINES else "How doubtful a label must be" if share else "How unusual",
        low,
        high,
        low if share else min(FENCE, high - step),
        step,
        format="%.3f" if kind in COSINES else "%.2f" if share else "%.1f",
        key=f"check least {kind}",
        width=360,
        help=None if share else "Interquartile ranges beyond the quartile of this collection; 1.5 is usual",
    )


def _bar(collection: Collection, report: Report, kind: str, found: list[Problem]) -> None:
    """How many there are, and what can be done with them."""
    marked = st.session_state.setdefault(MARKED, {})
    here = {problem.item.id: problem for problem in found if problem.item is not None}
    chosen = [here[id_] for id_ in marked if id_ in here]
    taken = chosen or list(here.values())
    all_fine = bool(taken) and all(problem.fine for problem in taken)

    def note() -> None:
        try:
            set_fine(collection, taken, fine=not all_fine)
            st.session_state[MARKED] = {}
        except UserError as error:
            st.session_state["check refused"] = str(error)

    if (refused := st.session_state.pop("check refused", None)) is not None:
        markup.notice(refused)
    images = "image" if report.images == 1 else "images"
    with st.container(horizontal=True, vertical_alignment="center"):
        markup.section(f"{len(found):,} of {report.images:,} {images}", width="content")
        if len(taken) == 1:
            what, verb = "The marked one" if chosen else "This one", "is"
        else:
            what, verb = f"The {len(chosen):,} marked" if chosen else f"All {len(taken):,}", "are"
        st.button(
            f"{what} {verb} not fine" if all_fine else f"{what} {verb} fine",
            disabled=not taken or kind == "missing",
            on_click=note,
            help="Not listed again, here and by the command; kept as long as the file's content stays. "
            "Click ✓ on pictures to mark some.",
        )
        download(
            "List as CSV",
            lambda: as_csv(found).encode("utf-8", "surrogateescape"),
            f"{kind}.csv",
            disabled=not found,
        )
        download(
            "Report with pictures",
            lambda: page_of_report(collection, Report(report.images, found)).encode("utf-8", "replace"),
            f"{kind}.html",
            disabled=not found,
            tip="A page that opens without a server",
        )
        st.button("Look again", on_click=_report.clear, help="See which files are gone or changed by now")


def _grid(collection: Collection, kind: str, problems: list[Problem], page: int) -> None:
    items = [problem.item for problem in problems if problem.item is not None]
    found = tiles.photo_tiles(collection, items, Address())
    for tile, problem in zip(found, problems, strict=True):
        like = "" if problem.other is None else f", like {problem.other.rpartition('/')[2]}"
        tile["note"] = markup.shown(f"{problem.reason}{like}{' · fine' if problem.fine else ''}")
        tile["label"] = f"{tile['name']}, {tile['note']}"
        tile["link"] = "./" + tile["link"]  # the Search page, seen from here
        tile["weak"] = problem.fine

    def leave(id_: int) -> None:
        st.session_state[LEAVING] = Address().of_image(id_)

    def mark(ids: list[int]) -> None:
        st.session_state[MARKED] = {**st.session_state.get(MARKED, {}), **dict.fromkeys(ids, True)}

    def toggle(id_: int) -> None:
        marked = dict(st.session_state.get(MARKED, {}))
        if marked.pop(id_, None) is None:
            marked[id_] = True
        st.session_state[MARKED] = marked

    grid(
        found,
        label=f"Images: {kind}",
        view=f"check {kind} {page}",
        marked=list(st.session_state.get(MARKED, {})),
        refining=False,
        words=True,
        on_pick=leave,
        on_mark=toggle,
        on_range=mark,
        on_more=leave,
        on_less=leave,
    )
