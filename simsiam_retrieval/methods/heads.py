"""The MLPs behind the backbone: projector and predictor (SimSiam, section 3)."""

from itertools import pairwise

from torch import nn

BN_PLACEMENTS = ("none", "hidden", "default", "all")  # rows (a) to (d) of table 3


def _linear(width_in: int, width_out: int, norm: bool, *, affine: bool = True) -> list[nn.Module]:
    """A linear layer, with BN or with a bias: BN behind a bias would cancel it."""
    if norm:
        return [nn.Linear(width_in, width_out, bias=False), nn.BatchNorm1d(width_out, affine=affine)]
    return [nn.Linear(width_in, width_out)]


def projector(in_dim: int, hidden_dim: int, out_dim: int, layers: int = 3, bn: str = "default") -> nn.Sequential:
    """Projection MLP: (n, in_dim) -> (n, out_dim).

    BN follows every linear layer, the output's too; ReLU follows all but the output. The output BN has no scale
    and shift (``affine=False``). ``layers`` is 3 for ImageNet and 2 for CIFAR-10 (appendix D). ``bn`` takes BN away
    as in table 3: "none" from all layers, "hidden" keeps it in hidden layers only.
    """
    if layers < 1:
        raise ValueError("a projector needs at least one layer")
    if bn not in BN_PLACEMENTS:
        raise ValueError(f"unknown BN placement {bn!r}; choose from {', '.join(BN_PLACEMENTS)}")
    widths = [in_dim] + [hidden_dim] * (layers - 1) + [out_dim]
    modules: list[nn.Module] = []
    for index, (width_in, width_out) in enumerate(pairwise(widths)):
        if index == layers - 1:
            modules += _linear(width_in, width_out, bn in ("default", "all"), affine=False)
        else:
            modules += [*_linear(width_in, width_out, bn != "none"), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules)


def predictor(dim: int, hidden_dim: int, bn: str = "default") -> nn.Sequential:
    """Prediction MLP *h*, a bottleneck: (n, dim) -> (n, dim); its output has a bias and no BN and no ReLU.

    ``bn``: "none" takes the hidden BN away, "all" adds one to the output (table 3 d, which does not converge).
    """
    if bn not in BN_PLACEMENTS:
        raise ValueError(f"unknown BN placement {bn!r}; choose from {', '.join(BN_PLACEMENTS)}")
    return nn.Sequential(
        *_linear(dim, hidden_dim, bn != "none"), nn.ReLU(inplace=True), *_linear(hidden_dim, dim, bn == "all")
    )
