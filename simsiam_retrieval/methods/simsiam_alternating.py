"""SimSiam as alternating optimisation (Chen & He 2020, section 5) with an explicit eta_x, the target of each image."""

from typing import Any

import torch
from torch import Tensor, nn

from .all_gather import gather, own
from .base import Step
from .ema_encoder import Target
from .simsiam import SimSiam


class Alternating(SimSiam):
    """SimSiam with eta fixed for ``steps`` SGD steps on theta (section 5.1, multi-step alternation).

    The paper computes eta_x in advance for all images of those steps. Here a copy of the encoder is kept and computes
    eta_x when an image occurs. This gives the same numbers without a cache. With ``steps=1`` it is SimSiam itself.

    Args:
        backbone: The network from ``build_backbone``.
        feature_dim: Width of its output.
        steps: SGD steps for each update of eta; 0 stands for one epoch.
        **rest: See ``SimSiam``.
    """

    def __init__(self, backbone: nn.Module, feature_dim: int, *, steps: int, **rest: Any) -> None:
        super().__init__(backbone, feature_dim, **rest)
        self.eta = Target(self.backbone, self.projector)
        self.steps = steps

    def targets(self, x1: Tensor, x2: Tensor, z1: Tensor, z2: Tensor, step: Step | None) -> tuple[Tensor, Tensor]:
        """Return the projections of the kept encoder. See ``SimSiam.targets``."""
        return self.eta(x1), self.eta(x2)

    def start_from(self, backbone: nn.Module) -> None:
        """Copy another backbone's weights into the encoder and the kept encoder."""
        super().start_from(backbone)
        self.eta.copy(self.backbone, self.projector)

    def after_update(self, step: Step) -> None:
        """Copy the encoder every ``steps`` steps."""
        if (step.number + 1) % (self.steps or step.per_epoch) == 0:
            self.eta.copy(self.backbone, self.projector)


class AveragedEta(SimSiam):
    """SimSiam whose target eta_x is a moving average over the earlier views of each image (section 5.2).

    The average approximates the expectation over augmentations. The paper's hypothesis is that the predictor
    approximates the same expectation, so this variant needs no predictor. The paper does not say how the average uses
    both views of a symmetrised loss. Here the target of view 1 includes view 2 and the other way round; their mean is
    stored.

    Args:
        backbone: The network from ``build_backbone``.
        feature_dim: Width of its output.
        average: m in eta <- m * eta + (1 - m) * z.
        dim: Width of the projections.
        **rest: See ``SimSiam``.
    """

    def __init__(self, backbone: nn.Module, feature_dim: int, *, average: float = 0.8, dim: int, **rest: Any) -> None:
        super().__init__(backbone, feature_dim, dim=dim, **rest)
        self.average = average
        self.register_buffer("eta", torch.zeros(0, dim))  # one row per image, once their number is known
        self.register_buffer("met", torch.zeros(0, dtype=torch.bool))
        self.eta: Tensor
        self.met: Tensor

    @torch.no_grad()
    def targets(self, x1: Tensor, x2: Tensor, z1: Tensor, z2: Tensor, step: Step | None) -> tuple[Tensor, Tensor]:
        """Update the averages of the batch's images and return them. See ``SimSiam.targets``.

        Raises:
            ValueError: ``step`` is None: without it the images are unknown.
        """
        if step is None:
            raise ValueError("an average over each image's views needs to know the images")
        if len(self.eta) != step.images:
            self.eta = z1.new_zeros((step.images, z1.shape[1]), dtype=torch.float32)
            self.met = torch.zeros(step.images, dtype=torch.bool, device=z1.device)
        z1, z2, rows = gather(z1.detach().float()), gather(z2.detach().float()), gather(step.rows.to(z1.device))
        # an image that occurs for the first time starts with its own view
        m = torch.where(self.met[rows], self.average, 0.0)[:, None]
        t1, t2 = m * self.eta[rows] + (1 - m) * z1, m * self.eta[rows] + (1 - m) * z2
        self.eta[rows], self.met[rows] = (t1 + t2) / 2, True
        return own(t1), own(t2)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any, **more: Any) -> None:
        for name in ("eta", "met"):  # resized to the stored number of rows
            stored = state_dict.get(prefix + name)
            if isinstance(stored, Tensor):
                setattr(self, name, torch.empty_like(stored, device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *rest, **more)
