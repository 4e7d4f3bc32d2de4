"""Features of a backbone as a description says: stages pooled on grids, beside each other, mirror images added."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import UserError
from .feature_description import GEM_POWER, Block, Features

STEM = ("conv1", "bn1", "relu", "maxpool")  # of torchvision's ResNets; what comes after is layer1 to layer4
CHANNELS = 3
SMALLEST = 1e-6  # of an activation under the generalised mean's root, whose slope at 0 is infinite


class PooledStages(nn.Module):
    """The first stages of a backbone, and the blocks of ``features`` from their maps; PCA is not its business.

    Normalised pixels (n, 3, s, s) -> float (n, ``feature_dim``): each block has the length of its weight. Modules keep
    the backbone's names, and stages that no block needs are not there.

    Raises :class:`UserError` where a stage's map at ``side`` pixels has fewer rows or columns than its grid.
    """

    def __init__(self, backbone: nn.Module, features: Features, side: int) -> None:
        super().__init__()
        self.features = features
        self.names = [f"layer{number}" for number in range(1, features.last_stage + 1)]
        for name in (*STEM, *self.names):
            self.add_module(name, getattr(backbone, name))
        self.name, self.stem, self.normalisation = backbone.name, backbone.stem, backbone.normalisation
        self.eval()
        with torch.no_grad():
            maps = self.maps(torch.zeros(1, CHANNELS, side, side))
        for block in features.blocks:
            rows, columns = maps[block.stage].shape[2:]
            if block.rows > rows or block.columns > columns:
                raise UserError(
                    f"--features {features}: {block}: at {side} px the map of stage {block.stage} has {rows} x "
                    f"{columns} places; give @{min(block.rows, rows)}x{min(block.columns, columns)}, or a larger "
                    "--image-size"
                )
        self.feature_dim = sum(maps[block.stage].shape[1] * block.rows * block.columns for block in features.blocks)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Each stage's map (n, c, h, w), the stem's first."""
        for name in STEM:
            x = self.get_submodule(name)(x)
        maps = [x]
        for name in self.names:
            maps.append(self.get_submodule(name)(maps[-1]))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        if self.features.flip:  # as one batch, so that the graph holds each convolution once
            x = torch.cat([x, x.flip(3)])
        return combined(self.maps(x), self.features)


def combined(maps: Sequence[Tensor], features: Features) -> Tensor:
    """The blocks of ``features`` side by side, (n, d), from each stage's map (n, c, h, w).

    With ``flip`` the maps are of n images followed by their mirror images: (2 n, c, h, w).
    """
    blocks = []
    for block in features.blocks:
        pooled = pool(maps[block.stage], block).flatten(1)
        if features.flip:
            pooled = pooled.unflatten(0, (2, -1)).sum(dim=0)
        blocks.append(block.weight * F.normalize(pooled, dim=1))
    return torch.cat(blocks, dim=1)


def pool(x: Tensor, block: Block) -> Tensor:
    """A map (n, c, h, w) -> (n, c, rows, columns): each cell's mean, or generalised mean, over its area.

    Where a cell's border runs through a place of the map, the place counts in part for both cells.
    """
    if block.pooling == "gem":
        x = x.clamp(min=SMALLEST) ** GEM_POWER
    if (block.rows, block.columns) == (1, 1):
        x = x.mean(dim=(2, 3), keepdim=True)
    elif x.shape[2] % block.rows == 0 and x.shape[3] % block.columns == 0:
        x = F.avg_pool2d(x, (x.shape[2] // block.rows, x.shape[3] // block.columns))
    else:
        x = areas(block.rows, x.shape[2]).to(x) @ x @ areas(block.columns, x.shape[3]).to(x).T
    return x ** (1 / GEM_POWER) if block.pooling == "gem" else x


def areas(cells: int, places: int) -> Tensor:
    """The part of each of ``places`` in the mean of each of ``cells``, float32 (cells, places); rows sum to 1."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * places / cells
    start, stop = edges[:-1, None], edges[1:, None]
    place = torch.arange(places, dtype=torch.float64)
    overlap = (torch.minimum(stop, place + 1) - torch.maximum(start, place)).clamp(min=0)
    return (overlap * cells / places).float()
