"""Curves of a table's rows as one picture, like the paper's figure 2: loss, output std and kNN accuracy over epochs."""

from pathlib import Path
from typing import Any

from ..training.run_files import read_metrics

PANELS = (("loss", "training loss"), ("std", "output std × √d"), ("knn", "kNN accuracy, held-out images"))
COLOURS = ("#0d9488", "#d97706", "#7c3aed", "#dc2626", "#2563eb", "#65a30d", "#db2777", "#78716c")


def draw_rows(content: dict[str, Any], out: Path, file: Path) -> None:
    """Draw the first run of each row as a PNG file. Equal numbers give equal bytes.

    Args:
        content: Results of the table (``table_results.gather``).
        out: Folder of all runs.
        file: The PNG file to write.
    """
    series = [
        (row["label"], colour, read_metrics(out / row["runs"][0]["folder"]))
        for row, colour in zip(content["rows"], COLOURS, strict=False)
        if row["runs"]
    ]
    panels = [panel for panel in PANELS if any(panel[0] in row for _, _, rows in series for row in rows)] or PANELS[:1]
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(panels), 3.1), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (key, title) in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), place)
        for label, colour, rows in series:
            drawn = [row for row in rows if row.get(key) is not None]
            mark = "o" if len(drawn) < 12 else None  # few values need marks to be visible
            axes.plot(
                [row["epoch"] for row in drawn],
                [row[key] for row in drawn],
                color=colour,
                linewidth=1.4,
                marker=mark,
                markersize=3,
                label=label,
            )
        if key != "loss":
            axes.set_ylim(bottom=0)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), fontsize=8, frameon=False)
    figure.savefig(file, format="png", metadata={"Software": None})
