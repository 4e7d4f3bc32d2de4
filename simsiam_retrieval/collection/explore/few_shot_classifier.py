"""A classifier over stored vectors, trained with few labels: L2-regularised multinomial logistic regression.

scikit-learn solves it (L-BFGS, to convergence), so the same labels give the same classifier. Vectors are centred and
scaled by the mean and scale of all images of the collection. This is then folded into the weights, so the classifier
takes vectors as the encoder gives them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.threads import bounded_threads

# chosen from 1e-4 ... 1: between the best two values for 20 to 1,000 labels of ten classes (shipped encoder)
INVERSE_PENALTY = 0.05
ITERATIONS = 500
FOLDS = 5
MOST_CHECKED = 5000  # largest number of labelled images for cross-validation, to keep it within about a second
SEED = 0
FORMAT = "simsiam-retrieval-probe/1"


@dataclass(frozen=True)
class Scaling:
    """The standardisation of vectors before training: their mean, and one scale for all values.

    Attributes:
        mean: float32 (dim,).
        scale: Root of the mean variance.
    """

    mean: NDArray[np.float32]
    scale: float

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> "Scaling":
        """Compute the standardisation of vectors.

        Args:
            vectors: float32 (n, dim), n >= 1.

        Returns:
            The standardisation.
        """
        mean = vectors.mean(axis=0)
        # computes the mean square without a second array of this size
        square = float(np.einsum("ij,ij->", vectors, vectors, dtype=np.float64)) / vectors.size
        variance = square - float(np.square(mean, dtype=np.float64).mean())
        return cls(mean, float(np.sqrt(max(variance, 0.0))) or 1.0)

    def applied(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply it.

        Args:
            vectors: float32 (n, dim).

        Returns:
            float32 (n, dim).
        """
        return (vectors - self.mean) / np.float32(self.scale)


@dataclass(frozen=True)
class LinearProbe:
    """A trained classifier. Scores are ``vectors @ weight.T + bias``; their softmax gives the probabilities.

    Attributes:
        classes: Names, sorted.
        weight: float32 (classes, dim).
        bias: float32 (classes,).
    """

    classes: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the probabilities of the classes.

        Args:
            vectors: Unit vectors, float32 (n, dim).

        Returns:
            float32 (n, classes).
        """
        scores = vectors @ self.weight.T + self.bias
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    def as_onnx(self, encoder: str) -> bytes:
        """Export the classifier: ``vectors`` float32 (n, dim) -> ``probabilities`` (n, classes), ``class`` int64 (n,).

        The metadata contain the classes (JSON, in the order of the columns) and the encoder.

        Args:
            encoder: Identity of the encoder whose vectors it takes.

        Returns:
            The ONNX model.
        """
        from onnx import TensorProto, helper, numpy_helper

        count, dim = self.weight.shape
        nodes = [
            helper.make_node("Gemm", ["vectors", "weight", "bias"], ["scores"], transB=1),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["scores"], ["class"], axis=1, keepdims=0),
        ]
        graph = helper.make_graph(
            nodes,
            "linear_probe",
            [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", dim])],
            [
                helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", count]),
                helper.make_tensor_value_info("class", TensorProto.INT64, ["n"]),
            ],
            [numpy_helper.from_array(self.weight, "weight"), numpy_helper.from_array(self.bias, "bias")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        names = json.dumps(self.classes, ensure_ascii=False)
        helper.set_model_props(model, {"format": FORMAT, "classes": names, "encoder": encoder})
        return model.SerializeToString()


def load_solver() -> None:
    """Import what training needs, which takes a second: a program may do it in a thread before the first training."""
    import sklearn.linear_model
    import sklearn.model_selection  # noqa: F401


def train(vectors: NDArray[np.float32], labels: Sequence[str], scaling: Scaling) -> LinearProbe:
    """Train a classifier: minimise the summed cross-entropy + ||W||² / (2 C), C = 0.05, without penalty on the biases.

    Args:
        vectors: Unit vectors, float32 (n, dim).
        labels: n labels of two or more classes.
        scaling: Standardisation of the vectors.

    Returns:
        The classifier.
    """
    from sklearn.linear_model import LogisticRegression  # its import takes most of a second

    solver = LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS)
    with bounded_threads(1):  # the products are small: threads would only wait for each other
        solver.fit(scaling.applied(vectors), np.array(labels, dtype=object).astype(str))
    weight, bias = np.asarray(solver.coef_), np.asarray(solver.intercept_)
    if len(weight) == 1:  # two classes share one score; its sign decides
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / scaling.scale
    bias = bias - weight @ scaling.mean
    return LinearProbe(tuple(map(str, solver.classes_)), weight.astype(np.float32), bias.astype(np.float32))


@dataclass(frozen=True)
class CrossValidation:
    """Predictions for labelled images that were not used for training.

    Attributes:
        classes: Names of the classes with two or more images, sorted.
        rows: (n,), the labelled images that were used.
        truth: (n,), indices of classes.
        predicted: (n,), indices of classes.
        folds: Number of folds.
    """

    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    folds: int

    @property
    def hits(self) -> int:
        """Number of correct predictions."""
        return int((self.truth == self.predicted).sum())

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Confusion matrix (classes, classes): rows are labels, columns are predictions."""
        size = len(self.classes)
        return np.bincount(self.truth * size + self.predicted, minlength=size * size).reshape(size, size)


def cross_validate(vectors: NDArray[np.float32], labels: Sequence[str], scaling: Scaling) -> CrossValidation | None:
    """Run stratified cross-validation with at most five folds; fewer if the rarest class has fewer images.

    Classes with one image are left out, because they cannot be both trained and tested. Of more than 5,000 labelled
    images, 5,000 are drawn.

    Args:
        vectors: Unit vectors, float32 (n, dim).
        labels: n labels.
        scaling: Standardisation of the vectors.

    Returns:
        The predictions; None if fewer than two classes remain.
    """
    from sklearn.model_selection import StratifiedKFold

    drawn = np.arange(len(labels))
    if len(drawn) > MOST_CHECKED:
        drawn = np.sort(np.random.default_rng(SEED).choice(drawn, MOST_CHECKED, replace=False))
    names, numbers, counts = np.unique(
        np.array(labels, dtype=object).astype(str)[drawn], return_inverse=True, return_counts=True
    )
    kept = np.flatnonzero(counts > 1)
    if len(kept) < 2:
        return None
    counting = np.flatnonzero(np.isin(numbers, kept))
    rows, truth = drawn[counting], np.searchsorted(kept, numbers[counting])
    classes = tuple(str(name) for name in names[kept])
    folds = min(FOLDS, int(counts[kept].min()))
    predicted = np.empty_like(truth)
    for taught, tested in StratifiedKFold(folds, shuffle=True, random_state=SEED).split(rows, truth):
        probe = train(vectors[rows[taught]], [classes[number] for number in truth[taught]], scaling)
        found = probe.probabilities(vectors[rows[tested]]).argmax(axis=1)
        predicted[tested] = [classes.index(probe.classes[number]) for number in found]
    return CrossValidation(classes, rows, truth, predicted, folds)


def margins(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute how certain a classifier is: the best class's probability minus the second one's.

    Args:
        probabilities: float32 (n, classes).

    Returns:
        (n,); images with small values are the most useful to label next.
    """
    best = np.partition(probabilities, -2, axis=1)
    return best[:, -1] - best[:, -2]
