"""Gathering the rows of all training processes, for losses that compare each image with the whole batch."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """Return the number of training processes (the world size).

    Returns:
        1 without ``torch.distributed``.
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process.

    Returns:
        0 without ``torch.distributed``.
    """
    return dist.get_rank() if processes() > 1 else 0


def gather(rows: Tensor) -> Tensor:
    """Concatenate the rows of all processes, in the order of the batch. Differentiable.

    Args:
        rows: (n, ...), any dtype; each process has the same n.

    Returns:
        (processes * n, ...), the same on every process. With one process: ``rows`` itself.
    """
    return _Gather.apply(rows) if processes() > 1 else rows  # type: ignore[return-value]


def own(rows: Tensor) -> Tensor:
    """Return this process's chunk of a gathered tensor.

    Args:
        rows: (processes * n, ...), such as ``gather`` returns, or a result with one row for each gathered row.

    Returns:
        (n, ...), the rows that belong to this rank.
    """
    return rows.chunk(processes())[rank()]


class _Gather(torch.autograd.Function):
    """All-gather whose backward pass sums the gradients: every process's loss uses the rows of every process."""

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
