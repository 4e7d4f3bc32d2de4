"""SimSiam (Chen & He 2020, "Exploring Simple Siamese Representation Learning", algorithm 1)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .all_gather import gather, own
from .base import Method, Output, Step
from .guided import guided_shares


def negative_cosine(p: Tensor, z: Tensor, shares: Tensor | None = None) -> Tensor:
    """D(p, z) of equation 1: minus the mean cosine similarity of matching rows.

    ``p``, ``z``: (n, dim); ``shares``: (n,), how much each row counts, by default 1. Returns a scalar in [-1, 1],
    computed in float32.
    """
    return -_mean(F.cosine_similarity(p.float(), z.float(), dim=1), shares)


def cross_entropy(p: Tensor, z: Tensor, shares: Tensor | None = None) -> Tensor:
    """D(p, z) = -softmax(z) . log softmax(p), over channels, mean over rows (section 4.4)."""
    return -_mean((F.softmax(z.float(), dim=1) * F.log_softmax(p.float(), dim=1)).sum(dim=1), shares)


def _mean(rows: Tensor, shares: Tensor | None) -> Tensor:
    return rows.mean() if shares is None else (rows * shares).mean()


SIMILARITIES = {"cosine": negative_cosine, "cross-entropy": cross_entropy}


class SimSiam(Method):
    """Two views, one encoder, a predictor on one side, stop-gradient on the other.

    The keyword arguments are what the paper varies: ``stop_gradient`` (figure 2), ``predictor_kind`` and
    ``predictor_decays`` (table 1), ``bn`` in the heads (table 3), ``similarity`` (section 4.4), ``symmetric`` loss or
    one term of it (section 4.6). ``guided`` is Lee & Lee's guided stop-gradient.
    """

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        *,
        similarity: str = "cosine",
        symmetric: bool = True,
        stop_gradient: bool = True,
        guided: bool = False,
        predictor_decays: bool = False,  # section 4.2: 67.7 -> 68.1 %
        **heads: Any,
    ) -> None:
        super().__init__(backbone, feature_dim, predictor_decays=predictor_decays, **heads)
        self.distance = SIMILARITIES[similarity]
        self.symmetric = symmetric
        self.stop_gradient, self.guided = stop_gradient, guided

    def pair(self, x1: Tensor, x2: Tensor, step: Step | None) -> Output:
        """Symmetrised loss of equation 4."""
        z1, z2 = self.project(x1), self.project(x2)
        t1, t2 = self.targets(x1, x2, z1, z2, step)
        p1 = self.predictor(z1)
        if self.guided:
            share1, share2 = own(guided_shares(gather(t1), gather(t2))).unbind(1)
            loss = self.distance(p1, t2, share1) + self.distance(self.predictor(z2), t1, share2)
        else:
            loss = self.distance(p1, t2)
            if self.symmetric:
                loss = (loss + self.distance(self.predictor(z2), t1)) / 2
        return Output(loss, z1.detach().float(), (t1.detach(), t2.detach()))

    def further(self, x: Tensor, kind: str, targets: tuple[Tensor, ...]) -> Tensor:
        """Each kind of view predicts both usual views (De Plaen et al. 2026, "… Multi-Task Latent Space Objective")."""
        p = self.predict(self.project(x), kind)
        return torch.stack([self.distance(p, target) for target in targets]).mean()

    def targets(self, x1: Tensor, x2: Tensor, z1: Tensor, z2: Tensor, step: Step | None) -> tuple[Tensor, Tensor]:
        """What predictions are compared with: stop-gradient."""
        return (z1.detach(), z2.detach()) if self.stop_gradient else (z1, z2)
