"""The MLPs after the backbone: projector and predictor (SimSiam, section 3)."""

from itertools import pairwise

from torch import nn

BN_PLACEMENTS = ("none", "hidden", "default", "all")  # rows (a) to (d) of table 3


def _linear(width_in: int, width_out: int, norm: bool, *, affine: bool = True) -> list[nn.Module]:
    """A linear layer followed by BN, or with a bias: BN after a bias would cancel it."""
    if norm:
        return [nn.Linear(width_in, width_out, bias=False), nn.BatchNorm1d(width_out, affine=affine)]
    return [nn.Linear(width_in, width_out)]


def projector(in_dim: int, hidden_dim: int, out_dim: int, layers: int = 3, bn: str = "default") -> nn.Sequential:
    """Build the projection MLP: (n, in_dim) -> (n, out_dim).

    BN follows every linear layer, including the last one. ReLU follows all but the last one. The last BN has no scale
    and shift (``affine=False``).

    Args:
        in_dim: Width of the features.
        hidden_dim: Width of the hidden layers.
        out_dim: Width of the projections.
        layers: Number of linear layers: 3 for ImageNet, 2 for CIFAR-10 (appendix D).
        bn: Placement of BN as in table 3: "none" has no BN, "hidden" has BN in hidden layers only, "default" and "all"
            have BN everywhere.

    Returns:
        The layers.

    Raises:
        ValueError: ``layers`` is below 1, or ``bn`` is unknown.
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
    """Build the prediction MLP *h*, a bottleneck: (n, dim) -> (n, dim).

    Its last layer has a bias, no BN and no ReLU.

    Args:
        dim: Width of the projections.
        hidden_dim: Width of the hidden layer.
        bn: Placement of BN as in table 3: "none" has no BN, "hidden" and "default" have BN in the hidden layer, "all"
            also after the last layer (row d, which does not converge).

    Returns:
        The layers.

    Raises:
        ValueError: ``bn`` is unknown.
    """
    if bn not in BN_PLACEMENTS:
        raise ValueError(f"unknown BN placement {bn!r}; choose from {', '.join(BN_PLACEMENTS)}")
    return nn.Sequential(
        *_linear(dim, hidden_dim, bn != "none"), nn.ReLU(inplace=True), *_linear(hidden_dim, dim, bn == "all")
    )
