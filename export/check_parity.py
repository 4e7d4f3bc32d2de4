"""Comparing an exported file with the PyTorch model on held-out images, before the file is kept."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.images.decode import read_image, square_of

from .exported_network import UnitVectors
from .held_out_images import Squares

NEIGHBOURS = 10
TIE = 1e-5  # cosines closer than this count as equal: copies of an image, float32 rounding
VOTING = 20  # neighbours of the kNN classifier
TEMPERATURE = 0.1
BATCHES = (1, 2, 7, 64)
WHOLE_IMAGES = 32


@dataclass(frozen=True)
class Parity:
    """Differences between the PyTorch model and an exported file.

    Attributes:
        images: Number of held-out images.
        largest_difference: Largest difference of a component of a unit vector, from the same pixels.
        mean_difference: Mean difference of the components.
        smallest_cosine: Smallest cosine between an image's two vectors, from the same pixels; 1 means equal.
        mean_cosine: Mean cosine between an image's two vectors.
        recall_at_10: Fraction of PyTorch's top 10 that is also in the file's top 10, among the held-out images.
        smallest_cosine_whole: Smallest cosine between a file's vector of an image cropped by Pillow and its vector of
            the whole image, cropped by the graph.
        batches: Batch sizes that were run.
        largest_batch_difference: Largest difference of a component between batch sizes.
        knn: Top-1 of kNN with the file's vectors, leave one out, in [0, 1]; None without labels.
        knn_torch: The same with PyTorch's vectors.
    """

    images: int
    largest_difference: float
    mean_difference: float
    smallest_cosine: float
    mean_cosine: float
    recall_at_10: float
    smallest_cosine_whole: float
    batches: tuple[int, ...]
    largest_batch_difference: float
    knn: float | None
    knn_torch: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the values for ``export.json``.

        Returns:
            Name -> value.
        """
        return asdict(self)


@dataclass(frozen=True)
class Reference:
    """The PyTorch model's vectors of held-out images.

    Attributes:
        squares: The images.
        vectors: float32 (n, dim).
        labels: int64 (n,), or None.
    """

    squares: Squares
    vectors: NDArray[np.float32]
    labels: NDArray[np.int64] | None


def torch_vectors(network: UnitVectors, pixels: NDArray[np.uint8], *, batch_size: int = 32) -> NDArray[np.float32]:
    """Embed images with PyTorch, in float32 on the CPU.

    Args:
        network: The network.
        pixels: uint8 (n, s, s, channels).
        batch_size: Images per batch.

    Returns:
        Unit vectors, float32 (n, dim).
    """
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_size):
            batch = torch.from_numpy(pixels[start : start + batch_size].astype(np.float32))
            vectors.append(network(batch.permute(0, 3, 1, 2).contiguous()).numpy())
    return np.concatenate(vectors)


def refer(network: UnitVectors, squares: Squares, labels: dict[Path, str]) -> Reference:
    """Embed held-out images with PyTorch.

    Args:
        network: The network.
        squares: The images.
        labels: File -> class; may be empty.

    Returns:
        The vectors.
    """
    classes = sorted(set(labels.values()))
    numbers = np.array([classes.index(labels[file]) for file in squares.files]) if labels else None
    return Reference(squares, torch_vectors(network, squares.pixels), numbers)


