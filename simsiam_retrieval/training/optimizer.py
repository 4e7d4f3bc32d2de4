"""Building the optimiser of a run from its settings."""

from typing import Any

import torch

from .config import Config
from .lars import LARS


def build_optimizer(
    config: Config, groups: list[dict[str, Any]], lr: float, device: torch.device
) -> torch.optim.Optimizer:
    """Build SGD with momentum, as in the paper, or LARS for batches of thousands.

    Args:
        config: Settings of the run.
        groups: Parameter groups.
        lr: Learning rate.
        device: torch device.

    Returns:
        The optimiser.
    """
    if config.optimizer == "lars":
        return LARS(groups, lr, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        groups, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=device.type == "cuda"
    )
