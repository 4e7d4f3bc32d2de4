"""Combining several query vectors into one direction to search in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ...encoder.onnx_encoder import ImageLike
from ..types import Item

Query = ImageLike | Item | NDArray[np.float32]

UNLIKE = -0.5  # weight of negative examples; Rocchio's feedback also gives them less weight
SHORTEST = 1e-3  # smallest length of a combination; below it, rounding would decide the direction


def combine(vectors: NDArray[np.float32], weights: Sequence[float]) -> NDArray[np.float32]:
    """Compute the direction of a weighted sum of query vectors.

    Args:
        vectors: Unit vectors, float32 (n, dim).
        weights: n weights; negative ones lead away.

    Returns:
        Unit vector, float32 (dim,).

    Raises:
        UserError: Weights are not finite, or the vectors cancel each other out.
    """
    factors = np.asarray(weights, np.float64)
    if factors.shape != (len(vectors),) or not np.isfinite(factors).all():
        raise UserError(f"give one finite weight for each of {len(vectors)} query images")
    total = factors @ vectors.astype(np.float64)
    length = float(np.linalg.norm(total))
    if length < SHORTEST * np.abs(factors).max(initial=0) or length == 0:
        raise UserError("the query images cancel each other out; give other weights, or other images")
    return (total / length).astype(np.float32)


def mean_weights(like: int, unlike: int) -> list[float]:
    """Return weights for the mean of positive queries minus half the mean of negative ones.

    Args:
        like: Number of positive queries.
        unlike: Number of negative queries.

    Returns:
        The weights, positive queries first.
    """
    return [1 / like] * like + [UNLIKE / unlike] * unlike if unlike else [1 / like] * like


def read_vectors(file: Path, dim: int) -> NDArray[np.float32]:
    """Read query vectors from an ``.npy`` file; nothing is unpickled.

    Args:
        file: The file; its array has the shape (dim,) or (n, dim).
        dim: Values per vector.

    Returns:
        float32 (n, dim).

    Raises:
        UserError: It cannot be read, or contains something else.
    """
    try:
        values = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not an .npy file of numbers"
        raise UserError(f"{file}: {reason}") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.shape[-1:] != (dim,) or values.ndim > 2:
        shape = getattr(values, "shape", "no array")
        raise UserError(f"{file}: expected floats of shape ({dim},) or (n, {dim}), found {shape}")
    vectors = np.atleast_2d(values).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    if not len(vectors) or not (np.isfinite(lengths) & (lengths > 0)).all():
        raise UserError(f"{file}: a vector in it is zero or not finite, or there is none")
    return vectors
