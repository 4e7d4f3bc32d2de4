"""Batch normalisation over the batches of all processes: BN must see the whole batch (SimSiam, section 4.1)."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def synchronise(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace every BN layer by one with the statistics of all processes' batches; weights and names stay.

    On a GPU this is PyTorch's SyncBatchNorm. It does not support CPUs; there ``GlobalBatchNorm`` is used.

    Args:
        model: Changed in place.
        device: torch device.

    Returns:
        ``model``.
    """
    for name, child in model.named_children():
        # only plain BN layers: GroupedBatchNorm must stay
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            on_gpu = device.type == "cuda"
            setattr(
                model, name, nn.SyncBatchNorm.convert_sync_batchnorm(child) if on_gpu else GlobalBatchNorm.like(child)
            )
        else:
            synchronise(child, device)
    return model


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BN with mean and variance over the batches of all processes, in float32. The batches must have the same size.

    Input: (n, c, ...). In eval mode it is ordinary BN.
    """

    @classmethod
    def like(cls, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> "GlobalBatchNorm":
        """Create one with the settings and the same tensors as another BN layer.

        Args:
            norm: The other layer.

        Returns:
            The new layer.
        """
        new = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        new.weight, new.bias = norm.weight, norm.bias
        new.running_mean, new.running_var = norm.running_mean, norm.running_var
        new.num_batches_tracked = norm.num_batches_tracked
        return new.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the batch.

        Args:
            input: (n, c, ...).

        Returns:
            A tensor of the same shape and dtype.
        """
        if not self.training:
            return super().forward(input)
        x = input.float()
        others = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        count = x.numel() // x.shape[1] * dist.get_world_size()
        # two passes: the difference of two large sums would be too inexact for small variances
        mean = _SumOverProcesses.apply(x.sum(others)) / count
        centred = x - mean.view(shape)
        variance = _SumOverProcesses.apply(centred.square().sum(others)) / count
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None and self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)  # unbiased, as nn.BatchNorm's
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over all processes. It is part of every process's loss, so the gradients are summed, too."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
