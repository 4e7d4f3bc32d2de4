"""Features from the stages of a backbone, as a feature description says: pooled on grids, concatenated, with flip."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import UserError
from .feature_description import GEM_POWER, Block, Features

STEM = ("conv1", "bn1", "relu", "maxpool")  # in torchvision's ResNets; layer1 to layer4 follow
CHANNELS = 3
SMALLEST = 1e-6  # lower bound of activations for the generalised mean: the slope of its root is infinite at 0


class PooledStages(nn.Module):
    """The first stages of a backbone and the blocks of ``features``, computed from their maps. PCA is not included.

    Input: normalised pixels (n, 3, s, s). Output: float (n, ``feature_dim``), where the length of each block is its
    weight. Modules keep the backbone's names. Stages that no block needs are left out.

    Args:
        backbone: A network from ``build_backbone``.
        features: Description of the vector.
        side: Side of the images in pixels.

    Raises:
        UserError: At ``side`` pixels a stage's map has fewer rows or columns than its grid.
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
        """Compute the map of each stage.

        Args:
            x: Normalised pixels (n, 3, s, s).

        Returns:
            One map (n, c, h, w) per stage; the stem's is first.
        """
        for name in STEM:
            x = self.get_submodule(name)(x)
        maps = [x]
        for name in self.names:
            maps.append(self.get_submodule(name)(maps[-1]))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Compute the blocks, concatenated.

        Args:
            x: Normalised pixels (n, 3, s, s).

        Returns:
            Float (n, ``feature_dim``).
        """
        if self.features.flip:  # one batch, so that the exported graph contains each convolution once
            x = torch.cat([x, x.flip(3)])
        return combined(self.maps(x), self.features)


def combined(maps: Sequence[Tensor], features: Features) -> Tensor:
    """Pool the maps of the stages and concatenate the blocks of ``features``.

    Args:
        maps: The map (n, c, h, w) of each stage, the stem's first. With ``flip``: (2 n, c, h, w), n images followed by
            their mirror images.
        features: Description of the vector.

    Returns:
        Float (n, d). The length of each block is its weight.
    """
    blocks = []
    for block in features.blocks:
        pooled = pool(maps[block.stage], block).flatten(1)
        if features.flip:
            pooled = pooled.unflatten(0, (2, -1)).sum(dim=0)
        blocks.append(block.weight * F.normalize(pooled, dim=1))
    return torch.cat(blocks, dim=1)


def pool(x: Tensor, block: Block) -> Tensor:
    """Pool a map over the cells of a grid.

    If the border between two cells crosses a position of the map, the position counts partly for both cells.

    Args:
        x: Map (n, c, h, w).
        block: Grid and pooling.

    Returns:
        (n, c, rows, columns): mean, or generalised mean, of each cell's area.
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
    """Compute how much each position of a map contributes to the mean of each cell, along one axis.

    Args:
        cells: Number of cells.
        places: Number of positions.

    Returns:
        float32 (cells, places); rows sum to 1.
    """
    edges = torch.arange(cells + 1, dtype=torch.float64) * places / cells
    start, stop = edges[:-1, None], edges[1:, None]
    place = torch.arange(places, dtype=torch.float64)
    overlap = (torch.minimum(stop, place + 1) - torch.maximum(start, place)).clamp(min=0)
    return (overlap * cells / places).float()
