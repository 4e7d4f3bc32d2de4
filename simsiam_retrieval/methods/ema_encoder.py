"""A second encoder that follows the first one and gets no gradient (MoCo's key encoder, BYOL's target network)."""

import copy

import torch
from torch import Tensor, nn


class Target(nn.Module):
    """A copy of a backbone and a projector that is changed only by following them.

    In train mode its BN uses the statistics of its own batches, as the encoder's does.

    Args:
        backbone: The encoder's backbone; copied.
        projector: The encoder's projector; copied.
    """

    def __init__(self, backbone: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.backbone, self.projector = copy.deepcopy(backbone), copy.deepcopy(projector)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Compute projections without gradient.

        Args:
            x: Float (n, 3, h, w).

        Returns:
            Float (n, dim).
        """
        return self.projector(self.backbone(x))

    @torch.no_grad()
    def follow(self, backbone: nn.Module, projector: nn.Module, momentum: float) -> None:
        """Update the weights: theta_target <- momentum * theta_target + (1 - momentum) * theta.

        Buffers (BN statistics) are not copied.

        Args:
            backbone: The encoder's backbone.
            projector: The encoder's projector.
            momentum: In [0, 1].
        """
        for mine, theirs in ((self.backbone, backbone), (self.projector, projector)):
            for target, parameter in zip(mine.parameters(), theirs.parameters(), strict=True):
                target.lerp_(parameter, 1 - momentum)

    @torch.no_grad()
    def copy(self, backbone: nn.Module, projector: nn.Module) -> None:
        """Copy all weights and buffers.

        Args:
            backbone: The encoder's backbone.
            projector: The encoder's projector.
        """
        self.backbone.load_state_dict(backbone.state_dict())
        self.projector.load_state_dict(projector.state_dict())
