"""The ablations of SimSiam: section 4 and appendix B."""

from .table_rows import Row, Table

DEFAULT = {"predictor": "mlp", "predictor_lr": "constant"}  # fixed in all sections from 4.3 on
BASELINE = {"predictor_lr": "cosine"}  # in figure 2 and table 1 the predictor's rate decays like the encoder's

STOP_GRADIENT = Table(
    name="figure-2",
    title="With and without stop-gradient",
    section="4.1",
    asks="Does training collapse when the gradient flows into both sides?",
    rows=(
        Row("with", "with stop-gradient", ("67.7 ± 0.1",), BASELINE),
        Row("without", "without stop-gradient", ("0.1",), {**BASELINE, "stop_gradient": False}),
    ),
    curves=True,
)

PREDICTOR = Table(
    name="table-1",
    title="Predictor",
    section="4.2",
    asks="Is the prediction MLP needed, must it be trained, and should its learning rate decay?",
    rows=(
        Row("baseline", "baseline: lr with cosine decay", ("67.7",), BASELINE),
        Row("a", "(a) no predictor", ("0.1",), {"predictor": "none"}),
        Row("b", "(b) fixed at its random initialisation", ("1.5",), {"predictor": "fixed"}),
        Row("c", "(c) lr not decayed", ("68.1",), DEFAULT),
    ),
)

_BATCHES = {64: "66.1", 128: "67.3", 256: "68.1", 512: "68.1", 1024: "68.0", 2048: "67.9", 4096: "64.0"}
BATCH_SIZE = Table(
    name="table-2",
    title="Batch size",
    section="4.3",
    asks="How large must a batch be? SGD and the linear rule for the learning rate throughout.",
    rows=tuple(
        # from 1024 on, ten of a hundred epochs are warm-up
        Row(str(size), str(size), (figure,), {**DEFAULT, "batch_size": size}, warmup=0.1 if size >= 1024 else 0.0)
        for size, figure in _BATCHES.items()
    ),
)

BATCH_NORM = Table(
    name="table-3",
    title="Batch normalisation in the heads",
    section="4.4",
    asks="Where do the heads need BN, and is it BN that prevents collapse?",
    rows=(
        Row("a", "(a) none", ("34.6",), {**DEFAULT, "head_bn": "none"}, warmup=0.1),
        Row("b", "(b) hidden layers only", ("67.4",), {**DEFAULT, "head_bn": "hidden"}),
        Row("c", "(c) default: the projector's output too", ("68.1",), DEFAULT),
        Row("d", "(d) all: the predictor's output too", ("unstable",), {**DEFAULT, "head_bn": "all"}),
    ),
)

SIMILARITY = Table(
    name="similarity",
    title="Similarity function",
    section="4.5",
    asks="Is it the cosine that prevents collapse?",
    rows=(
        Row("cosine", "cosine", ("68.1",), DEFAULT),
        Row("cross-entropy", "cross-entropy", ("63.2",), {**DEFAULT, "similarity": "cross-entropy"}),
    ),
)

SYMMETRY = Table(
    name="symmetry",
    title="Symmetrisation",
    section="4.6",
    asks="Must both views predict each other?",
    rows=(
        Row("sym", "sym.", ("68.1",), DEFAULT),
        Row("asym", "asym.", ("64.8",), {**DEFAULT, "symmetry": "asymmetric"}),
        Row("asym-2x", "asym. 2×", ("67.3",), {**DEFAULT, "symmetry": "asymmetric-2x"}),
    ),
)

_WIDTHS = {256: "65.3", 512: "67.2", 1024: "67.5"}
OUTPUT_WIDTH = Table(
    name="output-width",
    title="Output dimension d",
    section="appendix B",
    asks="How wide must the output be? The predictor's hidden layer is always a quarter of it.",
    rows=(
        *(
            Row(
                str(width),
                str(width),
                (figure,),
                {**DEFAULT, "projector_dim": width, "predictor_dim": width // 4, "projector_hidden_dim": 2048},
            )
            for width, figure in _WIDTHS.items()
        ),
        Row("2048", "2048", ("68.1",), DEFAULT),
    ),
)
