"""SimSiam (Chen & He 2020, "Exploring Simple Siamese Representation Learning", algorithm 1)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .heads import predictor, projector


class Output(NamedTuple):
    """What one training step of a method gives back."""

    loss: Tensor  # scalar, float32
    z: Tensor  # (n, dim) float32, projections of the first view, detached


def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """D(p, z) of equation 1: minus the mean cosine similarity of matching rows, with no gradient into ``z``.

    ``p``, ``z``: (n, dim). Returns a scalar in [-1, 1], computed in float32.
    """
    return -F.cosine_similarity(p.float(), z.detach().float(), dim=1).mean()


class SimSiam(nn.Module):
    """Two views, one encoder, a predictor on one side, stop-gradient on the other."""

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        *,
        dim: int = 2048,
        projector_hidden_dim: int = 2048,
        projector_layers: int = 3,
        predictor_hidden_dim: int = 512,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector(feature_dim, projector_hidden_dim, dim, projector_layers)
        self.predictor = predictor(dim, predictor_hidden_dim)

    def forward(self, x1: Tensor, x2: Tensor) -> Output:
        """Symmetrised loss of equation 4 for two views, each float (n, 3, h, w).

        The views pass the network one after the other, so BN statistics are per view.
        """
        z1 = self.projector(self.backbone(x1))
        z2 = self.projector(self.backbone(x2))
        p1, p2 = self.predictor(z1), self.predictor(z2)
        loss = (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2
        return Output(loss, z1.detach().float())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups: the predictor keeps a constant learning rate (section 4.2: 67.7 -> 68.1 %)."""
        encoder = [*self.backbone.parameters(), *self.projector.parameters()]
        return [
            {"params": encoder, "decay_lr": True},
            {"params": list(self.predictor.parameters()), "decay_lr": False},
        ]


def output_std(z: Tensor) -> Tensor:
    """Std of the l2-normalised output, averaged over channels (section 4.1, figure 2).

    ``z``: (n, dim), n >= 2. About 1/sqrt(dim) when outputs scatter over the sphere, 0 when all are the same.
    """
    return F.normalize(z.float(), dim=1).std(dim=0).mean()


def collapse_free_std(dim: int) -> float:
    """The value of :func:`output_std` for an isotropic zero-mean Gaussian output: 1/sqrt(dim)."""
    return float(torch.tensor(dim).rsqrt())
