"""SimSiam (Chen & He 2020, "Exploring Simple Siamese Representation Learning", algorithm 1)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .method import Method, Output, Step


def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """D(p, z) of equation 1: minus the mean cosine similarity of matching rows.

    ``p``, ``z``: (n, dim). Returns a scalar in [-1, 1], computed in float32.
    """
    return -F.cosine_similarity(p.float(), z.float(), dim=1).mean()


def cross_entropy(p: Tensor, z: Tensor) -> Tensor:
    """D(p, z) = -softmax(z) . log softmax(p), over channels, mean over rows (section 4.4)."""
    return -(F.softmax(z.float(), dim=1) * F.log_softmax(p.float(), dim=1)).sum(dim=1).mean()


SIMILARITIES = {"cosine": negative_cosine, "cross-entropy": cross_entropy}


class SimSiam(Method):
    """Two views, one encoder, a predictor on one side, stop-gradient on the other.

    The keyword arguments are what the paper varies: ``stop_gradient`` (figure 2), ``predictor_kind`` and
    ``predictor_decays`` (table 1), ``bn`` in the heads (table 3), ``similarity`` (section 4.4), ``symmetric`` loss or
    one term of it (section 4.6).
    """

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        *,
        similarity: str = "cosine",
        symmetric: bool = True,
        stop_gradient: bool = True,
        predictor_decays: bool = False,  # section 4.2: 67.7 -> 68.1 %
        **heads: Any,
    ) -> None:
        super().__init__(backbone, feature_dim, predictor_decays=predictor_decays, **heads)
        self.distance = SIMILARITIES[similarity]
        self.symmetric = symmetric
        self.stop_gradient = stop_gradient

    def pair(self, x1: Tensor, x2: Tensor, step: Step | None) -> Output:
        """Symmetrised loss of equation 4."""
        z1, z2 = self.project(x1), self.project(x2)
        t1, t2 = self.targets(x1, x2, z1, z2, step)
        loss = self.distance(self.predictor(z1), t2)
        if self.symmetric:
            loss = (loss + self.distance(self.predictor(z2), t1)) / 2
        return Output(loss, z1.detach().float())

    def targets(self, x1: Tensor, x2: Tensor, z1: Tensor, z2: Tensor, step: Step | None) -> tuple[Tensor, Tensor]:
        """What predictions are compared with: stop-gradient."""
        return (z1.detach(), z2.detach()) if self.stop_gradient else (z1, z2)