def measure(reference: Reference, encoder: Encoder) -> Parity:
    """Embed the same images with an exported file and compare; also whole files, and several batch sizes.

    Args:
        reference: PyTorch's vectors.
        encoder: The exported file.

    Returns:
        The differences.
    """
    a, b = reference.vectors, in_batches(encoder, reference.squares.pixels)
    difference = np.abs(a - b)
    cosine = (a * b).sum(axis=1)
    labels = reference.labels
    return Parity(
        images=len(a),
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        smallest_cosine=float(cosine.min()),
        mean_cosine=float(cosine.mean()),
        recall_at_10=neighbour_recall(a, b),
        smallest_cosine_whole=_whole(encoder, reference.squares.files[:: max(1, len(a) // WHOLE_IMAGES)]),
        batches=BATCHES,
        largest_batch_difference=_batch_difference(encoder, reference.squares.pixels),
        knn=None if labels is None else knn_accuracy(b, labels),
        knn_torch=None if labels is None else knn_accuracy(a, labels),
    )


def in_batches(encoder: Encoder, pixels: NDArray[np.uint8], size: int = 32) -> NDArray[np.float32]:
    """Embed images in batches.

    Args:
        encoder: The encoder.
        pixels: uint8 (n, s, s, channels).
        size: Images per batch.

    Returns:
        float32 (n, dim).
    """
    return np.concatenate([encoder.embed_pixels(pixels[at : at + size]) for at in range(0, len(pixels), size)])


def neighbour_recall(reference: NDArray[np.float32], vectors: NDArray[np.float32], k: int = NEIGHBOURS) -> float:
    """Compute recall@k of the neighbours by ``vectors`` against those by ``reference``.

    Each image is a query among all others. A neighbour counts if the reference has it among its ``k`` nearest, or at
    most ``TIE`` farther than the ``k``-th. Equal images in another order are therefore no error. If there are ``k``
    other images or fewer, recall is 1.

    Args:
        reference: Unit rows, float32 (n, dim).
        vectors: Unit rows, float32 (n, dim).
        k: Number of neighbours.

    Returns:
        Recall in [0, 1].
    """
    k = min(k, len(reference) - 1)
    own = reference @ reference.T
    found = vectors @ vectors.T
    for similarity in (own, found):
        np.fill_diagonal(similarity, -np.inf)
    least = np.partition(own, -k, axis=1)[:, -k]
    nearest = np.argpartition(found, -k, axis=1)[:, -k:]
    return float((np.take_along_axis(own, nearest, axis=1) >= least[:, None] - TIE).mean())


def knn_accuracy(vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Compute top-1 of the weighted kNN classifier (Wu et al. 2018, section 3.4), leave one out.

    ``VOTING`` neighbours vote with exp(cosine / ``TEMPERATURE``).

    Args:
        vectors: Unit rows, float32 (n, dim).
        labels: int64 (n,).

    Returns:
        Accuracy in [0, 1].
    """
    k = min(VOTING, len(vectors) - 1)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argpartition(similarity, -k, axis=1)[:, -k:]
    weights = np.exp(np.take_along_axis(similarity, nearest, axis=1) / TEMPERATURE)
    votes = np.zeros((len(vectors), int(labels.max()) + 1))
    np.add.at(votes, (np.arange(len(vectors))[:, None], labels[nearest]), weights)
    return float((votes.argmax(axis=1) == labels).mean())


def _whole(encoder: Encoder, files: Sequence[Path]) -> float:
    """Smallest cosine between whole images and Pillow's crops: the graph's resampling differs by some grey levels."""
    cosines = []
    for file in files:
        decoded = read_image(file, encoder.decode_side, encoder.reading)
        image = np.asarray(decoded.image) if decoded.planes is None else decoded.planes
        square = square_of(decoded, encoder.image_size)
        whole, cut = (encoder.embed_pixels(pixels[None])[0] for pixels in (image, square))
        cosines.append(float(whole @ cut))
    return min(cosines)


def _batch_difference(encoder: Encoder, pixels: NDArray[np.uint8]) -> float:
    """Largest difference between vectors of single images and of batches of each size."""
    pixels = np.resize(pixels, (max(BATCHES), *pixels.shape[1:]))  # repeats the images
    singly = np.concatenate([encoder.embed_pixels(pixels[at : at + 1]) for at in range(len(pixels))])
    differences = [np.abs(encoder.embed_pixels(pixels[:size]) - singly[:size]).max() for size in BATCHES]
    return float(max(differences))
