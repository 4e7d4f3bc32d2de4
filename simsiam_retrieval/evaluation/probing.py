"""The probe: frozen features of two labelled folders -> kNN and linear accuracy, kept as a file."""

from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from .._version import __version__
from ..encoder import Encoder
from ..files import write_json
from .accuracy import top_1_and_5
from .knn import knn_scores
from .labelled import Labelled
from .linear import fit

PROTOCOL = (
    "Frozen features of centre crops. kNN: cosine, k={k}, weights exp(cosine/{temperature}). "
    "Linear: multinomial logistic regression on standardised features, L2 chosen on a fifth of the training images."
)


def probe(train: Labelled, test: Labelled, *, k: int = 20, temperature: float = 0.1, seed: int = 0) -> dict[str, Any]:
    """Accuracy of kNN and of a linear classifier, trained on ``train``, on ``test``.

    Returns ``{"knn": {...}, "linear": {...}}`` with top1 (and top5 above five classes) in [0, 1].
    """
    features, labels = torch.from_numpy(train.features), torch.from_numpy(train.labels)
    queries, truth = torch.from_numpy(test.features), torch.from_numpy(test.labels)
    classes = len(train.classes)
    k = min(k, len(features))
    neighbours = knn_scores(features, labels, queries, classes, k=k, temperature=temperature)
    linear = fit(features, labels, classes, seed=seed)
    return {
        "knn": {**top_1_and_5(neighbours, truth), "k": k, "temperature": temperature},
        "linear": {**top_1_and_5(linear.scores(queries), truth), "l2": linear.penalty},
    }


def report(
    results: dict[str, Any], encoder: Encoder, train: tuple[Path, Labelled], test: tuple[Path, Labelled]
) -> dict[str, Any]:
    """Everything that a reader of the numbers needs to know, as it goes into the file."""
    return {
        "protocol": PROTOCOL.format(k=results["knn"]["k"], temperature=results["knn"]["temperature"]),
        "encoder": encoder.identity,
        "train": str(train[0]),
        "test": str(test[0]),
        "classes": len(train[1].classes),
        "train_images": len(train[1].labels),
        "test_images": len(test[1].labels),
        "results": results,
        "version": __version__,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def save_report(run: Path, content: dict[str, Any]) -> Path:
    """Keep a report in the run folder's ``eval/``; returns the file."""
    folder = run / "eval"
    folder.mkdir(exist_ok=True)
    file = folder / f"probe-{datetime.now().strftime('%Y%m%d-%H%M%S-%f')[:-3]}.json"
    write_json(file, content)
    return file
