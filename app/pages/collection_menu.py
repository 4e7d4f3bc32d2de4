"""Choosing another collection, and adding a folder to this one; for people at this machine only."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.collection.storage.shard_manifest import is_sharded
from simsiam_retrieval.collection.update.results import Update
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.core.known_collections import KnownCollection, known_collections
from simsiam_retrieval.core.paths import absolute

from .. import background_jobs, markup, settings
from ..search import selection

POLL = 1.0  # seconds between two looks at the progress
OF_COLLECTION = ("map choice", "map picked", "hover asked", "viewer asked", "opened", "grid page")  # in the session
REFUSED = "folder refused"


def menu(collection: Collection) -> None:
    """Draw the button of the menu, if this visitor may use it, and how far an added folder has come.

    Args:
        collection: The collection.
    """
    if not settings.own():
        return
    with st.popover("Collections", icon=":material/folder_open:"):
        _switcher(collection)
        if not is_sharded(collection.folder):
            _adding(collection)


def progress(collection: Collection) -> None:
    """Draw how far the folder that is being added has come, or the result; nothing if none is.

    Args:
        collection: The collection.
    """
    if not settings.own():
        return
    if (refused := st.session_state.pop(REFUSED, None)) is not None:
        markup.notice(refused)
    job = background_jobs.job(_key(collection.folder))
    if job is None:
        return
    if job.running:
        _running(collection.folder)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        markup.notice(job.error or job.said or "Stopped.", kind="warning" if job.error else "info")
        st.button("Close", on_click=background_jobs.forget, args=(_key(collection.folder),))


# -- another collection


def _switcher(collection: Collection) -> None:
    known = {one.path: one for one in known_collections() if one.present}
    here = known.setdefault(collection.folder, KnownCollection(collection.folder.name, collection.folder, None))
    paths = [here.path, *(path for path in known if path != here.path)]
    key = f"collection {here.path}"

    def chosen() -> None:
        change_to(st.session_state[key])

    st.selectbox(
        "Collection",
        paths,
        key=key,
        format_func=lambda path: markup.shown(known[path].name),
        help="Those that were indexed on this machine",
        on_change=chosen,
        disabled=len(paths) < 2,
    )
    markup.faint(str(collection.folder))


def change_to(folder: Path) -> None:
    """Show another collection.

    Args:
        folder: Its folder.
    """
    settings.choose(folder)
    forget_ids()
    st.query_params.clear()


def forget_ids() -> None:
    """Forget what was remembered by id: in another collection it means other images."""
    selection.clear()
    for name in OF_COLLECTION:
        st.session_state.pop(name, None)


# -- a folder for this one


def _key(folder: Path) -> tuple[str, Path]:
    return ("add", folder)


def _adding(collection: Collection) -> None:
    given = st.text_input(
        "Add a folder of this machine", key="folder to add", placeholder=str(Path.home() / "Pictures")
    )
    job = background_jobs.job(_key(collection.folder))
    busy = job is not None and job.running
    with st.container(horizontal=True):
        st.button("Add", type="primary", disabled=busy, on_click=_add, args=(collection, given))
        st.button("Look for new images", disabled=busy, on_click=_start, args=(collection, None))


def _add(collection: Collection, given: str) -> None:
    try:
        folder = check_folder(given)
    except UserError as error:
        st.session_state[REFUSED] = str(error)
        return
    st.session_state["folder to add"] = ""
    _start(collection, folder)


def check_folder(given: str) -> Path:
    """Check a folder that somebody typed.

    Args:
        given: The text.

    Returns:
        The folder.

    Raises:
        UserError: It cannot be indexed; the message says why.
    """
    if not given.strip():
        raise UserError("Type the path of a folder, such as " + str(Path.home() / "Pictures"))
    folder = absolute(Path(given.strip().strip('"')).expanduser())
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder on this machine; check the spelling")
    return folder


def _start(collection: Collection, folder: Path | None) -> None:
    background_jobs.start(_key(collection.folder), update_in_background(collection, folder))


def update_in_background(collection: Collection, folder: Path | None) -> Callable[[Callable[[float], None]], str]:
    """Make work for a background job: index a folder, or look for what is new in all folders.

    Args:
        collection: The collection.
        folder: The folder; None for all.

    Returns:
        A function that takes a callback for the finished fraction and returns a sentence.
    """

    def work(on_progress: Callable[[float], None]) -> str:
        total, done = 0, 0

        def start(files: int) -> None:
            nonlocal total
            total = files

        def more(files: int) -> None:
            nonlocal done
            done += files
            try:
                on_progress(done / max(total, 1))
            except background_jobs.Stopped:
                raise KeyboardInterrupt from None  # what was done is kept

        update = collection.update(None if folder is None else [folder], on_start=start, on_progress=more)
        return sentence(update, folder)

    return work


def sentence(update: Update, folder: Path | None) -> str:
    """Say what an update did.

    Args:
        update: Its result.
        folder: The folder that was added; None for all.

    Returns:
        One line.
    """
    where = "" if folder is None else f" from {markup.shown(folder)}"
    parts = [f"{update.added:,} image{'' if update.added == 1 else 's'} added{where}"]
    if update.changed:
        parts.append(f"{update.changed:,} changed")
    if update.removed:
        parts.append(f"{update.removed:,} no longer there")
    if update.damaged:
        parts.append(f"{len(update.damaged):,} read again because what was stored of them was damaged")
    if update.failed:
        path, reason = update.failed[0]
        parts.append(f"{len(update.failed):,} cannot be used, such as {markup.shown(path.name)} ({reason})")
    return ("" if update.finished else "Stopped; what was done is kept. ") + ", ".join(parts) + "."


@st.fragment(run_every=POLL)
def _running(folder: Path) -> None:
    job = background_jobs.job(_key(folder))
    if job is None or not job.running:
        st.rerun()
    else:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.progress(min(1.0, job.done), text=f"Adding images: {job.done:.0%}")
            st.button("Stop", on_click=job.stop)
