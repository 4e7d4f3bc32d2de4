"""Curves of a training run."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

HEIGHT = 210  # pixels
INK = "#0d9488"  # stands out in the light and the dark theme


def curve(rows: list[dict[str, float]], key: str, *, marks: Sequence[float] = ()) -> alt.LayerChart:
    """``key`` over epochs. ``marks`` are values that the axis shows in any case, with a faint line at each."""
    drawn = [row for row in rows if key in row]
    values = [row[key] for row in drawn] + [0.0, *marks]
    scale = alt.Scale(domain=[min(values), max(values)], nice=not marks)
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(grid=False, tickCount=6))
    y = alt.Y(f"{key}:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5))
    tooltip = [alt.Tooltip("epoch:Q", format=".2f"), alt.Tooltip(f"{key}:Q", format=".4g")]
    table = pd.DataFrame(drawn, columns=["epoch", key])
    line = alt.Chart(table).mark_line(color=INK, strokeWidth=1.8, clip=True).encode(x=x, y=y, tooltip=tooltip)
    rules = alt.Chart(pd.DataFrame({key: list(marks)}))
    rules = rules.mark_rule(strokeDash=[3, 3], opacity=0.35).encode(y=alt.Y(f"{key}:Q"))
    return alt.LayerChart(layer=[rules, line]).properties(height=HEIGHT)
