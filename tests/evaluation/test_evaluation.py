"""The classifiers over frozen features, against numpy: kNN, whitening, the grid of linear heads, few shots."""

import numpy as np
import pytest
import torch

from simsiam_retrieval.collection.explore.few_shot_classifier import Scaling
from simsiam_retrieval.evaluation.fewshot import draw_rows, few_shot
from simsiam_retrieval.evaluation.linear_probe import (
    LEARNING_RATES,
    WEIGHT_DECAYS,
    common_scale,
    fit,
    fit_scale,
    split,
    train_heads,
)
from simsiam_retrieval.evaluation.logistic_regression import solve
from simsiam_retrieval.metrics import knn
from simsiam_retrieval.metrics.accuracy import balanced, top_1_and_5, top_k
from simsiam_retrieval.metrics.knn import knn_scores, nearest, sweep
from simsiam_retrieval.metrics.whitening import fit_whitening


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
    result = top_1_and_5(scores, labels)
    assert result["balanced"] == balanced(scores, labels)
    assert "top5" not in result and result["top1_interval"] == pytest.approx([0.0615, 0.7923], abs=1e-4)
    with pytest.raises(FloatingPointError):
        top_1_and_5(scores * float("nan"), labels)


def test_balanced_accuracy_is_the_mean_over_classes_as_scikit_learn_has_it() -> None:
    from sklearn.metrics import balanced_accuracy_score

    always_first = torch.tensor([[1.0, 0.0, 0.0]]).repeat(20, 1)
    labels = torch.tensor([0] * 19 + [1])  # the majority's share is no achievement
    assert top_k(always_first, labels, 1) == pytest.approx(0.95) and balanced(always_first, labels) == 0.5
    assert top_1_and_5(always_first, labels)["majority"] == pytest.approx(0.95)
    scores, labels = torch.rand(300, 7, generator=torch.Generator().manual_seed(0)), torch.arange(300) ** 2 % 5
    theirs = balanced_accuracy_score(labels.numpy(), scores.argmax(dim=1).numpy())  # classes 5 and 6 have no row
    assert balanced(scores, labels) == pytest.approx(theirs)


def test_knn_in_blocks_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    train, test = torch.from_numpy(unit(rng, 50, 8)), torch.from_numpy(unit(rng, 33, 8))
    whole = nearest(train, test, 7)
    monkeypatch.setattr(knn, "SIMILARITIES", 120)  # two queries a block
    parts = nearest(train, test, 7)
    assert torch.equal(whole[1], parts[1]) and whole[1].shape == (33, 7)
    torch.testing.assert_close(whole[0], parts[0])


def test_sweep_equals_single_searches() -> None:
    rng = np.random.default_rng(4)
    train, test = torch.from_numpy(unit(rng, 60, 8)), torch.from_numpy(unit(rng, 30, 8))
    labels, truth = torch.from_numpy(rng.integers(0, 4, 60)), torch.from_numpy(rng.integers(0, 4, 30))
    similarity, index = nearest(train, test, 20)
    rows = sweep(similarity, labels[index], truth, 4, (1, 5, 20), (0.05, 0.2))
    assert len(rows) == 6
    for row in rows:
        scores = knn_scores(train, labels, test, 4, k=int(row["k"]), temperature=row["temperature"])
        assert row["top1"] == pytest.approx(top_k(scores, truth, 1))


def test_whitening_gives_unit_covariance_in_the_first_axes() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(400, 6)) * [9, 5, 3, 2, 1, 0.5] @ rng.normal(size=(6, 6)) + 20
    x = torch.from_numpy(mixed).float()
    whitening = fit_whitening(x, components=4)
    white = ((x - whitening.mean) @ whitening.projection).numpy()
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(4), atol=1e-3)
    # the four axes with the most variance: numpy's eigenvectors span the same space
    top = np.linalg.eigh(np.cov(mixed.T))[1][:, -4:]
    projection = whitening.projection.double().numpy()
    np.testing.assert_allclose(top @ (top.T @ projection), projection, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(whitening(x).numpy(), axis=1), 1, rtol=1e-5)


def test_whitening_of_few_rows_low_rank_and_constants() -> None:
    generator = torch.Generator().manual_seed(0)
    assert fit_whitening(torch.randn(5, 20, generator=generator)).projection.shape == (20, 4)  # n - 1
    line = torch.outer(torch.randn(50, generator=generator), torch.ones(8))
    assert fit_whitening(line).projection.shape == (8, 1)
    constant = torch.full((10, 3), 0.3)
    assert torch.equal(fit_whitening(constant)(constant), torch.zeros(10, 0))


