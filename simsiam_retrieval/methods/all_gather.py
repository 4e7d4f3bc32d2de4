"""The rows of all processes, for losses that compare each image with every other of the batch."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is."""
    return dist.get_rank() if processes() > 1 else 0


def gather(rows: Tensor) -> Tensor:
    """(n, ...) of each process -> (processes * n, ...), in the order of the batch; with gradient."""
    return _Gather.apply(rows) if processes() > 1 else rows  # type: ignore[return-value]


def own(rows: Tensor) -> Tensor:
    """This process's part of what :func:`gather` gives, or of a result that has one row for each of its rows."""
    return rows.chunk(processes())[rank()]


class _Gather(torch.autograd.Function):
    """Each process's rows count in every process's loss, so their gradients add up."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(processes())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return own(total)
