"""Section 5.2: SimSiam as alternating optimisation over the network and a target for each image."""

from .ablations import DEFAULT
from .table_rows import Row, Table

ALTERNATION = Table(
    name="alternation",
    title="Alternating optimisation: steps between two updates of η",
    section="5.2",
    asks="Is SimSiam the one-step case of an alternation that also works with longer steps?",
    rows=(
        Row("1-step", "1-step (SimSiam)", ("68.1",), DEFAULT),
        Row("10-step", "10-step", ("68.7",), {**DEFAULT, "alternation": 10}, at={"smoke": {"alternation": 2}}),
        Row("100-step", "100-step", ("68.9",), {**DEFAULT, "alternation": 100}, at={"smoke": {"alternation": 3}}),
        Row("1-epoch", "1-epoch", ("67.0",), {**DEFAULT, "alternation": 0}),
    ),
)

ETA_AVERAGE = Table(
    name="eta-average",
    title="Moving average of η, without a predictor",
    section="5.2",
    asks="Can an average over views stand in for the predictor?",
    rows=(
        Row(
            "average",
            "moving average, m = 0.8",
            ("55.0",),
            {"predictor": "none", "eta_average": 0.8},
            at={"smoke": {"epochs": 2}},  # the first epoch has nothing to average yet
        ),
        Row("none", "none (table 1 a)", ("0.1",), {"predictor": "none"}),
    ),
)
