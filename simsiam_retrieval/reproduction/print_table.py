"""Printing a table's results beside the paper's numbers, with notes on both. Imports no torch."""

import statistics
from collections.abc import Sequence
from typing import Any

from ..evaluation.probe_table import NONE, markdown_table
from .table_results import accuracies, failures, last_values, methods

HEADS = {"knn": "kNN, %", "linear": "linear, %", "linear-paper": "linear (paper's), %"}
LINEAR = {
    "quick": "linear: features of centre crops, a grid of learning rates and weight decays, chosen on a held-out fifth "
    "of the training images, {steps} steps",
    "paper": "linear: the paper's, LARS on random crops, {epochs} epochs",
    "off": "",
}


def markdown(content: dict[str, Any]) -> str:
    """Format a table's results as Markdown that is readable in a terminal, too.

    Args:
        content: Results of the table.

    Returns:
        Markdown.
    """
    head, body = cells(content)
    heading = f"**{content['title']}** (section {content['section'].removeprefix('section ')}): {content['asks']}"
    if content["section"].startswith("appendix"):
        heading = f"**{content['title']}** ({content['section']}): {content['asks']}"
    return "\n\n".join([heading, markdown_table(head, body), *notes(content)])


def cells(content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Compute the cells of the table. Rows that were not run have a dash.

    Args:
        content: Results of the table.

    Returns:
        Headings and rows.
    """
    measured = methods(content) or ["knn"]
    published = content["published"]
    head = [content["scale"], *(HEADS[name] for name in measured), "loss", "std × √d"]
    head += [f"paper, {column}" for column in content["paper"]["columns"]]
    head += [column["title"] for column in published]
    body = []
    for row in content["rows"]:
        line = [_label(row), *(_accuracy(row, name) for name in measured)]
        line += [spread(last_values(row, "loss"), "+.3f"), spread(last_values(row, "std"), ".2f")]
        line += [*row["paper"], *([""] * (len(content["paper"]["columns"]) - len(row["paper"])))]
        line += [column["figures"].get(row["key"], "") for column in published]
        body.append([cell or NONE for cell in line])
    baseline = content["baseline"]
    if baseline and any(accuracies(row, name) for row in content["rows"] for name in measured):
        figures = [baseline["results"].get(name, {}).get("top1") for name in measured]
        line = ["random weights, not trained", *(NONE if top is None else f"{100 * top:.1f}" for top in figures)]
        body.append(line + [NONE] * (len(head) - len(line)))
    return head, body


def _label(row: dict[str, Any]) -> str:
    return f"{row['label']} (here: {row['here']})" if row["here"] else row["label"]


def _accuracy(row: dict[str, Any], method: str) -> str:
    found, failed = accuracies(row, method), failures(row)
    if failed and not found:
        return "failed"
    text = spread(found, ".1f")
    return f"{text} ({len(failed)} failed)" if failed else text


def spread(values: Sequence[float], form: str) -> str:
    """Format one value, or mean ± standard deviation (n - 1) of several.

    Args:
        values: The values.
        form: Format specification.

    Returns:
        The text; a dash for no value.
    """
    if not values:
        return NONE
    if len(values) == 1:
        return format(values[0], form)
    return f"{format(statistics.mean(values), form)} ± {format(statistics.stdev(values), form.replace('+', ''))}"


def notes(content: dict[str, Any]) -> list[str]:
    """Explain the numbers, ours and the others', and list failed runs.

    Args:
        content: Results of the table.

    Returns:
        Paragraphs.
    """
    data, protocol, ours = content["data"], content["protocol"], content["settings"]
    runs = [run for row in content["rows"] for run in row["runs"]]
    if not runs:
        return ["Nothing has been run yet."]
    settings = (
        f"{ours['backbone']}, {ours['image_size']} px, batch {ours['batch_size']}, {_epochs(ours)}, unless the "
        f"row says otherwise; {data['train_images']} training and {data['test_images']} test images of "
        f"{data['classes']} classes (chance is {100 / data['classes']:.1f} %)"
    )
    linear = LINEAR[protocol["linear"]].format(**protocol)
    k = next((run["results"]["knn"]["k"] for run in runs if "knn" in run["results"]), protocol["k"])
    how = f"kNN: k = {k}, cosine, centre crops" + (f"; {linear}" if linear else "")
    parts = [f"Ours, scale {content['scale']}: {settings}. Top-1. {how}. Loss and std as training ended."]
    if content["scale"] == "smoke":
        parts.append("A few steps: they show that every row runs, and nothing else.")
    seeds = max(len(row["runs"]) for row in content["rows"])
    if seeds > 1:
        parts.append(f"Mean ± standard deviation over up to {seeds} seeds.")
    parts.append(f"Paper: {content['paper']['protocol']} ({content['paper']['source']}).")
    parts += [f"{column['title']}: {column['source']}." for column in content["published"]]
    made = [_made(kind) for kind in content["made"]]
    parts.append(f"Run on {'; and on '.join(made)}.")
    wrong = [f"{row['label']}: {reason}" for row in content["rows"] for reason in dict.fromkeys(failures(row))]
    return [" ".join(parts), *(["Failed, which is a result: " + "; ".join(wrong) + "."] if wrong else [])]


def _epochs(ours: dict[str, Any]) -> str:
    return f"{ours['epochs']} epoch" + ("s" if ours["epochs"] != 1 else "")


def _made(kind: dict[str, Any]) -> str:
    device, versions = kind["device"] or {}, kind["versions"] or {}
    named = [f"{name} {versions[name]}" for name in ("simsiam-retrieval", "torch") if name in versions]
    count = kind["processes"] or 1
    return ", ".join([(f"{count} × " if count > 1 else "") + str(device.get("name") or device.get("type")), *named])


def terminal(contents: Sequence[dict[str, Any]]) -> None:
    """Print tables to a terminal, in its width.

    Args:
        contents: Results of the tables.
    """
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console(highlight=False)
    for content in contents:
        head, body = cells(content)
        drawn = RichTable(title=f"{content['title']}: {content['asks']}", title_justify="left", title_style="bold")
        for number, name in enumerate(head):
            drawn.add_column(name, justify="left" if number == 0 else "right")
        for line in body:
            drawn.add_row(*line)
        console.print(drawn)
        for note in notes(content):
            console.print(note, markup=False, style="dim")
        console.print()
