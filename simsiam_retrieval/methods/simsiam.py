"""SimSiam (Chen & He 2020, "Exploring Simple Siamese Representation Learning", algorithm 1)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .all_gather import gather, own
from .base import Method, Output, Step
from .guided import guided_shares


def negative_cosine(p: Tensor, z: Tensor, shares: Tensor | None = None) -> Tensor:
    """Compute D(p, z) of equation 1: the negative mean cosine similarity of matching rows.

    Args:
        p: Predictions (n, dim).
        z: Targets (n, dim).
        shares: Weight of each row (n,); default 1.

    Returns:
        A scalar in [-1, 1], computed in float32.
    """
    return -_mean(F.cosine_similarity(p.float(), z.float(), dim=1), shares)


def cross_entropy(p: Tensor, z: Tensor, shares: Tensor | None = None) -> Tensor:
    """Compute D(p, z) = -softmax(z) . log softmax(p) over channels, mean over rows (section 4.4).

    Args:
        p: Predictions (n, dim).
        z: Targets (n, dim).
        shares: Weight of each row (n,); default 1.

    Returns:
        A float32 scalar.
    """
    return -_mean((F.softmax(z.float(), dim=1) * F.log_softmax(p.float(), dim=1)).sum(dim=1), shares)


def _mean(rows: Tensor, shares: Tensor | None) -> Tensor:
    return rows.mean() if shares is None else (rows * shares).mean()


SIMILARITIES = {"cosine": negative_cosine, "cross-entropy": cross_entropy}


class SimSiam(Method):
    """SimSiam: two views, one encoder, a predictor on one side, stop-gradient on the other.

    Args:
        backbone: The network from ``build_backbone``.
        feature_dim: Width of its output.
        similarity: "cosine", or "cross-entropy" (section 4.4).
        symmetric: Whether each view predicts the other; otherwise only the first predicts the second (section 4.6).
        stop_gradient: Whether targets get no gradient (figure 2).
        guided: Use the guided stop-gradient of Lee & Lee (2023).
        predictor_decays: Whether the predictor's learning rate follows the schedule (table 1). A constant one is
            better: 68.1 % instead of 67.7 % (section 4.2).
        **heads: See ``Method``; the paper varies ``predictor_kind`` (table 1) and
            ``bn`` (table 3).
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
        predictor_decays: bool = False,
        **heads: Any,
    ) -> None:
        super().__init__(backbone, feature_dim, predictor_decays=predictor_decays, **heads)
        self.distance = SIMILARITIES[similarity]
        self.symmetric = symmetric
        self.stop_gradient, self.guided = stop_gradient, guided

    def pair(self, x1: Tensor, x2: Tensor, step: Step | None) -> Output:
        """Compute the symmetrised loss of equation 4. See ``Method.pair``."""
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
        """Compute the loss of a further view, which predicts both usual views.

        Source: De Plaen et al. 2026, "… Multi-Task Latent Space Objective". See ``Method.further``.
        """
        p = self.predict(self.project(x), kind)
        return torch.stack([self.distance(p, target) for target in targets]).mean()

    def targets(self, x1: Tensor, x2: Tensor, z1: Tensor, z2: Tensor, step: Step | None) -> tuple[Tensor, Tensor]:
        """Return the tensors that predictions are compared with: z without gradient.

        Args:
            x1: First view, float (n, 3, h, w).
            x2: Second view, float (n, 3, h, w).
            z1: Projections of the first view (n, dim).
            z2: Projections of the second view (n, dim).
            step: Position in the run; None outside a run.

        Returns:
            Targets of the first and the second view, each (n, dim).
        """
        return (z1.detach(), z2.detach()) if self.stop_gradient else (z1, z2)
