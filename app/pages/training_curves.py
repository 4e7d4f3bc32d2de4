"""The curves of the Training page."""

import streamlit as st

from .. import markup
from .training_runs import Run, thinned

# key, name, what is worth knowing, values that the axis shows in any case
CHARTS = (
    ("loss", "Loss", "-1 is perfect agreement of two views, and no measure of success", (-1.0, 0.0)),
    ("std", "Spread", "1 is healthy, 0 is collapse: standard deviation of the outputs × √dim", (0.0, 1.0)),
    ("rankme", "Variety of features", "RankMe: directions that outputs of held-out images use", ()),
    ("view_retrieval", "View retrieval", "views that find the other view of their image, by features", ()),
    ("knn", "kNN accuracy", "held-out images whose neighbours share their folder", ()),
    ("lr", "Learning rate", "of the encoder", ()),
    ("images_per_second", "Images per second", "while training", ()),
)
MORE = (
    ("rankme_features", "Variety of the backbone’s features", "RankMe of what is kept after training", ()),
    ("variance_auc", "Variance AUC", "1 is a single direction", ()),
    ("alignment", "Alignment", "squared distance of two views' features; 0 when they agree", ()),
    ("uniformity", "Uniformity", "0 is one point, about -4 a full sphere", ()),
)


def draw_curves(found: dict[str, Run]) -> None:
    """Draw the curves of runs.

    Args:
        found: The runs by name.
    """
    series = {name: run for name, run in found.items() if run.rows}
    if not series:
        return
    from ..components.charts import curves

    more = st.toggle("All that the monitor measures", key="more")
    drawn = [
        chart
        for chart in (*CHARTS, *(MORE if more else ()))
        if any(run.newest(chart[0]) is not None for run in series.values())
    ]
    for start in range(0, len(drawn), 2):
        for place, (key, name, about, marks) in zip(st.columns(2, gap="large"), drawn[start : start + 2], strict=False):
            with place:
                markup.section(name, about)
                lines = [
                    (run_name, thinned([row for row in run.rows if key in row])) for run_name, run in series.items()
                ]
                st.altair_chart(curves(lines, key, marks=marks), alt=f"{name} over epochs")
