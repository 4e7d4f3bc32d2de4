"""Section 6: SimSiam compared with related methods."""

from .ablations import DEFAULT
from .table_rows import Row, Table

METHODS = Table(
    name="table-4",
    title="Five Siamese methods",
    section="6.1",
    asks="How do SimCLR, MoCo v2, BYOL, SwAV and SimSiam compare when all are reproduced alike, on two views?",
    rows=(
        Row("simclr", "SimCLR", ("66.5", "68.3", "69.8", "70.4"), method="simclr"),
        Row("moco-v2", "MoCo v2", ("67.4", "69.9", "71.0", "72.2"), method="moco-v2"),
        Row("byol", "BYOL", ("66.5", "70.6", "73.2", "74.3"), method="byol"),
        Row("swav", "SwAV", ("66.5", "69.1", "70.7", "71.8"), method="swav"),
        # table 4 uses batches of 256, the ablations 512
        Row("simsiam", "SimSiam", ("68.1", "70.0", "70.8", "71.3"), DEFAULT, at={"imagenet": {"batch_size": 256}}),
    ),
    columns=("100 ep", "200 ep", "400 ep", "800 ep"),
)

_WITH = {"predictor": "mlp"}
PREDICTOR_ELSEWHERE = Table(
    name="predictor-elsewhere",
    title="SimSiam's parts in other methods",
    section="6.2",
    asks="Do predictor and stop-gradient help SimCLR, and can SwAV do without its stop-gradient?",
    rows=(
        Row("simclr", "SimCLR", ("66.5",), method="simclr"),
        Row(
            "simclr-predictor",
            "SimCLR with predictor",
            ("66.4",),
            {**_WITH, "stop_gradient": False},
            method="simclr",
        ),
        Row(
            "simclr-both",
            "SimCLR with predictor and stop-gradient",
            ("66.0",),
            {**_WITH, "stop_gradient": True},
            method="simclr",
        ),
        Row("swav", "SwAV", ("66.5",), method="swav"),
        Row("swav-predictor", "SwAV with predictor", ("65.2",), _WITH, method="swav"),
        Row("swav-no-stop-gradient", "SwAV without stop-gradient", ("NaN",), {"stop_gradient": False}, method="swav"),
    ),
)
