"""Curves: of training runs, and of accuracy with few labels."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

HEIGHT = 210  # pixels
FEW = 60  # values of a curve that are drawn as points, too
# stand out in the light and the dark theme, and from each other
PALETTE = ("#0d9488", "#d97706", "#7c3aed", "#dc2626", "#2563eb", "#65a30d", "#db2777", "#78716c")
INK = PALETTE[0]


def curves(
    series: Sequence[tuple[str, list[dict[str, float]]]], key: str, *, marks: Sequence[float] = ()
) -> alt.LayerChart:
    """Draw a value over epochs, with a line for each run.

    Args:
        series: Name and rows of each run.
        key: Which value of the rows.
        marks: Values that the axis always includes, each with a faint line.

    Returns:
        The chart.
    """
    drawn = [(name, row["epoch"], row[key]) for name, rows in series for row in rows if key in row]
    values = [value for _, _, value in drawn] + [0.0, *marks]
    scale = alt.Scale(domain=[min(values), max(values)], nice=not marks)
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(grid=False, tickCount=6))
    y = alt.Y(f"{key}:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5))
    names = [name for name, _ in series]
    colour = alt.Color("run:N", legend=None, scale=alt.Scale(domain=names, range=list(PALETTE)))
    tooltip = [alt.Tooltip("run:N"), alt.Tooltip("epoch:Q", format=".2f"), alt.Tooltip(f"{key}:Q", format=".4g")]
    table = pd.DataFrame(drawn, columns=["run", "epoch", key])
    base = alt.Chart(table).encode(x=x, y=y, color=colour, tooltip=tooltip)
    # single values, and those that are far between, are no line
    layers = [base.mark_line(strokeWidth=1.8, clip=True)]
    if len(drawn) <= FEW * len(series):
        layers.append(base.mark_point(size=26, filled=True, opacity=1))
    rules = alt.Chart(pd.DataFrame({key: list(marks)}))
    rules = rules.mark_rule(strokeDash=[3, 3], opacity=0.35).encode(y=alt.Y(f"{key}:Q"))
    return alt.LayerChart(layer=[rules, *layers]).properties(height=HEIGHT)


def few_shot(rows: Sequence[tuple[str, Sequence[tuple[int, float, float, float]]]]) -> alt.LayerChart:
    """Draw top-1 accuracy and its interval by images per class, with a line for each name.

    Args:
        rows: Name, and (images per class, top-1, lower bound, upper bound) of each point.

    Returns:
        The chart.
    """
    table = pd.DataFrame(
        [(name, shots, 100 * top, 100 * low, 100 * high) for name, points in rows for shots, top, low, high in points],
        columns=["name", "shots", "top1", "low", "high"],
    )
    colour = alt.Color(
        "name:N",
        title=None,
        sort=None,
        scale=alt.Scale(range=PALETTE),
        legend=alt.Legend(orient="bottom", columns=1, labelLimit=300),
    )
    ticks = sorted(set(table["shots"].tolist()))
    x = alt.X(
        "shots:Q",
        title="images per class",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(grid=False, values=ticks),
    )
    base = alt.Chart(table).encode(x=x, color=colour)
    tooltip = ["name:N", "shots:Q", *(alt.Tooltip(f"{key}:Q", format=".1f") for key in ("top1", "low", "high"))]
    band = base.mark_errorbar(thickness=1.5, opacity=0.6).encode(
        y=alt.Y("low:Q", title="top-1, %"), y2="high:Q", tooltip=tooltip
    )
    line = base.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=40)).encode(y="top1:Q", tooltip=tooltip)
    return alt.LayerChart(layer=[band, line]).properties(height=300)
