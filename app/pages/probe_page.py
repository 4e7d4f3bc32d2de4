"""The Linear probe page: what encoders' features are worth, beside their baselines, down to the single image."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streamlit as st

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.core.text import printable
from simsiam_retrieval.evaluation.probe_table import NONE
from simsiam_retrieval.evaluation.stored_predictions import Guesses, Predictions, load_predictions
from simsiam_retrieval.metrics.intervals import wilson

from .. import markup, settings
from ..components.confusion_buttons import confusion, counted
from ..search.address import as_number
from . import probe_results
from .probe_images import cell_images
from .probe_results import Measured, Question

MATRIX = 40  # classes of a matrix that can be read; of more, the pairs that are confused most are listed
PAIRS = 100  # of those
BESIDE = 12  # classes of a matrix that leaves room for images at its side

PROBE = "python -m simsiam_retrieval.probe RUN --train DIR --test DIR"


def show() -> None:
    """Draw the page."""
    root = settings.runs()
    markup.title("Linear probe", "What simple classifiers make of the features, beside random weights and raw pixels.")
    questions = probe_results.find_questions(root)
    if not questions:
        markup.notice(
            f"There are no probe results in {root} yet. With labelled images in one folder per class:",
            PROBE,
            kind="info",
        )
        markup.faint("Results of a run are kept with it; of another encoder, with --out, in the folder of runs.")
        return
    try:
        _question(_chosen(questions))
    except UserError as error:
        markup.notice(str(error))


def _chosen(questions: list[Question]) -> Question:
    if len(questions) == 1:
        return questions[0]
    names = [question.name for question in questions]
    name = st.selectbox("Measured on", names, key="measured", bind="query-params")
    return questions[names.index(name)]


def _question(question: Question) -> None:
    names = [one.name for one in question.measured]
    picked = names
    if len(names) > 1:
        picked = st.multiselect("Encoders", names, names, format_func=printable, key=f"encoders {question.name}")
    measured = [one for one in question.measured if one.name in picked]
    markup.faint(question.about)
    if not measured:
        markup.notice("Choose at least one encoder.", kind="info")
        return
    if any(one.few_shot for one in measured):
        from ..components.charts import few_shot  # Altair takes a second

        left, right = st.columns([3, 2], gap="large")
        with left:
            _accuracy(question, measured)
        with right:
            markup.section("With few labels", "top-1 by training images per class; 95 % over the draws")
            st.altair_chart(few_shot([(one.name, one.few_shot) for one in measured]), alt="Top-1 by images per class")
    else:
        _accuracy(question, measured)
    _images(question, measured)


def _accuracy(question: Question, measured: list[Measured]) -> None:
    heads = {key: head for key, head in question.methods.items() if any(key in one.results for one in measured)}
    best = {key: probe_results.best_of(measured, key) for key in heads}
    rows = []
    for one in measured:
        cells = [markup.escaped(one.name)]
        for key in heads:
            result = one.results.get(key)
            if result is None:
                cells.append(NONE)
                continue
            low, high = result["top1_interval"]
            top = f"{100 * result['top1']:.1f} <small>± {50 * (high - low):.1f}</small>"
            if result["top1"] == best[key] and len(measured) > 1:
                top = f"<strong>{top}</strong>"
            below = [("balanced", "balanced"), ("top5", "top-5")]
            said = (f"{name} {100 * result[key]:.1f}" for key, name in below if result.get(key) is not None)
            cells.append(top + "".join(f"<br><small>{line}</small>" for line in said))
        rows.append(cells)
    markup.section(
        "Accuracy",
        "top-1 in percent with its 95 % interval; below it balanced accuracy (the mean over classes) and top-5",
    )
    markup.wide_table(["", *(markup.escaped(head) for head in heads.values())], rows)
    majority = next((one["majority"] for m in measured for one in m.results.values() if "majority" in one), None)
    if majority is not None:
        markup.faint(f"Always naming the commonest class is right for {100 * majority:.1f} % of the images.")


def _images(question: Question, measured: list[Measured]) -> None:
    """Classes, the confusion matrix and the images in its cells."""
    known = [(one, predictions) for one in measured if (predictions := _predictions(one)) is not None]
    if not known:
        markup.section("Classes and images")
        run = measured[0].report.parent.parent
        markup.notice(
            "These results do not say what each image was taken for; those of a newer probe do:",
            f"python -m simsiam_retrieval.probe {shlex.quote(str(run))} --train DIR --test DIR",
            kind="info",
        )
        return
    methods = [key for key in question.methods if any(_guesses(one, found, key) for one, found in known)]
    heads = question.methods
    first = "linear" if "linear" in methods else methods[0]
    method = st.segmented_control(
        "By",
        methods,
        default=first,
        required=True,
        format_func=lambda key: heads[key],
        key="method",
        bind="query-params",
        wrap=True,
    )
    known = [(one, found) for one, found in known if _guesses(one, found, method)]
    _classes(known, method)
    names = [one.name for one, _ in known]
    markup.section("Confusion", "rows: the true class; columns: what it was taken for; a click shows the images")
    name = names[0]
    if len(names) > 1:
        name = st.selectbox("Encoder", names, format_func=printable, key="of", bind="query-params", width=420)
    one, found = known[names.index(name)]
    guesses = _guesses(one, found, method)
    assert guesses is not None
    key = f"{question.name} {one.encoder} {method}"
    counts = counted(found.truth, guesses.predicted, len(found.classes))
    left = right = st.container()
    if len(found.classes) <= BESIDE:
        left, right = st.columns([3, 2], gap="large")
    with left:
        cell = _cell(found.classes, counts, key)
    with right:
        if cell is None:
            markup.faint("Every test image got its class.")
        else:
            cell_images(found, guesses, cell, key)


def _predictions(one: Measured) -> Predictions | None:
    """What is stored of the report; shared by all visitors, read again when the file changes."""
    try:
        stamp = one.report.stat().st_mtime_ns
    except OSError:
        return None
    found = _loaded(str(one.report), stamp)
    if found is None or one.position >= len(found.subjects) or found.subjects[one.position].encoder != one.encoder:
        return None
    return found


@st.cache_resource(show_spinner=False, max_entries=32)
def _loaded(report: str, stamp: int) -> Predictions | None:
    return load_predictions(Path(report))


def _guesses(one: Measured, found: Predictions, method: str) -> Guesses | None:
    return found.subjects[one.position].methods.get(method)


def _classes(known: Sequence[tuple[Measured, Predictions]], method: str) -> None:
    """Accuracy of each class, encoders side by side."""
    markup.section("By class", "top-1 in percent, with its 95 % interval")
    classes = known[0][1].classes
    same = [(one, found) for one, found in known if found.classes == classes]
    rows = []
    for number, name in enumerate(classes):
        of_class = known[0][1].truth == number
        images = int(of_class.sum())
        if not images:
            continue
        cells = [markup.escaped(name), f"{images:,}"]
        for one, found in same:
            guesses = _guesses(one, found, method)
            assert guesses is not None
            hits = int((guesses.predicted[found.truth == number] == number).sum())
            low, high = wilson(hits, images)
            part = 100 * hits / images
            cells.append(
                f'<span class="sr-bar" style="--part: {part:.1f}%"></span>{part:.1f} '
                f"<small>{100 * low:.0f} – {100 * high:.0f}</small>"
            )
        rows.append(cells)
    with st.container(height=420 if len(rows) > 12 else "content", border=False):
        markup.wide_table(["", "images", *(markup.escaped(one.name) for one, _ in same)], rows)


def _cell(classes: list[str], counts: np.ndarray, key: str) -> tuple[int, int] | None:
    """The cell whose images are shown: the one that was clicked, else the most frequent confusion."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = [(int(place // len(classes)), int(place % len(classes))) for place in order if wrong.flat[place]]
    if len(classes) > MATRIX:
        if not pairs:
            return None

        def said(pair: tuple[int, int]) -> str:
            return printable(f"{classes[pair[0]]} → {classes[pair[1]]}: {counts[pair]}")

        return st.selectbox("Confused most: true class → taken for", pairs, format_func=said, key=f"pair {key}")
    chosen = _cell_in_address(len(classes)) or (pairs[0] if pairs else None)
    clicked = confusion(classes, counts, chosen, key="matrix")
    if clicked is not None and clicked != chosen:
        st.query_params["cell"] = f"{clicked[0]}-{clicked[1]}"
        st.rerun()
    return chosen


def _cell_in_address(classes: int) -> tuple[int, int] | None:
    truth, _, guess = st.query_params.get("cell", "").partition("-")
    cell = as_number(truth), as_number(guess)
    if cell[0] is None or cell[1] is None or max(cell[0], cell[1]) >= classes:
        return None
    return cell[0], cell[1]
