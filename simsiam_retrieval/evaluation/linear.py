"""A linear classifier over frozen features: multinomial logistic regression, solved to convergence."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .accuracy import top_k

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class LinearProbe:
    """A trained linear classifier: scores = ((x - mean) / std) @ weight.T + bias."""

    weight: Tensor  # float32 (classes, d)
    bias: Tensor  # (classes,)
    mean: Tensor  # (d,), of the training features
    std: Tensor
    penalty: float

    def scores(self, features: Tensor) -> Tensor:
        """Class scores, (n, classes), for features (n, d)."""
        return ((features - self.mean) / self.std) @ self.weight.T + self.bias


def fit(features: Tensor, labels: Tensor, classes: int, *, seed: int = 0) -> LinearProbe:
    """Fit the classifier to ``features`` (n, d) and ``labels`` (n,).

    Features are standardised. The L2 penalty is the one of ``PENALTIES`` with the best top-1 on a fifth of the
    training images, drawn with ``seed``; the classifier is then fitted to all of them.
    """
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    held_out, rest = order[: len(order) // 5], order[len(order) // 5 :]
    penalty = PENALTIES[len(PENALTIES) // 2]
    if len(held_out) > 0 and len(labels[rest].unique()) > 1:
        accuracy = {
            candidate: top_k(
                solve(features[rest], labels[rest], classes, candidate).scores(features[held_out]),
                labels[held_out],
                1,
            )
            for candidate in PENALTIES
        }
        # of equals the stronger penalty: it is the simpler classifier
        penalty = max(accuracy, key=lambda candidate: (accuracy[candidate], candidate))
    return solve(features, labels, classes, penalty)


def solve(features: Tensor, labels: Tensor, classes: int, penalty: float) -> LinearProbe:
    """Minimise mean cross-entropy + penalty / 2 * ||weight||^2 with L-BFGS; deterministic."""
    mean, std = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    x = (features - mean) / std
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=200, tolerance_grad=1e-5, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return LinearProbe(weight.detach(), bias.detach(), mean, std, penalty)
