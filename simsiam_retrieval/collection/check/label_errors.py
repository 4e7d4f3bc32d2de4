"""Labels that are probably wrong: confident learning on cross-validated probes, and the neighbours' labels.

Confident learning (Northcutt, Jiang & Chuang 2021, section 3) counts an image as one of another class where a probe
that never saw it gives that class at least the mean probability that the class's own images have.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ..explore.few_shot_classifier import FOLDS, SEED, Scaling, train
from .outliers import neighbours

NEIGHBOURS = 10
VOTES = 0.25  # weight of the neighbours' share; chosen on Caltech-101, Imagenette and clothing photos
MOST_REFERENCES = 20_000  # labelled images that neighbours are looked for among


@dataclass(frozen=True)
class Suspicions:
    """What speaks for and against the labels of n images.

    Attributes:
        classes: Class names, sorted; those with two images or more.
        rows: Places of the images that were judged among those given, (m,).
        truth: Their labels, indices into ``classes``, (m,).
        probabilities: Of a probe that did not see them, (m, classes).
        votes: Shares of the classes among the nearest other images, (m, classes).
        likely: The class that speaks against the label, index into ``classes``, (m,).
        score: How little the probe and the neighbours believe the label, 0 to 1, (m,).
        confident: Whether confident learning counts the image to another class, (m,).
        nearest: For each image the place of its nearest neighbour of class ``likely``; -1 without one, (m,).
    """

    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    votes: NDArray[np.float32]
    likely: NDArray[np.int64]
    score: NDArray[np.float32]
    confident: NDArray[np.bool_]
    nearest: NDArray[np.int64]


def find_label_errors(vectors: NDArray[np.float32], labels: Sequence[str]) -> Suspicions:
    """Judge labels by probes that were taught the other images, and by the labels of the neighbours.

    The score is 1 less the probability of the label: that of a probe, and with a quarter of its weight the share among
    ten neighbours (benchmarks/check.py). Classes with one image cannot be judged and are left out.

    Args:
        vectors: Unit vectors, (n, dim).
        labels: Their labels, (n,).

    Returns:
        What was found.

    Raises:
        UserError: Fewer than two classes have two images or more.
    """
    names, numbers, counts = np.unique(
        np.array(labels, dtype=object).astype(str), return_inverse=True, return_counts=True
    )
    kept = np.flatnonzero(counts > 1)
    if len(kept) < 2:
        raise UserError(
            f"{len(kept)} of {len(names)} classes have two images or more, and label errors need two such classes: "
            "give the same label to more images"
        )
    rows = np.flatnonzero(np.isin(numbers, kept))
    truth = np.searchsorted(kept, numbers[rows])
    classes = tuple(map(str, names[kept]))
    own = vectors[rows]
    probabilities = _cross_validated(own, truth, classes, min(FOLDS, int(counts[kept].min())))
    drawn = np.arange(len(rows))
    if len(drawn) > MOST_REFERENCES:
        drawn = np.sort(np.random.default_rng(SEED).choice(drawn, MOST_REFERENCES, replace=False))
    k = min(NEIGHBOURS, len(drawn) - 1)
    _, places = neighbours(own, drawn, k)
    found = drawn[places]
    votes = np.zeros_like(probabilities)
    np.add.at(votes, (np.arange(len(rows))[:, None], truth[found]), np.float32(1 / k))
    both = (probabilities + VOTES * votes) / (1 + VOTES)
    every = np.arange(len(rows))
    score = (1 - both[every, truth]).astype(np.float32)
    others = both.copy()
    others[every, truth] = -1
    likely = others.argmax(axis=1)
    same = truth[found] == likely[:, None]
    nearest = np.where(same.any(axis=1), rows[found[every, same.argmax(axis=1)]], -1)
    return Suspicions(
        classes, rows, truth, probabilities, votes, likely, score, _confident(probabilities, truth), nearest
    )


def _cross_validated(
    vectors: NDArray[np.float32], truth: NDArray[np.int64], classes: tuple[str, ...], folds: int
) -> NDArray[np.float32]:
    from sklearn.model_selection import StratifiedKFold

    scaling = Scaling.of(vectors)
    probabilities = np.zeros((len(truth), len(classes)), np.float32)
    for taught, tested in StratifiedKFold(folds, shuffle=True, random_state=SEED).split(vectors, truth):
        probe = train(vectors[taught], [classes[number] for number in truth[taught]], scaling)
        columns = [classes.index(name) for name in probe.classes]
        probabilities[np.ix_(tested, np.array(columns))] = probe.probabilities(vectors[tested])
    return probabilities


def _confident(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Off the diagonal of the confident joint (equation 1 of the paper)."""
    size = probabilities.shape[1]
    sums = np.zeros(size)
    np.add.at(sums, truth, probabilities[np.arange(len(truth)), truth])
    thresholds = sums / np.maximum(np.bincount(truth, minlength=size), 1)
    above = np.where(probabilities >= thresholds, probabilities, -1)
    return (above.max(axis=1) >= 0) & (above.argmax(axis=1) != truth)
