"""kNN, the linear classifier and top-k against numpy; the probe command on real photos."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from simsiam_retrieval.encoder import Encoder
from simsiam_retrieval.errors import UserError
from simsiam_retrieval.evaluation.accuracy import top_1_and_5, top_k
from simsiam_retrieval.evaluation.knn import knn_scores
from simsiam_retrieval.evaluation.labelled import embed_labelled, labelled_files
from simsiam_retrieval.evaluation.linear import PENALTIES, fit, solve


def unit(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    vectors = rng.normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (5, 0.1), (20, 0.5), (1000, 0.07)])
def test_knn_equals_a_loop_over_queries(k: int, temperature: float) -> None:
    rng = np.random.default_rng(0)
    train, test, labels = unit(rng, 60, 8), unit(rng, 23, 8), rng.integers(0, 4, 60)
    x, y, queries = map(torch.from_numpy, (train, labels, test))
    scores = knn_scores(x, y, queries, 4, k=k, temperature=temperature).numpy()
    for row, query in enumerate(test):
        similarity = train @ query
        nearest = np.argsort(-similarity)[:k]
        expected = np.zeros(4)
        for index in nearest:
            expected[labels[index]] += np.exp(similarity[index] / temperature)
        np.testing.assert_allclose(scores[row] / scores[row].sum(), expected / expected.sum(), rtol=1e-4)


def test_knn_survives_a_low_temperature() -> None:
    vectors = torch.eye(3)
    scores = knn_scores(vectors, torch.tensor([0, 1, 2]), vectors, 3, temperature=0.001)
    assert torch.isfinite(scores).all()
    assert scores.argmax(dim=1).tolist() == [0, 1, 2]


def test_top_k_counts_hits() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.0], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    labels = torch.tensor([1, 1, 0])
    assert top_k(scores, labels, 1) == pytest.approx(1 / 3)
    assert top_k(scores, labels, 2) == pytest.approx(2 / 3)
    assert top_k(scores, labels, 9) == 1.0
    assert "top5" not in top_1_and_5(scores, labels)


def test_linear_probe_stands_at_the_minimum_of_its_objective() -> None:
    """The objective is convex: where its gradient, worked out here in numpy, is zero, there is no better solution."""
    rng = np.random.default_rng(1)
    x, y, penalty = rng.normal(size=(80, 5)) * [1, 2, 3, 4, 5] + 7, rng.integers(0, 3, 80), 1e-2
    probe = solve(torch.from_numpy(x).float(), torch.from_numpy(y), 3, penalty)
    standard = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    weight, bias = probe.weight.numpy().astype(float), probe.bias.numpy().astype(float)
    logits = standard @ weight.T + bias
    probability = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    residual = (probability - np.eye(3)[y]) / len(y)
    np.testing.assert_allclose(residual.T @ standard + penalty * weight, 0, atol=2e-4)
    np.testing.assert_allclose(residual.sum(axis=0), 0, atol=2e-4)
    np.testing.assert_allclose(probe.scores(torch.from_numpy(x).float()).numpy(), logits, atol=1e-3)


def test_linear_probe_separates_what_is_separable_and_not_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    centres = torch.randn(3, 16, generator=generator)
    features = centres[labels] + 0.1 * torch.randn(300, 16, generator=generator)
    assert top_k(fit(features, labels, 3).scores(features), labels, 1) == 1.0
    noise, unseen = torch.randn(300, 16, generator=generator), torch.randn(300, 16, generator=generator)
    probe = fit(noise, labels, 3)
    assert probe.penalty in PENALTIES
    assert 0.2 < top_k(probe.scores(unseen), labels, 1) < 0.47  # chance is a third


def test_labels_are_the_first_folder_below(tmp_path: Path) -> None:
    for name in ("cat/a.jpg", "cat/deep/b.jpg", "dog/c.png", "loose.jpg", "dog/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files, names = labelled_files(tmp_path)
    assert [(file.path.name, name) for file, name in zip(files, names, strict=True)] == [
        ("a.jpg", "cat"),
        ("b.jpg", "cat"),
        ("c.png", "dog"),
    ]


def test_features_are_in_the_order_of_the_files(photos: Path, encoder_file: Path) -> None:
    encoder = Encoder(encoder_file)
    found = embed_labelled(photos, encoder, workers=2)
    files, names = labelled_files(photos)
    assert [found.classes[label] for label in found.labels] == names
    for row in (0, 50, len(files) - 1):
        np.testing.assert_allclose(found.features[row], encoder.embed([files[row].path])[0], atol=1e-5)


def test_a_class_that_training_lacks_is_named(tmp_path: Path, photos: Path, encoder_file: Path) -> None:
    with pytest.raises(UserError, match=r"lacks: birds"):
        embed_labelled(photos, Encoder(encoder_file), ["castles", "fish"])


def test_probe_command_prints_and_keeps_the_result(
    run_command, photos: Path, run_dir: Path, encoder_file: Path
) -> None:
    done = run_command("probe", run_dir, "--train", photos, "--test", photos, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["encoder"] == Encoder(encoder_file).identity
    assert printed["train_images"] == printed["test_images"] == 126
    for result in printed["results"].values():
        assert 0 < result["top1"] <= result["top5"] <= 1
    kept = sorted((run_dir / "eval").glob("probe-*.json"))
    assert json.loads(kept[-1].read_text()) == printed
    table = run_command("probe", encoder_file, "--train", photos, "--test", photos)
    assert f"{100 * printed['results']['linear']['top1']:.1f}" in table.stdout


@pytest.mark.parametrize("missing", ["train", "test"])
def test_probe_of_a_missing_folder_is_one_line(run_command, photos: Path, encoder_file: Path, missing: str) -> None:
    folders = {"train": photos, "test": photos, missing: photos / "nowhere"}
    done = run_command("probe", encoder_file, "--train", folders["train"], "--test", folders["test"])
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_probe_of_one_class_or_none_is_one_line(run_command, photos: Path, encoder_file: Path, tmp_path: Path) -> None:
    for folder in (photos / "fish", tmp_path):
        done = run_command("probe", encoder_file, "--train", folder, "--test", photos)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