def reference_heads(x, y, classes, lr, decay, steps) -> tuple[np.ndarray, np.ndarray]:
    """Full-batch gradient descent with momentum and cosine schedule, one head, in numpy."""
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    weight, bias = np.zeros((x.shape[1], classes)), np.zeros(classes)
    dw, db = np.zeros_like(weight), np.zeros_like(bias)
    for step in range(steps):
        logits = x @ weight + bias
        probability = np.exp(logits - logits.max(axis=1, keepdims=True))
        probability /= probability.sum(axis=1, keepdims=True)
        residual = (probability - np.eye(classes)[y]) / len(y)
        dw, db = 0.9 * dw + x.T @ residual + decay * weight, 0.9 * db + residual.sum(axis=0)
        rate = lr * 0.5 * (1 + np.cos(np.pi * step / steps))
        weight, bias = weight - rate * dw, bias - rate * db
    return weight, bias


def test_every_head_of_the_grid_equals_one_trained_alone_in_numpy() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(80, 5)) * [1, 2, 3, 4, 5] + 7, rng.integers(0, 3, 80)
    settings = [(0.1, 0.0), (0.03, 0.1), (0.3, 0.01)]
    heads = train_heads(torch.from_numpy(x).float(), torch.from_numpy(y), torch.arange(80), 3, settings, steps=40)
    for index, (lr, decay) in enumerate(settings):
        weight, bias = reference_heads(x, y, 3, lr, decay, 40)
        np.testing.assert_allclose(heads.weight[:, index].numpy(), weight, atol=1e-4)
        np.testing.assert_allclose(heads.bias[index].numpy(), bias, atol=1e-4)
    weight, bias = reference_heads(x, y, 3, *settings[2], 40)
    logits = (x - x.mean(axis=0)) / x.std(axis=0) @ weight + bias
    np.testing.assert_allclose(heads.scores(torch.from_numpy(x).float())[:, 2].numpy(), logits, atol=1e-3)
    assert heads.hits(torch.from_numpy(x).float(), torch.from_numpy(y))[2] == (logits.argmax(axis=1) == y).sum()


def test_a_well_trained_head_and_logistic_regression_meet() -> None:
    """Two solvers, one convex objective: its minimum is where both end."""
    rng = np.random.default_rng(2)
    x, y = torch.from_numpy(rng.normal(size=(200, 6))).float(), torch.from_numpy(rng.integers(0, 3, 200))
    heads = train_heads(x, y, torch.arange(200), 3, [(0.5, 0.05)], steps=500)
    exact = solve(fit_scale(x)(x), y, 3, 0.05)
    torch.testing.assert_close(heads.weight[:, 0].T, exact.weight, atol=1e-3, rtol=0)
    torch.testing.assert_close(heads.bias[0] - heads.bias[0].mean(), exact.bias - exact.bias.mean(), atol=1e-3, rtol=0)


def test_logistic_regression_stands_at_the_minimum_of_its_objective() -> None:
    """The objective is convex: where its gradient, worked out here in numpy, is zero, there is no better solution."""
    rng = np.random.default_rng(1)
    x, y, penalty = rng.normal(size=(80, 5)), rng.integers(0, 3, 80), 1e-2
    solution = solve(torch.from_numpy(x).float(), torch.from_numpy(y), 3, penalty)
    weight, bias = solution.weight.numpy().astype(float), solution.bias.numpy().astype(float)
    logits = x @ weight.T + bias
    probability = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    residual = (probability - np.eye(3)[y]) / len(y)
    np.testing.assert_allclose(residual.T @ x + penalty * weight, 0, atol=2e-4)
    np.testing.assert_allclose(residual.sum(axis=0), 0, atol=2e-4)
    np.testing.assert_allclose(solution.scores(torch.from_numpy(x).float()).numpy(), logits, atol=1e-3)


def test_linear_probe_separates_what_is_separable_and_not_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    centres = torch.randn(3, 16, generator=generator)
    features = centres[labels] + 0.1 * torch.randn(300, 16, generator=generator)
    assert top_k(fit(features, labels, 3).scores(features), labels, 1) == 1.0
    noise, unseen = torch.randn(300, 16, generator=generator), torch.randn(300, 16, generator=generator)
    probe = fit(noise, labels, 3)
    assert probe.lr in LEARNING_RATES and probe.weight_decay in WEIGHT_DECAYS
    assert len(probe.held_out) == len(LEARNING_RATES) * len(WEIGHT_DECAYS)
    assert 0.2 < top_k(probe.scores(unseen), labels, 1) < 0.47  # chance is a third


