"""SwAV (Caron et al. 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments")."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .all_gather import gather, own
from .base import Method, Output, Step

ITERATIONS = 3  # iterations of the Sinkhorn-Knopp algorithm (section 3.1)


def sinkhorn(scores: Tensor, epsilon: float, iterations: int = ITERATIONS) -> Tensor:
    """Compute the codes Q of equation 5: soft assignments of images to prototypes, with all prototypes used equally.

    Args:
        scores: Cosine similarities (n, prototypes).
        epsilon: Strength of the entropy term; small values give sharp assignments.
        iterations: Iterations of Sinkhorn-Knopp.

    Returns:
        float32 (n, prototypes). Rows sum to 1; columns tend to n / prototypes.
    """
    scores = scores.float()
    q = torch.exp((scores - scores.max()) / epsilon)  # a common factor cancels
    for _ in range(iterations):
        q = q / q.sum(dim=0, keepdim=True) / q.shape[1]
        q = q / q.sum(dim=1, keepdim=True) / q.shape[0]
    return q * q.shape[0]


def swapped(scores1: Tensor, scores2: Tensor, q1: Tensor, q2: Tensor, temperature: float) -> Tensor:
    """Compute equations 1 and 2: each view's scores predict the other view's codes.

    Args:
        scores1: Scores of the first views (n, prototypes).
        scores2: Scores of the second views (n, prototypes).
        q1: Codes of the first views (n, prototypes).
        q2: Codes of the second views (n, prototypes).
        temperature: Temperature of the softmax.

    Returns:
        A float32 scalar, mean over images and both directions.
    """
    log_p1, log_p2 = (F.log_softmax(scores.float() / temperature, dim=1) for scores in (scores1, scores2))
    return -((q2 * log_p1).sum(dim=1).mean() + (q1 * log_p2).sum(dim=1).mean()) / 2


class SwAV(Method):
    """SwAV: two views, one encoder, and cluster assignments that distribute the images over all prototypes.

    The SimSiam paper tries it with ``predictor_kind="mlp"`` and ``stop_gradient=False`` (section 6.2). The codes are
    what SwAV stops the gradient of.

    Args:
        backbone: The network from ``build_backbone``.
        feature_dim: Width of its output.
        prototypes: Number of prototypes.
        temperature: Temperature of the softmax.
        epsilon: See ``sinkhorn``.
        frozen_epochs: Epochs in which the prototypes keep their initial values (appendix A).
        stop_gradient: Whether the codes get no gradient.
        dim: Width of the projections.
        predictor_kind: See ``Method``.
        **heads: See ``Method``.
    """

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        *,
        prototypes: int = 3000,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        frozen_epochs: float = 1,
        stop_gradient: bool = True,
        dim: int = 128,
        predictor_kind: str = "none",
        **heads: Any,
    ) -> None:
        super().__init__(backbone, feature_dim, dim=dim, predictor_kind=predictor_kind, **heads)
        self.prototypes = nn.Linear(dim, prototypes, bias=False)
        self.temperature, self.epsilon, self.frozen_epochs = temperature, epsilon, frozen_epochs
        self.stop_gradient = stop_gradient
        self._normalise_prototypes()

    def pair(self, x1: Tensor, x2: Tensor, step: Step | None) -> Output:
        """Compute the swapped prediction loss. See ``Method.pair``."""
        z1, z2 = self.project(x1), self.project(x2)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.stop_gradient):
            q1, q2 = (own(sinkhorn(gather(self._scores(z)), self.epsilon)) for z in (z1, z2))
        scores1, scores2 = self._scores(self.predictor(z1)), self._scores(self.predictor(z2))
        return Output(swapped(scores1, scores2, q1, q2, self.temperature), z1.detach().float())

    def _scores(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return self.prototypes(F.normalize(z.float(), dim=1))

    def before_update(self, step: Step) -> None:
        """Drop the prototypes' gradient during the first ``frozen_epochs``."""
        if step.number < self.frozen_epochs * step.per_epoch:
            self.prototypes.weight.grad = None

    def after_update(self, step: Step) -> None:
        """Normalise the prototypes again."""
        self._normalise_prototypes()

    @torch.no_grad()
    def _normalise_prototypes(self) -> None:
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))
