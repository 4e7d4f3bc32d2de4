"""How a query's results stand out from the whole collection, as a small chart."""

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from simsiam_retrieval.collection import Collection

from .charts import INK

SAMPLE = 4_000  # images whose similarity is drawn
BINS = 60
HEIGHT = 170  # pixels, with its axis
ROOM = 1.6  # largest count that could be drawn, of the largest there is: names of rules stand above the bars


@st.cache_resource(show_spinner=False, max_entries=2)
def sampled(_collection: Collection, folder: str, generation: int) -> NDArray[np.float32]:
    """Read the vectors of a random sample.

    Args:
        _collection: The collection.
        folder: Its folder, for the cache.
        generation: Its generation, for the cache.

    Returns:
        float32 (m, dim), of up to ``SAMPLE`` images.
    """
    return _collection.sample(SAMPLE)


def spread(collection: Collection, query: NDArray[np.float32], noise: float | None, cut: float) -> None:
    """Draw how similar the images of the collection are to a query, with noise level and cut-off.

    Args:
        collection: The collection.
        query: float32 (dim,).
        noise: The query's noise level.
        cut: The cut-off.
    """
    cosines = sampled(collection, str(collection.folder), collection.generation) @ query
    if len(cosines) < 2:
        return
    low = float(np.floor(10 * min(cosines.min(), 0)) / 10)
    counts, edges = np.histogram(cosines, bins=BINS, range=(low, 1))
    bars = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "images": counts})
    x = alt.X("from:Q", bin="binned", title="similarity to the query", axis=alt.Axis(grid=False, tickCount=6))
    drawn = alt.Chart(bars).mark_bar(color=INK, opacity=0.75)
    drawn = drawn.encode(
        x=x,
        x2="to:Q",
        # so that a handful of near ones can be seen beside thousands
        y=alt.Y("images:Q", title=None, scale=alt.Scale(type="sqrt", domain=[0, ROOM * int(counts.max())]), axis=None),
        tooltip=[alt.Tooltip("from:Q", format=".2f"), alt.Tooltip("to:Q", format=".2f"), "images:Q"],
    )
    marks = [("may be chance", noise)] if noise is not None else []
    marks += [("cut-off", cut)] if cut else []
    layers: list[alt.Chart] = [drawn]
    if marks:
        table = pd.DataFrame(marks, columns=["what", "at"])
        at = alt.Chart(table).encode(x="at:Q", tooltip=["what:N", alt.Tooltip("at:Q", format=".3f")])
        colour = alt.Color(
            "what:N", legend=None, scale=alt.Scale(domain=["may be chance", "cut-off"], range=["#d97706", "#64748b"])
        )
        layers.append(at.mark_rule(strokeDash=[4, 3], strokeWidth=1.5).encode(color=colour))
        # at the end of the rule, to its left: most of the room is there
        names = at.mark_text(align="right", baseline="top", dx=-5, fontSize=11).encode(text="what:N", color=colour)
        layers.append(names.encode(y=alt.value(0) if len(marks) == 1 else alt.Y("what:N", axis=None)))
    chart = alt.LayerChart(layer=layers).properties(height=HEIGHT)
    st.altair_chart(chart if len(marks) < 2 else chart.resolve_scale(y="independent"), width="stretch")
