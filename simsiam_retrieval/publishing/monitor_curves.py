"""The curves of a run's training monitor as one picture."""

from pathlib import Path
from typing import Any

# (key in metrics.jsonl, title, value of a reference line)
CURVES = (
    ("loss", "loss", -1.0),
    ("std", "std of z, 1 is healthy, 0 collapse", 0.0),
    ("rankme", "RankMe of held-out z", 0.0),
    ("rankme_features", "RankMe of held-out features", 0.0),
    ("view_retrieval", "view retrieval, held-out images", 0.0),
    ("knn", "kNN top-1, held-out images", 0.0),
)
COLUMNS = 3
INK = "#0d9488"


def draw_curves(metrics: list[dict[str, Any]], file: Path) -> bool:
    """Draw the monitor's values over the epochs as a PNG file. Equal rows give equal bytes.

    Args:
        metrics: Rows of ``metrics.jsonl``.
        file: The PNG file to write.

    Returns:
        False if there is nothing to draw; then no file is written.
    """
    drawn = [curve for curve in CURVES if sum(curve[0] in row for row in metrics) > 1]
    if not drawn:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = -(-len(drawn) // COLUMNS)
    figure = Figure(figsize=(3.6 * min(COLUMNS, len(drawn)), 2.5 * lines), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (key, title, shown) in enumerate(drawn):
        axes = figure.add_subplot(lines, min(COLUMNS, len(drawn)), place + 1)
        rows = [row for row in metrics if key in row]
        axes.plot([row["epoch"] for row in rows], [row[key] for row in rows], color=INK, linewidth=1.3)
        axes.axhline(shown, color="black", alpha=0.25, linewidth=0.8, linestyle="--")
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format="png", metadata={"Software": None})
    return True
