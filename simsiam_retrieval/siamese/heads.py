"""The MLPs behind the backbone: projector and predictor (SimSiam, section 3)."""

from itertools import pairwise

from torch import nn


def projector(in_dim: int, hidden_dim: int, out_dim: int, layers: int = 3) -> nn.Sequential:
    """Projection MLP: (n, in_dim) -> (n, out_dim).

    BN follows every linear layer, the output's too; ReLU follows all but the output. The output BN has no scale
    and shift (``affine=False``). Linear layers carry no bias: the BN behind each would cancel it.
    ``layers`` is 3 for ImageNet and 2 for CIFAR-10 (appendix D).
    """
    if layers < 1:
        raise ValueError("a projector needs at least one layer")
    widths = [in_dim] + [hidden_dim] * (layers - 1) + [out_dim]
    modules: list[nn.Module] = []
    for index, (width_in, width_out) in enumerate(pairwise(widths)):
        last = index == layers - 1
        modules += [nn.Linear(width_in, width_out, bias=False), nn.BatchNorm1d(width_out, affine=not last)]
        if not last:
            modules.append(nn.ReLU(inplace=True))
    return nn.Sequential(*modules)


def predictor(dim: int, hidden_dim: int) -> nn.Sequential:
    """Prediction MLP *h*, a bottleneck: (n, dim) -> (n, dim); its output has a bias and no BN and no ReLU."""
    return nn.Sequential(
        nn.Linear(dim, hidden_dim, bias=False),
        nn.BatchNorm1d(hidden_dim),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_dim, dim),
    )
