"""Vectors of regions, pooled from the maps of a whole picture: what ``methods/pooling.py`` does, in NumPy."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..methods.feature_description import GEM_POWER, Block
from .stage_network import StageNetwork

SMALLEST = 1e-6  # as in methods/pooling.py
SHORTEST = 1e-12  # a length below it counts as this, as in torch.nn.functional.normalize


def pool_regions(
    network: StageNetwork, maps: Mapping[int, NDArray[np.float32]], boxes: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Compute the vector of each region.

    Args:
        network: The network that made the maps.
        maps: Stage -> map, from ``StageNetwork.maps``.
        boxes: Left, top, width and height of each region as fractions of the picture, float (m, 4).

    Returns:
        float32 (m, dim), rows of length 1.
    """
    features = network.features
    parts = []
    for block in features.blocks:
        upright, *mirrored = maps[block.stage]
        pooled = _pooled(upright, boxes, block)
        if mirrored:
            left, top, width, height = boxes.T
            pooled = pooled + _pooled(mirrored[0], np.stack([1 - left - width, top, width, height], 1), block)
        elif features.flip:  # the map of the mirror image is nearly the mirror image of the map
            pooled = pooled + pooled[..., ::-1]
        parts.append(np.float32(block.weight) * _unit(pooled.reshape(len(boxes), -1)))
    vectors = _unit(np.concatenate(parts, 1))
    if network.mean is not None and network.projection is not None:
        vectors = _unit(((vectors - network.mean) @ network.projection).astype(np.float32, copy=False))
    return vectors


def _pooled(map_: NDArray[np.float32], boxes: NDArray[np.floating], block: Block) -> NDArray[np.float32]:
    """The map (c, h, w) pooled over the grid of each box: (m, c, rows, columns)."""
    rows = _shares(boxes[:, 1], boxes[:, 3], block.rows, map_.shape[1])
    columns = _shares(boxes[:, 0], boxes[:, 2], block.columns, map_.shape[2])
    if block.pooling == "gem":
        map_ = np.maximum(map_, SMALLEST) ** np.float32(GEM_POWER)
    # all cells of all boxes in one product; (m, rows, columns, h, w) weights are few beside the channels
    shares = rows[:, :, None, :, None] * columns[:, None, :, None, :]
    channels, cells = len(map_), block.rows * block.columns
    pooled = shares.reshape(len(boxes) * cells, -1) @ map_.reshape(channels, -1).T
    pooled = pooled.reshape(len(boxes), block.rows, block.columns, channels).transpose(0, 3, 1, 2)
    if block.pooling == "gem":
        pooled = pooled ** np.float32(1 / GEM_POWER)
    return pooled.astype(np.float32, copy=False)


def _shares(start: NDArray[np.floating], length: NDArray[np.floating], cells: int, places: int) -> NDArray[np.float32]:
    """How much each place of a map counts for the mean of each cell, along one axis: (m, cells, places)."""
    edges = (start[:, None] + length[:, None] * np.arange(cells + 1) / cells) * places
    # a cell keeps some width where a box touches the border
    first, last = np.clip(edges[:, :-1, None], 0, places - 1e-3), np.clip(edges[:, 1:, None], 1e-3, places)
    place = np.arange(places)
    overlap = np.clip(np.minimum(last, place + 1) - np.maximum(first, place), 0, None)
    return (overlap / overlap.sum(2, keepdims=True)).astype(np.float32)


def _unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), SHORTEST)
    return (rows / lengths).astype(np.float32, copy=False)
