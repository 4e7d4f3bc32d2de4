"""From a run's settings to its optimiser."""

from typing import Any

import torch

from .config import Config
from .lars import LARS


def build_optimizer(
    config: Config, groups: list[dict[str, Any]], lr: float, device: torch.device
) -> torch.optim.Optimizer:
    """SGD with momentum, as the paper's, or LARS, which batches of thousands want."""
    if config.optimizer == "lars":
        return LARS(groups, lr, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        groups, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=device.type == "cuda"
    )
