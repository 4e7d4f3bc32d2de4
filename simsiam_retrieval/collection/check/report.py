"""A report of problems as a table, JSON, CSV, or an HTML page that opens without a server."""

import base64
import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ...core.atomic_files import replacing
from ..collection import Collection
from ..types import Item
from .find_problems import Report
from .problems import KINDS, Problem

SHOWN = 200  # problems of each kind on the page; a thumbnail takes about 20 kB
COLUMNS = ("kind", "path", "id", "score", "reason", "other", "fine")


def as_json(report: Report) -> str:
    """Format a report as JSON: counts, skipped kinds, and the problems, the worst of each kind first.

    Args:
        report: The report.

    Returns:
        JSON.
    """
    found = {
        "images": report.images,
        "not_measured": report.not_measured,
        "counts": report.counts(),
        "skipped": report.skipped,
        "leaks": [leaks.as_dict() for leaks in report.leaks],
        "problems": [problem.as_dict() for problem in report.problems],
    }
    return json.dumps(found, indent=2)


def as_csv(problems: Sequence[Problem], shown: Callable[[str], str] = str) -> str:
    """Format problems as CSV: one line per problem.

    Args:
        problems: The problems.
        shown: Converts a path to text.

    Returns:
        CSV with a header line.
    """
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for problem in problems:
        row = problem.as_dict()
        row["path"], row["other"] = shown(problem.path), None if problem.other is None else shown(problem.other)
        writer.writerow(row | {"fine": int(problem.fine)})
    return text.getvalue()


def write_page(collection: Collection, report: Report, file: Path) -> None:
    """Write ``page_of_report`` into a file.

    Args:
        collection: The collection.
        report: The report.
        file: The HTML file.
    """
    with replacing(file) as temporary:
        temporary.write_text(page_of_report(collection, report), encoding="utf-8", errors="replace")


def page_of_report(collection: Collection, report: Report) -> str:
    """Show the problems with their thumbnails on one HTML page, up to 200 of each kind; those that are fine, too.

    Args:
        collection: The collection.
        report: The report.

    Returns:
        HTML; it loads nothing from elsewhere.
    """
    images = f"{report.images} image{'' if report.images == 1 else 's'}"
    parts = [_HEAD, f"<h1>{_text(collection.folder.name)}: {images}</h1>"]
    if not report.problems:
        parts.append("<p>Nothing was found.</p>")
    parts += [f"<p>{_text(line)}</p>" for line in report.skipped_lines()]
    parts += [f"<p>{_text(line)}</p>" for line in leak_lines(report)]
    for kind in KINDS:
        found = [problem for problem in report.problems if problem.kind == kind]
        if not found:
            continue
        count, problems = len(found), found[:SHOWN]
        more = f", the first {len(problems)} shown" if count > len(problems) else ""
        parts.append(
            f"<section><h2>{_text(kind)} <small>{count}{more}; {_text(KINDS[kind])}</small></h2>"
            f'<label>show <input type="range" min="1" max="{len(problems)}" value="{len(problems)}">'
            f" <output>{len(problems)}</output></label><div class=grid>"
        )
        parts += [_tile(collection, problem) for problem in problems]
        parts.append("</div></section>")
    parts.append(_SCRIPT)
    return "\n".join(parts)


def leak_lines(report: Report) -> list[str]:
    """Say what leaked between splits, and what that does to the kNN accuracy.

    Args:
        report: The report.

    Returns:
        One line for each pair of splits.
    """
    lines = []
    for one in report.leaks:
        exact = f", {one.exact:,} with the same bytes" if one.exact else ""
        line = f"{one.test}: {one.leaked:,} of {one.images:,} images ({one.share:.1%}) are in {one.train}, too{exact}"
        if one.accuracy is not None and one.leaked:
            without = "none is left" if one.accuracy_without is None else f"{one.accuracy_without:.1%}"
            line += f"; kNN accuracy {one.accuracy:.1%} with them, without them {without}"
        elif one.accuracy is not None:
            line += f"; kNN accuracy {one.accuracy:.1%}"
        lines.append(line)
    return lines


def _tile(collection: Collection, problem: Problem) -> str:
    shown = _picture(collection, problem.item)
    other = ""
    if problem.other:
        shown = f"<div class=pair>{shown}{_picture(collection, collection.item_at(Path(problem.other)))}</div>"
        other = f"<br>like (right) {_text(problem.other)}"
    return (
        f"<figure>{shown}<figcaption><b>{problem.score:.2f}</b> {_text(problem.reason)}"
        f"{' (fine)' if problem.fine else ''}<br>{_text(problem.path)}{other}</figcaption></figure>"
    )


def _picture(collection: Collection, item: Item | None) -> str:
    thumbnail = None if item is None else collection.thumbnail(item.id)
    if not thumbnail:
        return "<div class=none>no picture</div>"
    return f'<img loading="lazy" alt="" src="data:image/jpeg;base64,{base64.b64encode(thumbnail).decode()}">'


def _text(text: str) -> str:
    return html.escape(text)


_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>check</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; background: #fff }
small { font-weight: normal; color: #666 }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 12px; margin: 12px 0 }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 2px }
figure { margin: 0 } figure[hidden] { display: none }
img, .none { width: 100%; height: 160px; object-fit: contain; background: #f2f2f2 }
.none { display: grid; place-items: center; color: #888 }
figcaption { overflow-wrap: anywhere; font-size: 12px }
</style>"""

_SCRIPT = """<script>
for (const section of document.querySelectorAll("section")) {
  const slider = section.querySelector("input"), tiles = section.querySelectorAll("figure")
  slider.addEventListener("input", () => {
    section.querySelector("output").textContent = slider.value
    tiles.forEach((tile, place) => { tile.hidden = place >= Number(slider.value) })
  })
}
</script></html>"""
