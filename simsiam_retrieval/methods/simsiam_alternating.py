"""SimSiam as alternating optimisation (Chen & He 2020, section 5): eta_x, what an image's views should give."""

from typing import Any

import torch
from torch import Tensor, nn

from .all_gather import gather, own
from .base import Step
from .ema_encoder import Target
from .simsiam import SimSiam


class Alternating(SimSiam):
    """SimSiam with eta fixed for ``steps`` SGD steps on theta (section 5.1, multi-step alternation).

    The paper computes eta_x ahead for all images of those steps. Here the encoder of the step in which that would
    have been done is kept instead, and asked when an image's turn comes: the same numbers, and no cache. One step is
    SimSiam itself.
    """

    def __init__(self, backbone: nn.Module, feature_dim: int, *, steps: int, **rest: Any) -> None:
        """``steps``: of SGD for each update of eta; 0 stands for an epoch."""
        super().__init__(backbone, feature_dim, **rest)
        self.eta = Target(self.backbone, self.projector)
        self.steps = steps

    def targets(self, x1: Tensor, x2: Tensor, z1: Tensor, z2: Tensor, step: Step | None) -> tuple[Tensor, Tensor]:
        return self.eta(x1), self.eta(x2)

    def start_from(self, backbone: nn.Module) -> None:
        super().start_from(backbone)
        self.eta.copy(self.backbone, self.projector)

    def after_update(self, step: Step) -> None:
        if (step.number + 1) % (self.steps or step.per_epoch) == 0:
            self.eta.copy(self.backbone, self.projector)


class AveragedEta(SimSiam):
    """SimSiam whose targets are eta_x, a moving average over the views of each image that came by (section 5.2).

    It stands in for the expectation over augmentations that the predictor is thought to approximate, and does without
    one. The paper leaves open how the average takes both views of a symmetrised loss: here the target of view 1 takes
    in view 2 and the other way round, and what is kept is their mean.
    """

    def __init__(self, backbone: nn.Module, feature_dim: int, *, average: float = 0.8, dim: int, **rest: Any) -> None:
        """``average``: m of eta <- m * eta + (1 - m) * z."""
        super().__init__(backbone, feature_dim, dim=dim, **rest)
        self.average = average
        self.register_buffer("eta", torch.zeros(0, dim))  # a row for each image, once their number is known
        self.register_buffer("met", torch.zeros(0, dtype=torch.bool))
        self.eta: Tensor
        self.met: Tensor

    @torch.no_grad()
    def targets(self, x1: Tensor, x2: Tensor, z1: Tensor, z2: Tensor, step: Step | None) -> tuple[Tensor, Tensor]:
        if step is None:
            raise ValueError("an average over each image's views needs to know the images")
        if len(self.eta) != step.images:
            self.eta = z1.new_zeros((step.images, z1.shape[1]), dtype=torch.float32)
            self.met = torch.zeros(step.images, dtype=torch.bool, device=z1.device)
        z1, z2, rows = gather(z1.detach().float()), gather(z2.detach().float()), gather(step.rows.to(z1.device))
        # an image that was never met begins with its own view
        m = torch.where(self.met[rows], self.average, 0.0)[:, None]
        t1, t2 = m * self.eta[rows] + (1 - m) * z1, m * self.eta[rows] + (1 - m) * z2
        self.eta[rows], self.met[rows] = (t1 + t2) / 2, True
        return own(t1), own(t2)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any, **more: Any) -> None:
        for name in ("eta", "met"):  # as many rows as were stored
            stored = state_dict.get(prefix + name)
            if isinstance(stored, Tensor):
                setattr(self, name, torch.empty_like(stored, device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *rest, **more)
