"""LARS: one learning rate per layer, in proportion to the layer's weights (You, Gitman & Ginsburg 2017)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

TRUST = 1e-3


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
