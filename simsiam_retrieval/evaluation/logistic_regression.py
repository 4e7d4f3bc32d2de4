"""Multinomial logistic regression solved to convergence: for few labels, where nothing can be held out."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Logistic:
    """A trained classifier: scores = x @ weight.T + bias."""

    weight: Tensor  # float32 (classes, d)
    bias: Tensor  # float32 (classes,)

    def scores(self, features: Tensor) -> Tensor:
        """Class scores, (n, classes), for features (n, d)."""
        return features @ self.weight.T + self.bias


def solve(features: Tensor, labels: Tensor, classes: int, penalty: float) -> Logistic:
    """Minimise mean cross-entropy + penalty / 2 * ||weight||^2 with L-BFGS; the bias is free. Deterministic.

    ``features``: float (n, d); ``labels``: int64 (n,).
    """
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=200, tolerance_grad=1e-5, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(features @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return Logistic(weight.detach(), bias.detach())
