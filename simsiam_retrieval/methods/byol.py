"""BYOL (Grill et al. 2020, "Bootstrap Your Own Latent")."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Method, Output, Step
from .ema_encoder import Target


def squared_distance(p: Tensor, z: Tensor) -> Tensor:
    """Compute equation 2 of BYOL: squared distance of l2-normalised rows (2 - 2 cos), mean over rows.

    Args:
        p: Predictions (n, dim).
        z: Projections of the target network (n, dim).

    Returns:
        A float32 scalar in [0, 4].
    """
    return 2 - 2 * F.cosine_similarity(p.float(), z.float(), dim=1).mean()


class BYOL(Method):
    """BYOL: two views, a predictor on the encoder's side, a momentum encoder on the other side.

    Args:
        backbone: The network from ``build_backbone``.
        feature_dim: Width of its output.
        momentum: Momentum of the target network at the start; it rises to 1 (section 3.3).
        symmetric: Whether each view is predicted from the other; otherwise only the second from the first.
        **heads: See ``Method``.
    """

    def __init__(
        self, backbone: nn.Module, feature_dim: int, *, momentum: float = 0.996, symmetric: bool = True, **heads: Any
    ) -> None:
        super().__init__(backbone, feature_dim, **heads)
        self.target = Target(self.backbone, self.projector)
        self.momentum, self.symmetric = momentum, symmetric

    def pair(self, x1: Tensor, x2: Tensor, step: Step | None) -> Output:
        """Compute the sum of both directions (equation 2 and the text below it). See ``Method.pair``."""
        z1, t2 = self.project(x1), self.target(x2)
        loss = squared_distance(self.predictor(z1), t2)
        if not self.symmetric:
            return Output(loss, z1.detach().float())
        z2, t1 = self.project(x2), self.target(x1)
        return Output(loss + squared_distance(self.predictor(z2), t1), z1.detach().float(), (t1, t2))

    def further(self, x: Tensor, kind: str, targets: tuple[Tensor, ...]) -> Tensor:
        """Compute the loss of a further view, counted twice because ``pair`` adds both directions."""
        p = self.predict(self.project(x), kind)
        return 2 * torch.stack([squared_distance(p, target) for target in targets]).mean()

    def start_from(self, backbone: nn.Module) -> None:
        """Copy another backbone's weights into the encoder and the target network."""
        super().start_from(backbone)
        self.target.copy(self.backbone, self.projector)

    def after_update(self, step: Step) -> None:
        """Move the target network towards the encoder."""
        self.target.follow(self.backbone, self.projector, rising(self.momentum, step.number, step.total))


def rising(momentum: float, number: int, total: int) -> float:
    """Compute the momentum of a step: 1 - (1 - tau_base) * (cos(pi k / K) + 1) / 2 (BYOL, section 3.3).

    Args:
        momentum: tau_base, the momentum at the start.
        number: k, the step.
        total: K, the number of steps.

    Returns:
        The momentum tau, between ``momentum`` and 1.
    """
    return 1 - (1 - momentum) * (math.cos(math.pi * number / total) + 1) / 2
