"""Unit vectors in clusters whose members are known."""

import numpy as np
from numpy.typing import NDArray

SIZES = (40, 25, 15, 8)  # images of the clusters


def unit(vectors: NDArray) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def planted_clusters(spread: float = 0.15) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors around four axes, and the number of each one's axis."""
    generator = np.random.default_rng(1)
    numbers = np.repeat(np.arange(len(SIZES)), SIZES)
    order = generator.permutation(len(numbers))
    vectors = np.eye(8)[numbers] + generator.normal(0, spread, (len(numbers), 8))
    return unit(vectors)[order], numbers[order]
