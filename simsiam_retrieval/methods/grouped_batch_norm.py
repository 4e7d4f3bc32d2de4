"""BN over parts of a batch, as many GPUs with ordinary BN have it; MoCo needs that (He et al. 2020, section 3.3)."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from .all_gather import processes


class GroupedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BN whose batch, that of all processes together, falls into ``groups`` of neighbouring rows.

    Input: (n, c, ...), n at least twice the number of groups here. Running statistics take the mean of the groups'.
    In eval mode it is ordinary BN.
    """

    groups = 1

    @classmethod
    def replace(cls, module: nn.Module, groups: int) -> None:
        """Put one in the place of every BN layer below ``module``; weights and names stay."""
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                new = cls(child.num_features, child.eps, child.momentum, child.affine)
                new.load_state_dict(child.state_dict())
                new.groups = groups
                setattr(module, name, new)
            else:
                cls.replace(child, groups)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        outputs, means, variances = [], [], []
        for part in input.tensor_split(max(1, self.groups // processes())):
            mean, variance = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)  # type: ignore[arg-type]
            # momentum 1: the buffers become the part's own statistics
            outputs.append(F.batch_norm(part, mean, variance, self.weight, self.bias, True, 1.0, self.eps))
            means.append(mean)
            variances.append(variance)
        self._note(torch.stack([torch.stack(means).mean(0), torch.stack(variances).mean(0)]))
        return torch.cat(outputs)

    @torch.no_grad()
    def _note(self, found: Tensor) -> None:
        if processes() > 1:
            dist.all_reduce(found)
            found /= processes()
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(found[0], self.momentum)
        self.running_var.lerp_(found[1], self.momentum)
