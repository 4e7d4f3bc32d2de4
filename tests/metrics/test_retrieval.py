"""recall@k and mAP@R against a loop over queries and against rankings worked out by hand."""

import numpy as np
import pytest
import torch

from simsiam_retrieval.metrics import knn
from simsiam_retrieval.metrics.retrieval import retrieve


def by_loop(features: np.ndarray, labels: np.ndarray, own: bool) -> tuple[float, float]:
    recalls, precisions = [], []
    for query in range(len(features)):
        gallery = [i for i in range(len(features)) if own or i != query]
        ranked = sorted(gallery, key=lambda i: -float(features[query] @ features[i]))
        right = [labels[i] == labels[query] for i in ranked]
        total = sum(right)
        if total:
            recalls.append(any(right[:5]))
            precisions.append(sum(sum(right[: i + 1]) / (i + 1) for i in range(total) if right[i]) / total)
    return float(np.mean(recalls)), float(np.mean(precisions))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("together", [1 << 24, 100])
def test_retrieval_equals_a_loop(own: bool, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "SIMILARITIES", together)  # in one block, and in blocks of a row or two
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 6))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels = np.concatenate([rng.integers(0, 5, 59), [7]])  # class 7 has one image
    found = retrieve(torch.from_numpy(features).float(), torch.from_numpy(labels), own=own)
    recall, precision = by_loop(features, labels, own)
    assert found.recall[5] == pytest.approx(recall)
    assert found.map_at_r == pytest.approx(precision)
    assert (found.queries, found.left_out) == ((60, 0) if own else (59, 1))


def test_map_at_r_by_hand() -> None:
    """On a circle at 0, 10, 30 and 35 degrees, classes a, b, a, a; R = 2 for the three of a.

    From 0: b a | a -> (0 + 1/2) / 2. From 30: a b | a -> (1 + 0) / 2. From 35: a b | a -> 1/2. Mean over three.
    """
    angle = torch.tensor([0.0, 10.0, 30.0, 35.0]).deg2rad()
    found = retrieve(torch.stack([angle.cos(), angle.sin()], dim=1), torch.tensor([0, 1, 0, 0]))
    assert found.map_at_r == pytest.approx((1 / 4 + 1 / 2 + 1 / 2) / 3)
    assert found.recall[1] == pytest.approx(2 / 3) and found.recall[5] == 1.0
    assert (found.queries, found.left_out) == (3, 1)


def test_the_own_file_makes_recall_at_1_perfect() -> None:
    features = torch.nn.functional.normalize(torch.randn(30, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    labels = torch.arange(30) % 3
    assert retrieve(features, labels, own=True).recall[1] == 1.0
    assert retrieve(features, labels).recall[1] < 0.8


def test_perfect_and_constant_features() -> None:
    labels = torch.arange(12) % 3
    perfect = retrieve(torch.eye(3)[labels], labels)
    assert perfect.recall == {1: 1.0, 5: 1.0, 10: 1.0} and perfect.map_at_r == 1.0
    # all cosines equal: the worst order, not that of the files
    constant = retrieve(torch.ones(12, 4) / 2, labels)
    assert constant.recall[1] == constant.recall[5] == 0.0 and constant.map_at_r == 0.0
    with pytest.raises(ValueError, match="two images"):
        retrieve(torch.eye(3), torch.arange(3))
