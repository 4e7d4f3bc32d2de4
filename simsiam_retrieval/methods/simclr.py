"""SimCLR (Chen, Kornblith, Norouzi & Hinton 2020, "A Simple Framework for Contrastive Learning …")."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .all_gather import gather, processes, rank
from .base import Method, Output, Step


def nt_xent(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """Compute NT-Xent (SimCLR, equation 1): each of 2N views must find its other view among the 2N - 1 others.

    N counts the images of all processes. SimCLR itself uses the same tensors for ``p`` and ``z``.

    Args:
        p1: First views as queries (n, dim).
        p2: Second views as queries (n, dim).
        z1: First views as keys (n, dim).
        z2: Second views as keys (n, dim).
        temperature: Temperature tau.

    Returns:
        A float32 scalar, mean over this process's views.
    """
    n, everyone = len(z1), len(z1) * processes()
    with torch.autocast(z1.device.type, enabled=False):
        queries = F.normalize(torch.cat([p1, p2]).float(), dim=1)
        keys = F.normalize(torch.cat([gather(z1), gather(z2)]).float(), dim=1)
        logits = queries @ keys.T / temperature
    mine = torch.arange(n, device=z1.device) + rank() * n
    itself, other = torch.cat([mine, mine + everyone]), torch.cat([mine + everyone, mine])
    logits = logits.scatter(1, itself[:, None], float("-inf"))
    return F.cross_entropy(logits, other)


class SimCLR(Method):
    """SimCLR: two views, one encoder, all other images of the batch as negatives; gradients through both views.

    The SimSiam paper adds ``predictor_kind="mlp"`` and ``stop_gradient`` to it, without gain (section 6.2).

    Args:
        backbone: The network from ``build_backbone``.
        feature_dim: Width of its output.
        temperature: Temperature of the loss.
        stop_gradient: Whether keys get no gradient.
        predictor_kind: See ``Method``.
        **heads: See ``Method``.
    """

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        *,
        temperature: float = 0.1,
        stop_gradient: bool = False,
        predictor_kind: str = "none",
        **heads: Any,
    ) -> None:
        super().__init__(backbone, feature_dim, predictor_kind=predictor_kind, **heads)
        self.temperature, self.stop_gradient = temperature, stop_gradient

    def pair(self, x1: Tensor, x2: Tensor, step: Step | None) -> Output:
        """Compute the NT-Xent loss. See ``Method.pair``."""
        z1, z2 = self.project(x1), self.project(x2)
        t1, t2 = (z1.detach(), z2.detach()) if self.stop_gradient else (z1, z2)
        loss = nt_xent(self.predictor(z1), self.predictor(z2), t1, t2, self.temperature)
        return Output(loss, z1.detach().float())
