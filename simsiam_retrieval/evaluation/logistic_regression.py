"""Multinomial logistic regression, solved to convergence: for few labels, when nothing can be held out."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Logistic:
    """A trained classifier: scores = x @ weight.T + bias.

    Attributes:
        weight: float32 (classes, d).
        bias: float32 (classes,).
    """

    weight: Tensor
    bias: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Compute class scores.

        Args:
            features: float32 (n, d).

        Returns:
            float32 (n, classes).
        """
        return features @ self.weight.T + self.bias


def solve(features: Tensor, labels: Tensor, classes: int, penalty: float) -> Logistic:
    """Minimise mean cross-entropy + penalty / 2 * ||weight||^2 with L-BFGS. Deterministic; no penalty on the bias.

    Args:
        features: float32 (n, d).
        labels: int64 (n,).
        classes: Number of classes.
        penalty: Weight of the penalty.

    Returns:
        The classifier.
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
