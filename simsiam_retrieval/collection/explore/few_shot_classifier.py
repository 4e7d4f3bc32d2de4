"""A linear probe over stored vectors, taught with few labels: L2-regularised multinomial logistic regression.

scikit-learn solves it (L-BFGS, to convergence), so the same labels give the same probe. Vectors are centred and scaled
by what all images of the collection have in common; that is folded into the weights afterwards, so that the probe takes
vectors as the encoder gives them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of 1e-4 ... 1, between the best two for 20 to 1,000 labels of ten kinds of photos (shipped encoder)
INVERSE_PENALTY = 0.05
ITERATIONS = 500
FOLDS = 5
MOST_CHECKED = 5000  # labelled images that cross-validation takes, so that it stays a matter of a second
SEED = 0
FORMAT = "simsiam-retrieval-probe/1"


@dataclass(frozen=True)
class Scaling:
    """What is taken from vectors before they are learnt from: their mean, and one scale for all values."""

    mean: NDArray[np.float32]  # (dim,)
    scale: float

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> "Scaling":
        """That of ``vectors`` (n, dim), n >= 1."""
        mean = vectors.mean(axis=0)
        # the mean square without a second array of that size
        square = float(np.einsum("ij,ij->", vectors, vectors, dtype=np.float64)) / vectors.size
        variance = square - float(np.square(mean, dtype=np.float64).mean())
        return cls(mean, float(np.sqrt(max(variance, 0.0))) or 1.0)

    def applied(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return (vectors - self.mean) / np.float32(self.scale)


@dataclass(frozen=True)
class LinearProbe:
    """A trained probe. Scores are ``vectors @ weight.T + bias``; their softmax is the probability of each class."""

    classes: tuple[str, ...]  # sorted
    weight: NDArray[np.float32]  # (classes, dim)
    bias: NDArray[np.float32]  # (classes,)

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, classes) for unit ``vectors`` (n, dim)."""
        scores = vectors @ self.weight.T + self.bias
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    def as_onnx(self, encoder: str) -> bytes:
        """An ONNX model: ``vectors`` float32 (n, dim) -> ``probabilities`` (n, classes), ``class`` int64 (n,).

        Its metadata name the classes (JSON, in the order of the columns) and the ``encoder`` whose vectors it takes.
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


def train(vectors: NDArray[np.float32], labels: Sequence[str], scaling: Scaling) -> LinearProbe:
    """Learn from unit ``vectors`` (n, dim) with their ``labels`` (n), of two classes or more.

    Minimises the summed cross-entropy + ||W||² / (2 C), C = 0.05, over vectors that were scaled; biases are free.
    """
    from sklearn.linear_model import LogisticRegression  # takes most of a second

    solver = LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS)
    solver.fit(scaling.applied(vectors), np.array(labels, dtype=object).astype(str))
    weight, bias = np.asarray(solver.coef_), np.asarray(solver.intercept_)
    if len(weight) == 1:  # two classes have one score, its sign says which
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / scaling.scale
    bias = bias - weight @ scaling.mean
    return LinearProbe(tuple(map(str, solver.classes_)), weight.astype(np.float32), bias.astype(np.float32))


@dataclass(frozen=True)
class CrossValidation:
    """What probes say of labelled images that they were not taught."""

    classes: tuple[str, ...]  # sorted; those with two images or more
    rows: NDArray[np.int64]  # (n,), the labelled images that count
    truth: NDArray[np.int64]  # (n,), indices into classes
    predicted: NDArray[np.int64]  # (n,)
    folds: int

    @property
    def hits(self) -> int:
        return int((self.truth == self.predicted).sum())

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(classes, classes): rows are the labels, columns what was predicted."""
        size = len(self.classes)
        return np.bincount(self.truth * size + self.predicted, minlength=size * size).reshape(size, size)


def cross_validate(vectors: NDArray[np.float32], labels: Sequence[str], scaling: Scaling) -> CrossValidation | None:
    """Stratified cross-validation with at most five folds, as many as the rarest class that counts has images.

    Classes with one image cannot be both taught and tested: they are left out. None where fewer than two remain.
    Of more than 5,000 labelled images so many are drawn.
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
    """How sure a probe is: the best class's probability less the second one's, (n,). Small ones are worth a label."""
    best = np.partition(probabilities, -2, axis=1)
    return best[:, -1] - best[:, -2]
