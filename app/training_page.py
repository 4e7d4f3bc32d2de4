"""The Training page: a run's settings, its curves while it is being written, and what its features are worth."""

import shlex
from pathlib import Path

import streamlit as st

from simsiam_retrieval.errors import UserError
from simsiam_retrieval.training.runfiles import read_description

from . import markup, runs, settings

REFRESH_SECONDS = 3
PRETRAIN = "python -m simsiam_retrieval.pretrain FOLDER"

# key, name, what is worth knowing, values that the axis shows in any case
CHARTS = (
    ("loss", "Loss", "-1 is perfect agreement of two views", (-1.0, 0.0)),
    ("std", "Output std × √dim", "1 is healthy, 0 is collapse", (0.0, 1.0)),
    ("lr", "Learning rate", "of the encoder", ()),
    ("images_per_second", "Images per second", "while training", ()),
)


def show() -> None:
    """Draw the page."""
    root = settings.runs()
    found = runs.find_runs(root)
    if not found:
        markup.title("Training")
        _wait(root)
        return
    names = {_name(run, root): run for run in found}
    left, right = st.columns([3, 2], gap="large", vertical_alignment="center")
    with right:
        name = _chosen(list(names))
    with left:
        markup.title(name, str(names[name]))
    _run(names[name])


@st.fragment(run_every=REFRESH_SECONDS)
def _wait(root: Path) -> None:
    if runs.find_runs(root):
        st.rerun()
    text = f"There is no training run in {root} yet. Start one, and it shows here by itself:"
    markup.notice(text, PRETRAIN, kind="info")
    markup.faint("Runs elsewhere? Start this page with --runs FOLDER.")


def _name(run: Path, root: Path) -> str:
    return markup.shown(run.relative_to(root) if run != root else run.name)


def _chosen(names: list[str]) -> str:
    asked = st.query_params.get("run", names[0])
    current = asked if asked in names else names[0]
    key = f"run {current}"  # a new key for each, so that Back moves the control, too

    def chosen() -> None:
        st.query_params["run"] = st.session_state[key]

    st.selectbox("Run", names, index=names.index(current), key=key, on_change=chosen)
    return current


@st.fragment(run_every=REFRESH_SECONDS)
def _run(run: Path) -> None:
    try:
        description = read_description(run)
        rows = runs.curve_rows(run)
        converted = runs.conversion_of(description)
    except UserError as error:
        markup.notice(str(error))
        return
    if rows:
        _numbers(rows, runs.epochs_of(description))
        _curves(rows)
    elif converted:
        markup.notice("These weights were converted from a file: they were not trained here, so there are no curves.")
        markup.facts(converted, "Converted from")
    else:
        markup.notice("This run has not written its first numbers yet; they will show here by themselves.", kind="info")
    _probe(run)
    with st.expander("Settings"):
        markup.facts(runs.settings_of(description))


def _numbers(rows: list[dict[str, float]], epochs: int | None) -> None:
    last = rows[-1]
    if runs.has_collapsed(rows):
        markup.notice(
            "The output std is close to 0: the network gives every image the same features. Nothing can be found with "
            "them; start again with a lower --base-lr or a larger --batch-size."
        )
    of = f" / {epochs}" if epochs else ""
    markup.figures(
        [
            ("Epoch", f"{last['epoch']:.1f}{of}"),
            ("Loss", _text(last, "loss", "+.3f")),
            ("Output std × √dim", _text(last, "std", ".2f")),
            ("Images per second", _text(last, "images_per_second", ",.0f")),
        ]
    )


def _text(row: dict[str, float], key: str, form: str) -> str:
    return format(row[key], form) if key in row else "–"


def _curves(rows: list[dict[str, float]]) -> None:
    from .charts import curve  # Altair takes a second; the Search page does without

    thin = runs.thinned(rows)
    for pair in (CHARTS[:2], CHARTS[2:]):
        for place, (key, name, about, marks) in zip(st.columns(2, gap="large"), pair, strict=True):
            with place:
                markup.section(name, about)
                st.altair_chart(curve(thin, key, marks=marks), alt=f"{name} over epochs")


def _probe(run: Path) -> None:
    markup.section("Probe")
    probe = runs.newest_probe(run)
    if probe is None:
        markup.notice(
            "Nothing has been measured yet. With labelled images in one folder per class:",
            f"python -m simsiam_retrieval.probe {shlex.quote(str(run))} --train DIR --test DIR",
            kind="info",
        )
        return
    markup.table(("Method", "Top-1", "Top-5"), probe.rows)
    markup.faint(probe.about)
