"""Probe reports as Markdown tables, for a terminal, a model card or a README. Imports no torch: it must start fast."""

from collections.abc import Sequence
from typing import Any

# key of a result -> heading of its column; {k} is the number of neighbours
CLASSIFIERS = {
    "knn": "kNN k={k}",
    "knn-20": "kNN k={k}",
    "knn-whitened": "whitened kNN k={k}",
    "linear": "linear",
    "linear-paper": "linear, paper",
}
NONE = "–"


def markdown(reports: Sequence[dict[str, Any]]) -> str:
    """Format reports. Reports on equal data share one heading; of one encoder on equal data the newest is used.

    Args:
        reports: The reports.

    Returns:
        Markdown.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for report in sorted(reports, key=lambda report: str(report["created"])):
        data = report["data"]
        groups.setdefault((data["train_fingerprint"], data["test_fingerprint"]), []).append(report)
    return "\n\n".join(_group(group) for group in groups.values())


def _group(reports: list[dict[str, Any]]) -> str:
    subjects: dict[str, dict[str, Any]] = {}
    for report in reports:  # encoders first, in the order of the reports; then the baselines
        subjects[report["encoder"]] = report
    baselines = {row["encoder"]: row for report in reports for row in report["baselines"]}
    rows = [*subjects.values(), *(row for identity, row in baselines.items() if identity not in subjects)]
    newest = reports[-1]
    parts = [
        f"**{newest['test']}**: {newest['test_images']} test images, {newest['train_images']} training images "
        f"({newest['train']}), {newest['classes']} classes",
        _accuracy(rows),
        _features(rows),
    ]
    if any(row.get("few_shot") for row in rows):
        parts.append(_few_shot(rows))
    if any("duplicates" in row for row in rows):
        parts.append(_duplicates(rows))
    return "\n\n".join(parts)


def _accuracy(rows: list[dict[str, Any]]) -> str:
    keys = [key for key in CLASSIFIERS if any(key in row["results"] for row in rows)]
    header = ["top-1, %", *(CLASSIFIERS[key].format(**_first(rows, key)) for key in keys)]
    body = [[_name(row), *(_percent(row["results"].get(key, {}).get("top1")) for key in keys)] for row in rows]
    intervals = [one["top1_interval"] for row in rows for one in row["results"].values()]
    half = max((high - low) / 2 for low, high in intervals)
    table = markdown_table(header, body)
    parts = [table, f"95 % intervals (Wilson, over test images): ± {100 * half:.1f} points at most."]
    majority = next((one["majority"] for row in rows for one in row["results"].values() if "majority" in one), None)
    if majority is not None:  # reports of older versions do not say it
        header = ["balanced accuracy, %", *header[1:]]
        body = [[_name(row), *(_percent(row["results"].get(key, {}).get("balanced")) for key in keys)] for row in rows]
        parts += [
            markdown_table(header, body),
            f"Balanced: the mean of what is right in each class. Always naming the commonest class is right for "
            f"{100 * majority:.1f} % of the images.",
        ]
    return "\n\n".join(parts)


def _first(rows: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return {"k": NONE, **next(row["results"][key] for row in rows if key in row["results"])}


def _features(rows: list[dict[str, Any]]) -> str:
    header = ["features", "R@1, %", "R@5", "R@10", "mAP@R", "RankMe / d", "α-ReQ", "variance AUC", "uniformity"]
    views = any("lidar" in row["quality"] for row in rows)
    header += ["alignment", "LiDAR"] if views else []
    body = []
    for row in rows:
        found = (row["retrieval"] or {}).get("own_left_out", {})
        quality = row["quality"]
        cells = [_percent(found.get(key)) for key in ("recall@1", "recall@5", "recall@10", "map@r")]
        cells.append(f"{_number(quality.get('rankme'), 1)} / {row['dim']}")
        cells += [_number(quality.get(key), 2) for key in ("alpha_req", "explained_variance_auc", "uniformity")]
        if views:
            cells += [_number(quality.get("alignment"), 2), _number(quality.get("lidar"), 1)]
        body.append([_name(row), *cells])
    return markdown_table(header, body)


def _few_shot(rows: list[dict[str, Any]]) -> str:
    shots = sorted({one["shots"] for row in rows for one in row.get("few_shot", [])})
    header = ["top-1, %, images per class", *map(str, shots)]
    body = []
    for row in rows:
        found = {one["shots"]: one for one in row.get("few_shot", [])}
        body.append([_name(row), *(_with_interval(found.get(number)) for number in shots)])
    return markdown_table(header, body)


def _with_interval(one: dict[str, Any] | None) -> str:
    if one is None:
        return NONE
    low, high = one["top1_interval"]
    return f"{100 * one['top1']:.1f} ± {50 * (high - low):.1f}"


def _duplicates(rows: list[dict[str, Any]]) -> str:
    kinds = next(list(row["duplicates"]["recall_by_kind"]) for row in rows if "duplicates" in row)
    header = ["near-duplicates", "AP, %", "best F1", "recall at 99 % precision", "cosine there", *kinds]
    body = []
    for row in rows:
        found = row.get("duplicates")
        if found is None:
            body.append([_name(row), *[NONE] * (len(header) - 1)])
            continue
        cells = [_percent(found[key]) for key in ("average_precision", "best_f1", "recall_at_99_precision")]
        cells.append(_number(found["threshold_at_99_precision"], 3))
        body.append([_name(row), *cells, *(_percent(found["recall_by_kind"][kind]) for kind in kinds)])
    images = next(row["duplicates"]["images"] for row in rows if "duplicates" in row)
    table = markdown_table(header, body)
    return f"{table}\n\nFour altered copies of each of {images} images; one pair in {images} is a near-duplicate."


def _name(row: dict[str, Any]) -> str:
    name = str(row["name"]).replace("|", "\\|")
    return f"{name} ({row['encoder'][:8]})" if "results" in row and row["about"].startswith("encoder") else name


def _percent(part: float | None) -> str:
    return NONE if part is None else f"{100 * part:.1f}"


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def markdown_table(header: list[str], body: list[list[str]]) -> str:
    """Format a Markdown table whose columns are aligned in plain text, too.

    Args:
        header: Headings.
        body: Rows of cells.

    Returns:
        Markdown.
    """
    widths = [max(len(row[column]) for row in [header, *body]) for column in range(len(header))]

    def line(cells: list[str]) -> str:
        first, rest = cells[0].ljust(widths[0]), [cell.rjust(w) for cell, w in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join([first, *rest])} |"

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |"
    return "\n".join([line(header), rule, *map(line, body)])
