"""The Training page: runs side by side while they are being written, and what the network sees of the images."""

import shlex
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from simsiam_retrieval.core.errors import UserError

from .. import markup, settings
from . import paper_tables, training_runs
from .training_curves import draw_curves
from .training_probe import newest_probe
from .training_runs import Run
from .training_settings import settings_of
from .training_views import views

REFRESH_SECONDS = 3
MOST = 8  # runs side by side
PRETRAIN = "python -m simsiam_retrieval.pretrain FOLDER"


def show() -> None:
    """Draw the page."""
    root = settings.runs()
    found = training_runs.find_runs(root)
    if not found:
        markup.title("Training")
        _wait(root)
        return
    names = {_name(run, root): run for run in found}
    sets = {_name(file.with_suffix(""), root): file for file in paper_tables.find_tables(root)}
    left, right = st.columns([3, 2], gap="large", vertical_alignment="center")
    with right:
        chosen = _chosen([*names, *sets])
    asked = {name: sets[name] for name in chosen if name in sets}
    if asked:
        _sets(asked, {name: names[name] for name in chosen if name in names}, left)
        return
    with left:
        if len(chosen) == 1:
            markup.title(chosen[0], str(names[chosen[0]]))
        else:
            markup.title("Training", f"{len(chosen)} runs of {root}" if chosen else str(root))
    if not chosen:
        markup.notice("Choose a run, or several to compare them.", kind="info")
        return
    _runs({name: names[name] for name in chosen})
    views(names[chosen[0]], chosen[0] if len(chosen) > 1 else "")
    if len(chosen) == 1:
        _probe(names[chosen[0]])


@st.fragment(run_every=REFRESH_SECONDS)
def _wait(root: Path) -> None:
    if training_runs.find_runs(root):
        st.rerun()
    text = f"There is no training run in {root} yet. Start one, and it shows here by itself:"
    markup.notice(text, PRETRAIN, kind="info")
    markup.faint("Runs elsewhere? Start this page with --runs FOLDER.")


def _name(run: Path, root: Path) -> str:
    return markup.shown(run.relative_to(root) if run != root else run.name)


def _sets(asked: dict[str, Path], others: dict[str, Path], heading: DeltaGenerator) -> None:
    """Tables of the paper, and runs that were chosen beside them, as one comparison."""
    read, damaged = _read_sets(asked)
    with heading:
        if len(read) == 1:
            name, only = next(iter(read.items()))
            markup.title(only.title, f"{only.asks} ({name})")
        else:
            markup.title("Training", ", ".join(asked))
    for text in damaged:
        markup.notice(text)
    named = {
        row if len(read) == 1 else f"{name}: {row}": run for name, one in read.items() for row, run in one.runs.items()
    }
    named |= others
    if len(named) > MOST:
        markup.faint(f"The first {MOST} of {len(named)} runs are drawn.")
    _runs(dict(list(named.items())[:MOST]))
    _results(asked)


def _read_sets(asked: dict[str, Path]) -> tuple[dict[str, paper_tables.TableOfRuns], list[str]]:
    """Those that can be read, and why the others cannot."""
    read, damaged = {}, []
    for name, file in asked.items():
        try:
            read[name] = paper_tables.read_table(file)
        except UserError as error:
            damaged.append(str(error))
    return read, damaged


@st.fragment(run_every=REFRESH_SECONDS)
def _results(asked: dict[str, Path]) -> None:
    """Ours beside the paper's."""
    for one in _read_sets(asked)[0].values():
        markup.section(f"{one.title}: ours and the paper's")
        lines = [[markup.escaped(cell) for cell in line] for line in one.body]
        markup.wide_table([markup.escaped(cell) for cell in one.head], lines)
        for note in one.notes:
            markup.faint(note)


def _chosen(names: list[str]) -> list[str]:
    """The runs in the address; the one written last where it names none."""
    asked = [name for name in dict.fromkeys(st.query_params.get_all("run")) if name in names][:MOST]
    current = asked or names[:1]
    key = f"runs {current}"  # a new key for each choice, so that Back moves the control, too

    def chosen() -> None:
        st.query_params["run"] = st.session_state[key]

    return st.multiselect(
        "Runs", names, current, key=key, on_change=chosen, max_selections=MOST, placeholder="Choose runs"
    )


