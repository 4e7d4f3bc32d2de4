"""Does an exported file give what the torch model gives? Measured on held-out images before the file is kept."""

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
TIE = 1e-5  # cosines closer than this are in no order: copies of an image, float32 rounding
VOTING = 20  # neighbours of the kNN classifier
TEMPERATURE = 0.1
BATCHES = (1, 2, 7, 64)
WHOLE_IMAGES = 32


@dataclass(frozen=True)
class Parity:
    """Differences between the torch model and an exported file over ``images`` held-out images."""

    images: int
    largest_difference: float  # over all components of all unit vectors, from the same pixels
    mean_difference: float
    smallest_cosine: float  # of an image's two vectors, from the same pixels; 1 is equal
    mean_cosine: float
    recall_at_10: float  # of torch's 10 nearest of the held-out images, the part among the file's 10 nearest
    smallest_cosine_whole: float  # of a file's vectors of an image cropped by Pillow, and of the whole by the graph
    batches: tuple[int, ...]  # batch sizes that were run
    largest_batch_difference: float  # of a component, between batch sizes
    knn: float | None  # top-1 in [0, 1] with the file's vectors, leave one out; None without labels
    knn_torch: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Reference:
    """The torch model's vectors of held-out images."""

    squares: Squares
    vectors: NDArray[np.float32]  # (n, dim)
    labels: NDArray[np.int64] | None


def torch_vectors(network: UnitVectors, pixels: NDArray[np.uint8], *, batch_size: int = 32) -> NDArray[np.float32]:
    """Unit vectors (n, dim) of ``pixels`` (n, s, s, channels) through torch, in float32 on the CPU."""
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_size):
            batch = torch.from_numpy(pixels[start : start + batch_size].astype(np.float32))
            vectors.append(network(batch.permute(0, 3, 1, 2).contiguous()).numpy())
    return np.concatenate(vectors)


def refer(network: UnitVectors, squares: Squares, labels: dict[Path, str]) -> Reference:
    """Embed held-out images with torch; ``labels`` may be empty."""
    classes = sorted(set(labels.values()))
    numbers = np.array([classes.index(labels[file]) for file in squares.files]) if labels else None
    return Reference(squares, torch_vectors(network, squares.pixels), numbers)


def measure(reference: Reference, encoder: Encoder) -> Parity:
    """Embed the same images with ``encoder`` and compare; then whole files, and several batch sizes."""
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
    """Vectors of ``pixels`` (n, s, s, channels), ``size`` at a time."""
    return np.concatenate([encoder.embed_pixels(pixels[at : at + size]) for at in range(0, len(pixels), size)])


def neighbour_recall(reference: NDArray[np.float32], vectors: NDArray[np.float32], k: int = NEIGHBOURS) -> float:
    """Recall@k of the neighbours that ``vectors`` give against those of ``reference``; both (n, dim), unit rows.

    Each image is a query among all others. A neighbour counts when the reference has it among its ``k`` nearest, or no
    farther than the ``k``-th by ``TIE``, so that equal images in another order are no fault. With n - 1 images or fewer
    to find, all of them are found.
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
    """Top-1 of the weighted kNN classifier (Wu et al. 2018, section 3.4), each image among all others.

    ``VOTING`` neighbours vote with exp(cosine / ``TEMPERATURE``).
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
    """The graph's resampling equals Pillow's but for a grey level here and there; this shows what that matters."""
    cosines = []
    for file in files:
        decoded = read_image(file, encoder.decode_side, encoder.reading)
        image = np.asarray(decoded.image) if decoded.planes is None else decoded.planes
        square = square_of(decoded, encoder.image_size)
        whole, cut = (encoder.embed_pixels(pixels[None])[0] for pixels in (image, square))
        cosines.append(float(whole @ cut))
    return min(cosines)


def _batch_difference(encoder: Encoder, pixels: NDArray[np.uint8]) -> float:
    """The same images one by one and in batches of each size."""
    pixels = np.resize(pixels, (max(BATCHES), *pixels.shape[1:]))  # repeats what there is
    singly = np.concatenate([encoder.embed_pixels(pixels[at : at + 1]) for at in range(len(pixels))])
    differences = [np.abs(encoder.embed_pixels(pixels[:size]) - singly[:size]).max() for size in BATCHES]
    return float(max(differences))
