"""Optimiser and learning rate of a run: SGD or LARS, warm-up, cosine decay."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .config import Config

TRUST = 1e-3  # of LARS


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


class LARS(torch.optim.Optimizer):
    """SGD with momentum whose gradients are first scaled layer by layer.

    For each parameter of two or more dimensions: g <- trust * ||w|| / ||g + decay * w|| * (g + decay * w). Then v <-
    momentum * v + g and w <- w - lr * v. Biases and other vectors keep their gradient and are not decayed. The same
    holds for parameters whose weights or gradient are all zero.

    The order (scale first, momentum without the rate) is that of the SimSiam authors' linear evaluation. The LARS paper
    puts the rate inside the momentum, which is the same while the rate is constant.

    Args:
        parameters: Parameters, or groups of them.
        lr: Learning rate.
        momentum: Momentum.
        weight_decay: Weight decay.
        trust: Trust coefficient.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = TRUST,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient.

        Args:
            closure: Not supported.
        """
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad
                if parameter.ndim > 1:
                    gradient = gradient.add(parameter, alpha=group["weight_decay"])
                    weight_norm, gradient_norm = parameter.norm(), gradient.norm()
                    local = torch.where(
                        (weight_norm > 0) & (gradient_norm > 0), group["trust"] * weight_norm / gradient_norm, 1.0
                    )
                    gradient = gradient * local
                velocity = self.state[parameter].setdefault("velocity", torch.zeros_like(parameter))
                velocity.mul_(group["momentum"]).add_(gradient)
                parameter.sub_(velocity, alpha=group["lr"])


def warmup(step: int, warmup_steps: float) -> float:
    """Compute the warm-up: a linear rise to 1, then 1.

    Args:
        step: The step.
        warmup_steps: Steps of the rise; 0 for none.

    Returns:
        The factor.
    """
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def cosine(step: int, total_steps: int, warmup_steps: float = 0) -> float:
    """Compute the cosine decay from 1 to 0 without restarts (SimSiam, section 4.1), after an optional warm-up.

    Args:
        step: The step.
        total_steps: Steps of the run.
        warmup_steps: Steps of the warm-up.

    Returns:
        The factor.
    """
    if step < warmup_steps:
        return warmup(step, warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1.0, total_steps - warmup_steps)))


def constant(step: int, total_steps: int, warmup_steps: float = 0) -> float:
    """Compute a constant rate, as for the predictor (SimSiam, section 4.2), after an optional warm-up.

    Args:
        step: The step.
        total_steps: Not used.
        warmup_steps: Steps of the warm-up.

    Returns:
        The factor.
    """
    return warmup(step, warmup_steps)