@st.fragment(run_every=REFRESH_SECONDS)
def _runs(paths: dict[str, Path]) -> None:
    found: dict[str, Run] = {}
    for name, path in paths.items():
        try:
            found[name] = training_runs.read_run(path)
        except UserError as error:
            markup.notice(str(error))
    if len(paths) == 1:
        for run in found.values():
            _one(run)
    elif found:
        _table(found)
    draw_curves(found)
    if len(found) == 1:
        with st.expander("Settings"):
            markup.facts(settings_of(next(iter(found.values())).description))
    elif found:
        _differences(found)


def _one(run: Run) -> None:
    if run.state == "converted":
        markup.notice("These weights were converted from a file: they were not trained here, so there are no curves.")
        markup.facts(run.converted, "Converted from")
        return
    text, kind = training_runs.verdict_text(run)
    if run.rows:
        knn = run.newest("knn")
        pairs = [
            ("Epoch", _epochs(run)),
            ("Loss", _text(run.newest("loss"), "+.3f")),
            ("Spread (1 is healthy)", _text(run.newest("std"), ".2f")),
            ("Variety of features", _text(run.newest("rankme"), ".0f")),
            *([("kNN accuracy", f"{100 * knn:.1f} %")] if knn is not None else []),
            ("Images per second", _text(run.newest("images_per_second"), ",.0f")),
            ("State", _state(run)),
        ]
        markup.figures(pairs)
    if kind:
        markup.notice(text, kind=kind)
    else:
        markup.faint(text)


def _table(found: dict[str, Run]) -> None:
    from ..components.charts import PALETTE  # Altair takes a second; the Search page does without

    rows = []
    for number, (name, run) in enumerate(found.items()):
        knn = run.newest("knn")
        colour = PALETTE[number % len(PALETTE)]
        rows.append(
            [
                f'<span class="sr-dot" style="background: {colour}"></span>{markup.escaped(name)}',
                _epochs(run),
                _text(run.newest("loss"), "+.3f"),
                _text(run.newest("std"), ".2f"),
                _text(run.newest("rankme"), ".0f"),
                "–" if knn is None else f"{100 * knn:.1f} %",
                _text(run.newest("images_per_second"), ",.0f"),
                _state(run),
                f"<strong>{run.standing}</strong>" if run.has_collapsed else run.standing,
            ]
        )
    head = ["", "epoch", "loss", "spread", "variety", "kNN", "images/s", "state", "verdict"]
    markup.wide_table(head, rows)
    for name, run in found.items():
        if run.standing in (training_runs.COLLAPSE, training_runs.WATCH):
            markup.notice(f"{name}: {training_runs.verdict_text(run)[0]}")


def _differences(found: dict[str, Run]) -> None:
    with st.expander("Settings that differ"):
        rows = training_runs.differing_settings(list(found.values()))
        if not rows:
            markup.faint("None.")
            return
        cells = [[markup.escaped(name), *(markup.escaped(value) for value in values)] for name, values in rows]
        markup.wide_table(["", *(markup.escaped(name) for name in found)], cells)


def _epochs(run: Run) -> str:
    if not run.rows:
        return "–"
    return f"{run.rows[-1]['epoch']:.1f}" + (f" / {run.epochs}" if run.epochs else "")


def _state(run: Run) -> str:
    if run.state != "stopped" or run.silent is None:
        return run.state
    hours = run.silent / 3600
    since = f"{run.silent / 60:.0f} min" if hours < 1 else f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"
    return f"stopped, {since} ago"


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _probe(run: Path) -> None:
    markup.section("Probe")
    probe = newest_probe(run)
    if probe is None:
        markup.notice(
            "Nothing has been measured yet. With labelled images in one folder per class:",
            f"python -m simsiam_retrieval.probe {shlex.quote(str(run))} --train DIR --test DIR",
            kind="info",
        )
        return
    markup.table(("Method", "Top-1", "Top-5"), probe.rows)
    markup.faint(probe.about)
