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
    """D(p, z) of equation 1: minus the mean cosine similarity of matching rows.

    ``p``, ``z``: (n, dim). Returns a scalar in [-1, 1], computed in float32.
    """
    return -F.cosine_similarity(p.float(), z.float(), dim=1).mean()


def cross_entropy(p: Tensor, z: Tensor) -> Tensor:
    """D(p, z) = -softmax(z) . log softmax(p), over channels, mean over rows (section 4.4)."""
    return -(F.softmax(z.float(), dim=1) * F.log_softmax(p.float(), dim=1)).sum(dim=1).mean()


SIMILARITIES = {"cosine": negative_cosine, "cross-entropy": cross_entropy}


class SimSiam(nn.Module):
    """Two views, one encoder, a predictor on one side, stop-gradient on the other.

    The keyword arguments are what the paper varies: ``stop_gradient`` (figure 2), ``predictor_kind`` "mlp", "none" or
    "fixed" at its initialisation (table 1), ``bn`` in the heads (table 3), ``similarity`` (section 4.4),
    ``symmetric`` loss or one term of it (section 4.6).
    """

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        *,
        dim: int = 2048,
        projector_hidden_dim: int = 2048,
        projector_layers: int = 3,
        predictor_hidden_dim: int = 512,
        predictor_kind: str = "mlp",
        predictor_decays: bool = False,
        bn: str = "default",
        similarity: str = "cosine",
        symmetric: bool = True,
        stop_gradient: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector(feature_dim, projector_hidden_dim, dim, projector_layers, bn)
        self.predictor: nn.Module = nn.Identity()
        if predictor_kind != "none":
            self.predictor = predictor(dim, predictor_hidden_dim, bn)
            self.predictor.requires_grad_(predictor_kind == "mlp")
        self.predictor_decays = predictor_decays
        self.distance = SIMILARITIES[similarity]
        self.symmetric = symmetric
        self.stop_gradient = stop_gradient

    def forward(self, *views: Tensor) -> Output:
        """Symmetrised loss of equation 4 for two views, each float (n, 3, h, w); of more pairs of views, the mean.

        The views pass the network one after the other, so BN statistics are per view.
        """
        outputs = [self._pair(x1, x2) for x1, x2 in zip(views[::2], views[1::2], strict=True)]
        return Output(torch.stack([output.loss for output in outputs]).mean(), outputs[0].z)

    def _pair(self, x1: Tensor, x2: Tensor) -> Output:
        z1 = self.projector(self.backbone(x1))
        z2 = self.projector(self.backbone(x2))
        loss = self.distance(self.predictor(z1), self._target(z2))
        if self.symmetric:
            loss = (loss + self.distance(self.predictor(z2), self._target(z1))) / 2
        return Output(loss, z1.detach().float())

    def _target(self, z: Tensor) -> Tensor:
        return z.detach() if self.stop_gradient else z

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups: the predictor keeps a constant learning rate (section 4.2: 67.7 -> 68.1 %)."""
        encoder = [*self.backbone.parameters(), *self.projector.parameters()]
        groups: list[dict[str, Any]] = [{"params": encoder, "decay_lr": True}]
        trained = [parameter for parameter in self.predictor.parameters() if parameter.requires_grad]
        if trained:
            groups.append({"params": trained, "decay_lr": self.predictor_decays})
        return groups


def output_std(z: Tensor) -> Tensor:
    """Std of the l2-normalised output, averaged over channels (section 4.1, figure 2).

    ``z``: (n, dim), n >= 2. About 1/sqrt(dim) when outputs scatter over the sphere, 0 when all are the same.
    """
    return F.normalize(z.float(), dim=1).std(dim=0).mean()


def collapse_free_std(dim: int) -> float:
    """The value of :func:`output_std` for an isotropic zero-mean Gaussian output: 1/sqrt(dim)."""
    return dim**-0.5
