"""BN over parts of a batch, as many GPUs with ordinary BN compute it. MoCo needs this (He et al. 2020, section 3.3)."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from .all_gather import processes


class GroupedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BN that divides the batch of all processes into ``groups`` of neighbouring rows and normalises each by itself.

    Input: (n, c, ...), n at least twice the number of groups on this process. The running statistics are updated with
    the mean over the groups. In eval mode it is ordinary BN.
    """

    groups = 1

    @classmethod
    def replace(cls, module: nn.Module, groups: int) -> None:
        """Replace every BN layer below a module; weights and names stay.

        Args:
            module: Changed in place.
            groups: Number of groups in the batch of all processes.
        """
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
        """Normalise each group by its own statistics.

        Args:
            input: (n, c, ...).

        Returns:
            A tensor of the same shape.
        """
        if not self.training:
            return super().forward(input)
        outputs, means, variances = [], [], []
        for part in input.tensor_split(max(1, self.groups // processes())):
            mean, variance = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)  # type: ignore[arg-type]
            # with momentum 1 the buffers become the statistics of this part
            outputs.append(F.batch_norm(part, mean, variance, self.weight, self.bias, True, 1.0, self.eps))
            means.append(mean)
            variances.append(variance)
        self._update_running(torch.stack([torch.stack(means).mean(0), torch.stack(variances).mean(0)]))
        return torch.cat(outputs)

    @torch.no_grad()
    def _update_running(self, found: Tensor) -> None:
        if processes() > 1:
            dist.all_reduce(found)
            found /= processes()
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(found[0], self.momentum)
        self.running_var.lerp_(found[1], self.momentum)