def test_a_head_that_diverges_is_not_chosen() -> None:
    x, y = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 2
    x[:, 0] += 3 * y
    heads = train_heads(x, y, torch.arange(50), 2, [(1e30, 1e30), (0.1, 0.0)], steps=20)
    assert not heads.weight[:, 0].isfinite().all()
    hits = heads.hits(x, y)
    assert hits[0] == 0 and hits[1] > 40


def test_features_that_do_not_vary_do_no_harm() -> None:
    x, y = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 2
    x[:, 0] += 4 * y
    x[:, 1] = 0.25
    probe = fit(x, y, 2)
    x[:, 1] = 0.26  # unseen values of a feature that was constant in training
    assert top_k(probe.scores(x), y, 1) > 0.9


def test_the_held_out_fifth_is_of_each_class() -> None:
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 2 + [3])
    rest, held_out = split(labels)
    assert torch.bincount(labels[held_out], minlength=4).tolist() == [10, 2, 1, 0]
    assert torch.equal(torch.cat([rest, held_out]).sort().values, torch.arange(63))
    assert not torch.equal(split(labels, seed=1)[1], held_out)


def test_one_image_per_class_can_be_learnt_from() -> None:
    probe = fit(torch.eye(4), torch.arange(4), 4)
    assert top_k(probe.scores(torch.eye(4)), torch.arange(4), 1) == 1.0
    assert probe.held_out == {}


def test_the_first_axes_of_many_features_are_those_of_all() -> None:
    """Above 1,024 features only the axes that are asked for are computed."""
    generator = torch.Generator().manual_seed(0)
    x = (
        torch.randn(900, 30, generator=generator)
        * torch.linspace(3, 1, 30)
        @ torch.randn(30, 1200, generator=generator)
    )
    x += 0.1 * torch.randn(900, 1200, generator=generator)
    few = fit_whitening(x, 8)
    sigma, axes = np.linalg.svd((x - x.mean(dim=0)).double().numpy(), full_matrices=False)[1:]
    expected = axes[:8].T / (sigma[:8] / 30)
    np.testing.assert_allclose(
        np.abs((few.projection.numpy() * expected).sum(axis=0)), (expected**2).sum(axis=0), rtol=1e-4
    )


def test_one_scale_for_all_features_is_that_of_the_teach_page() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 6, generator=generator) * torch.tensor([1e-3, 0.1, 1, 1, 5, 0]) + 2
    taught = Scaling.of(x.numpy())
    torch.testing.assert_close(common_scale(x)(x), torch.from_numpy(taught.applied(x.numpy())), rtol=1e-4, atol=1e-4)
    assert common_scale(x)(x).var(dim=0, unbiased=False).mean() == pytest.approx(1, abs=1e-4)
    assert torch.equal(common_scale(torch.ones(5, 3))(torch.ones(5, 3)), torch.zeros(5, 3))


def test_few_shots_draw_as_many_as_they_say() -> None:
    labels = torch.tensor([0] * 30 + [1] * 5 + [2] * 12)
    for seed in range(5):
        rows = draw_rows(labels, 5, seed)
        assert torch.bincount(labels[rows]).tolist() == [5, 5, 5] and len(rows.unique()) == 15
    assert not torch.equal(draw_rows(labels, 5, 0), draw_rows(labels, 5, 1))


def test_more_shots_are_worth_more_and_their_interval_is_over_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 3
    features = 1.2 * torch.eye(3, 10)[labels] + torch.randn(600, 10, generator=generator)
    train, truth = (features[:400], labels[:400]), (features[400:], labels[400:])
    one, many = few_shot(*train, *truth, 3, (1, 100), fit_scale(features[:400]))
    assert 1 / 3 < one.top1 < many.top1
    assert len(one.draws) == 10 and one.top1 == pytest.approx(np.mean(one.draws))
    half = 2.26216 * np.std(one.draws, ddof=1) / np.sqrt(10)
    assert one.interval == pytest.approx((one.top1 - half, one.top1 + half), abs=1e-5)
    with pytest.raises(ValueError, match="500 shots"):
        few_shot(*train, *truth, 3, (500,), fit_scale(features[:400]))
