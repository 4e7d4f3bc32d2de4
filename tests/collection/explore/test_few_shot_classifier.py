"""The probe that is taught with labels, against closed conditions, scikit-learn on its own, and ONNX Runtime."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix

from simsiam_retrieval.collection.explore import few_shot_classifier
from simsiam_retrieval.collection.explore.few_shot_classifier import (
    FOLDS,
    INVERSE_PENALTY,
    LinearProbe,
    Scaling,
    cross_validate,
    margins,
    train,
)


def blobs(count: int, classes: int, spread: float, dim: int = 16) -> tuple[np.ndarray, list[str]]:
    """Unit vectors round ``classes`` directions that share a large common part, as an encoder's do."""
    draws = np.random.default_rng(3)
    centres = draws.normal(size=(classes, dim)) + 3
    numbers = np.arange(count) % classes
    vectors = centres[numbers] + spread * draws.normal(size=(count, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"class {number}" for number in numbers]


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_probe_is_at_the_minimum_of_its_loss(classes: int) -> None:
    vectors, labels = blobs(60, classes, 1.5)
    scaling = Scaling.of(vectors)
    np.testing.assert_allclose(scaling.mean, vectors.mean(0), atol=1e-6)
    assert scaling.scale == pytest.approx(np.sqrt(np.mean((vectors - vectors.mean(0)) ** 2)), rel=1e-4)
    probe = train(vectors, labels, scaling)
    assert probe.classes == tuple(sorted(set(labels)))

    # the gradient of the summed cross-entropy + penalty, written out: x' (p - y) + W / C = 0, sum (p - y) = 0
    scaled = (vectors.astype(float) - scaling.mean) / scaling.scale
    error = probe.probabilities(vectors) - (np.array(labels)[:, None] == np.array(probe.classes))
    weight = probe.weight * scaling.scale
    if classes == 2:  # one score z = 2 w, penalised once: its own condition
        gradient = error.T @ scaled + 2 * weight / INVERSE_PENALTY
    else:
        gradient = error.T @ scaled + weight / INVERSE_PENALTY
    assert np.abs(gradient).max() < 0.02 and np.abs(error.sum(axis=0)).max() < 0.02
    assert np.abs(weight / INVERSE_PENALTY).max() > 1  # so that the gradient's parts are not both nothing


def test_probabilities_are_scikit_learns() -> None:
    vectors, labels = blobs(90, 4, 2.0)
    scaling = Scaling.of(vectors)
    reference = LogisticRegression(C=INVERSE_PENALTY, max_iter=500).fit(scaling.applied(vectors), labels)
    found = train(vectors, labels, scaling).probabilities(vectors)
    np.testing.assert_allclose(found, reference.predict_proba(scaling.applied(vectors)), atol=1e-3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_onnx_gives_the_same_probabilities() -> None:
    vectors, labels = blobs(50, 3, 1.0)
    labels = ["Füße" if label == "class 1" else label for label in labels]
    probe = train(vectors, labels, Scaling.of(vectors))
    content = probe.as_onnx("0123456789abcdef")
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    probabilities, numbers = (np.asarray(found) for found in session.run(None, {"vectors": vectors[:7]}))
    np.testing.assert_allclose(probabilities, probe.probabilities(vectors[:7]), atol=1e-6)
    assert numbers.tolist() == probe.probabilities(vectors[:7]).argmax(axis=1).tolist()
    metadata = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(metadata["classes"])) == probe.classes and "Füße" in probe.classes
    assert metadata["encoder"] == "0123456789abcdef"


def test_cross_validation_never_tests_what_it_taught() -> None:
    # labels that have nothing to do with the vectors: whoever tests what was taught finds far more than chance
    draws = np.random.default_rng(0)
    vectors = draws.normal(size=(200, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = [f"{number % 4}" for number in range(200)]
    scaling = Scaling.of(vectors)
    checked = cross_validate(vectors, labels, scaling)
    assert checked is not None and checked.folds == FOLDS and len(checked.rows) == 200
    taught = train(vectors, labels, scaling).probabilities(vectors).argmax(axis=1)
    assert (taught == checked.truth).mean() > 0.6
    assert 0.1 < checked.hits / 200 < 0.4  # chance is a quarter
    expected = confusion_matrix(checked.truth, checked.predicted, labels=range(4))
    assert np.array_equal(checked.confusion, expected)


def test_cross_validation_finds_what_is_there() -> None:
    vectors, labels = blobs(60, 3, 0.3)
    checked = cross_validate(vectors, labels, Scaling.of(vectors))
    assert checked is not None and checked.hits == 60


def test_folds_go_by_the_rarest_class_that_counts() -> None:
    vectors, labels = blobs(20, 2, 0.3)
    labels[3:] = ["class 0"] * 17
    labels[0], labels[1], labels[2] = "b", "b", "only one"
    checked = cross_validate(vectors, labels, Scaling.of(vectors))
    assert checked is not None
    assert checked.classes == ("b", "class 0") and checked.folds == 2 and 2 not in checked.rows
    assert cross_validate(vectors[:4], ["a", "a", "a", "b"], Scaling.of(vectors)) is None


def test_of_very_many_labels_some_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_shot_classifier, "MOST_CHECKED", 40)
    vectors, labels = blobs(90, 3, 0.3)
    checked = cross_validate(vectors, labels, Scaling.of(vectors))
    assert checked is not None and len(checked.rows) == 40 == checked.hits
    assert [checked.classes[number] for number in checked.truth] == [labels[row] for row in checked.rows]


def test_margins_are_smallest_where_two_classes_are_close() -> None:
    probe = LinearProbe(("a", "b", "c"), np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    found = margins(probe.probabilities(np.array([[5, 0, 0], [1, 1, 0], [2, 1, 0]], np.float32)))
    assert found.argsort().tolist() == [1, 2, 0] and found[1] == pytest.approx(0, abs=1e-6)


def test_one_image_and_equal_images_scale_to_something_finite() -> None:
    same = np.full((3, 4), 0.5, np.float32)
    assert np.isfinite(Scaling.of(same).applied(same)).all()
