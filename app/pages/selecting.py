"""A button that chooses what to label next, for the Map and Teach pages, and the choice to take away."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.collection.selection.select_images import AUTO, STRATEGIES, Selected
from simsiam_retrieval.collection.selection.selection_files import as_csv
from simsiam_retrieval.collection.storage.shard_manifest import is_sharded
from simsiam_retrieval.core.errors import UserError

from .. import markup
from ..components.downloads import download

CHOICE = "selected to label"  # in the session: collection, images
COUNT, MOST = 50, 10_000
NAMES = {
    AUTO: "Automatic",
    "representative": "Representative",
    "typical": "Typical",
    "central": "Central",
    "diverse": "Diverse",
    "uncertain": "Uncertain",
    "mixed": "Mixed",
    "random": "Random",
}


def selected(collection: Collection) -> list[Selected]:
    """What was chosen in this collection by this visitor; nothing at first."""
    folder, found = st.session_state.get(CHOICE, (None, []))
    return found if folder == collection.folder else []


def forget() -> None:
    """Drop the choice."""
    st.session_state.pop(CHOICE, None)


def control(collection: Collection, unlabelled: int, on_select: Callable[[], None]) -> None:
    """The button; ``on_select`` is called after a choice was made."""
    if is_sharded(collection.folder):
        return

    def choose() -> None:
        count, strategy = st.session_state["select count"], st.session_state["select strategy"]
        try:
            found = collection.select(min(count, unlabelled), strategy)
        except UserError as error:
            st.session_state["select refused"] = str(error)
            return
        st.session_state[CHOICE] = (collection.folder, found)
        st.session_state["select opened"] = st.session_state.get("select opened", 0) + 1  # another key: it closes
        on_select()

    key = f"select {st.session_state.get('select opened', 0)}"
    with st.popover("Select what to label", disabled=not unlabelled, key=key):
        st.number_input("Images", 1, MOST, min(COUNT, max(unlabelled, 1)), key="select count")
        strategy = st.selectbox("Strategy", tuple(STRATEGIES), key="select strategy", format_func=NAMES.__getitem__)
        what = STRATEGIES[strategy]
        markup.faint(f"{what[:1].upper()}{what[1:]}. Images with a label are left out.")
        st.button("Select", type="primary", on_click=choose)
        if (refused := st.session_state.pop("select refused", None)) is not None:
            markup.notice(refused)


def downloads(collection: Collection, found: list[Selected]) -> None:
    """The choice as files, among them those for labelling programs."""
    classes = sorted(set(collection.labels().values()))
    root = _root(found)
    download("CSV", lambda: as_csv(found).encode("utf-8", "surrogateescape"), "selected.csv")
    download(
        "Label Studio",
        lambda: _label_studio(found, classes, root),
        "label-studio.zip",
        tip=f"Tasks and labelling configuration; Label Studio's document root is {root}",
    )
    download(
        "CVAT",
        lambda: _cvat(found, classes, root),
        "cvat.zip",
        tip=f"Annotations and labels; names are relative to {root}",
    )


def _root(found: list[Selected]) -> Path:
    import os

    return Path(os.path.commonpath([one.path.parent for one in found]))


def _label_studio(found: list[Selected], classes: list[str], root: Path) -> bytes:
    from simsiam_retrieval.collection.selection.label_studio_tasks import write_tasks

    return _zipped(lambda folder: write_tasks(folder / "tasks.json", found, classes, root))


def _cvat(found: list[Selected], classes: list[str], root: Path) -> bytes:
    from simsiam_retrieval.collection.selection.cvat_annotations import write_annotations

    return _zipped(lambda folder: write_annotations(folder / "annotations.xml", found, classes, root))


def _zipped(write: Callable[[Path], object]) -> bytes:
    import io
    import zipfile

    buffer = io.BytesIO()
    with TemporaryDirectory() as name, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        write(Path(name))
        for file in sorted(Path(name).iterdir()):
            archive.write(file, file.name)
    return buffer.getvalue()
