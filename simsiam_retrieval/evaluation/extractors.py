"""Feature extractors: an encoder, and the baselines that it is compared with."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..encoder.embed_files import embed_files
from ..encoder.onnx_encoder import Encoder, load_encoder
from ..images.centre_crop import centre_planes
from ..images.files import ImageFile
from ..images.normalisation import IMAGENET, Normalisation
from ..images.reading import AS_THEY_ARE, Reading
from ..methods.feature_description import described
from ..metrics.whitening import Whitening
from .centre_squares import read_squares

PIXEL_SIDE = 32  # side in pixels of the raw-pixel baseline
SEED = 0  # seed of the random weights
Row = tuple[NDArray | None, str]  # a stored vector, or None and the reason


class Extractor(Protocol):
    """Images -> features. Vectors are stored in the dtype ``stored``; ``unit_rows`` makes float32 unit rows of them.

    Attributes:
        name: Name in tables.
        identity: A hash; extractors with equal identities give equal features.
        about: One line that describes it.
        side: Side of the squares that it uses, in pixels.
        dim: Numbers of a vector.
        stored: dtype of stored vectors.
    """

    name: str
    identity: str
    about: str
    side: int
    dim: int
    stored: np.dtype
    reading: Reading  # how it reads files

    def rows(self, files: Sequence[ImageFile], workers: int | None) -> Iterator[list[Row]]:
        """Compute the features of files.

        Args:
            files: The files.
            workers: Number of worker processes; None chooses it.

        Yields:
            One row per file, in chunks and in order.
        """
        ...

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray:
        """Compute the features of squares.

        Args:
            squares: uint8 (n, s, s, channels); s is ``side``, or larger if the extractor resizes.

        Returns:
            Stored vectors (n, dim).
        """
        ...


class EncoderExtractor:
    """The features of an ONNX encoder.

    Args:
        encoder: The encoder.
        name: Name in tables.
    """

    def __init__(self, encoder: Encoder, name: str) -> None:
        self.encoder, self.name = encoder, name
        self.identity, self.side, self.dim = encoder.identity, encoder.image_size, encoder.dim
        self.stored, self.reading = np.dtype(np.float32), encoder.reading
        self.about = f"encoder {encoder.identity}, {encoder.image_size} px"

    def rows(self, files: Sequence[ImageFile], workers: int | None) -> Iterator[list[Row]]:
        """See ``Extractor.rows``."""
        for chunk in embed_files(files, self.encoder, workers=workers):
            yield [(embedded.vector, embedded.error or "no reason given") for embedded in chunk]

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray:
        """See ``Extractor.embed_squares``."""
        return np.concatenate([self.encoder.embed_pixels(part) for part in _parts(squares)])


class PixelExtractor:
    """Raw pixels: the centre square at ``PIXEL_SIDE`` as one long vector."""

    def __init__(self, reading: Reading = AS_THEY_ARE) -> None:
        self.name, self.reading = "raw pixels", reading
        self.side, self.dim, self.stored = PIXEL_SIDE, reading.channels * PIXEL_SIDE**2, np.dtype(np.uint8)
        self.identity = f"pixels-{PIXEL_SIDE}{_suffix(reading)}"
        values = "RGB values" if reading.is_rgb else f"{reading.channels} values a pixel"
        self.about = f"centre square at {PIXEL_SIDE} x {PIXEL_SIDE} px, {values} as one vector of length 1"

    def rows(self, files: Sequence[ImageFile], workers: int | None) -> Iterator[list[Row]]:
        """See ``Extractor.rows``."""
        for chunk in read_squares(files, self.side, workers=workers, reading=self.reading):
            yield [(None, square) if isinstance(square, str) else (square.reshape(-1), "") for square in chunk]

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray:
        """See ``Extractor.embed_squares``."""
        small = [centre_planes(square, self.side) for square in squares]
        return np.stack(small).reshape(len(squares), -1)


class NetworkExtractor:
    """A torch backbone in eval mode on the CPU, with the same centre squares as an exported encoder.

    Args:
        network: The backbone.
        side: Side of the squares in pixels.
        name: Name in tables.
        about: One line that describes it.
    """

    def __init__(self, network: nn.Module, side: int, name: str, about: str, reading: Reading = AS_THEY_ARE) -> None:
        self.reading = reading
        self.network, self.side, self.name, self.about = network.eval(), side, name, about
        self.dim, self.stored = int(network.feature_dim), np.dtype(np.float32)  # type: ignore[arg-type]
        self.identity = f"{weights_hash(network)}-{side}{_suffix(reading)}"

    def rows(self, files: Sequence[ImageFile], workers: int | None) -> Iterator[list[Row]]:
        """See ``Extractor.rows``."""
        for chunk in read_squares(files, self.side, workers=workers, reading=self.reading):
            squares = [square for square in chunk if not isinstance(square, str)]
            vectors = iter(self.embed_squares(np.stack(squares)) if squares else ())
            yield [(None, square) if isinstance(square, str) else (next(vectors), "") for square in chunk]

    @torch.inference_mode()
    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray:
        """See ``Extractor.embed_squares``."""
        return np.concatenate([self.network(normalised(part, self.network)).numpy() for part in _parts(squares)])


class ReducedExtractor:
    """Another extractor's features after PCA, as an encoder has it in its graph.

    Args:
        inner: The other extractor.
        reduction: The fitted PCA.
        name: Name in tables.
        about: One line that describes it.
    """

    def __init__(self, inner: Extractor, reduction: Whitening, name: str, about: str) -> None:
        self.inner, self.reduction, self.reading = inner, reduction, inner.reading
        self.name, self.side, self.about = name, inner.side, about
        self.dim, self.stored = reduction.projection.shape[1], np.dtype(np.float32)
        axes = np.concatenate([reduction.mean.numpy()[:, None], reduction.projection.numpy()], axis=1)
        self.identity = f"{inner.identity}-{hashlib.sha256(axes.tobytes()).hexdigest()[:8]}"

    def rows(self, files: Sequence[ImageFile], workers: int | None) -> Iterator[list[Row]]:
        """See ``Extractor.rows``."""
        for chunk in self.inner.rows(files, workers):
            yield [(None if row is None else self.reduced(row[None])[0], reason) for row, reason in chunk]

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray:
        """See ``Extractor.embed_squares``."""
        return self.reduced(self.inner.embed_squares(squares))

    def reduced(self, stored: NDArray) -> NDArray[np.float32]:
        """Apply the PCA.

        Args:
            stored: Stored vectors of the other extractor (n, d).

        Returns:
            Unit rows, float32 (n, dim).
        """
        return self.reduction(unit_rows(stored)).numpy()


def _suffix(reading: Reading) -> str:
    """What tells features of differently read files apart; nothing for the usual way."""
    return "".join(f"-{name}-{value.replace(' ', '-')}" for name, value in reading.described().items())


def normalised(squares: NDArray[np.uint8], network: nn.Module) -> Tensor:
    """Convert squares to the input of a backbone.

    Args:
        squares: uint8 (n, s, s, c).
        network: The backbone.

    Returns:
        float32 (n, c, s, s), normalised.
    """
    x = torch.from_numpy(squares).permute(0, 3, 1, 2).float().div_(255)
    mean, std = (torch.tensor(values)[:, None, None] for values in normalisation_of(network))
    return x.sub_(mean).div_(std)


def normalisation_of(network: nn.Module) -> Normalisation:
    """Return the normalisation that a backbone expects.

    Args:
        network: The backbone.

    Returns:
        Its normalisation; ImageNet's if it has none.
    """
    return getattr(network, "normalisation", IMAGENET)


def unit_rows(stored: NDArray) -> Tensor:
    """Convert stored vectors to rows of length 1. A row of zeros stays zero.

    Args:
        stored: Stored vectors (n, d).

    Returns:
        float32 (n, d).
    """
    rows = torch.from_numpy(
        stored.astype(np.float32)
    )  # normalised in place, because a large set's pixels fit into memory only once
    return rows.div_(rows.norm(dim=1, keepdim=True).clamp_(min=1e-12))


def weights_hash(network: nn.Module) -> str:
    """Hash all parameters and buffers of a network.

    Args:
        network: The network.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def open_extractor(encoder: str | Path | None, device: str = "auto") -> EncoderExtractor:
    """Load an encoder as an extractor, named after its run folder or file.

    Args:
        encoder: See ``load_encoder``.
        device: See ``load_encoder``.

    Returns:
        The extractor.

    Raises:
        UserError: As in ``load_encoder``.
    """
    name = "shipped encoder" if encoder is None else Path(encoder).expanduser().resolve().stem
    if name == "encoder" and encoder is not None:
        name = Path(encoder).expanduser().resolve().parent.name  # RUN/encoder.onnx
    return EncoderExtractor(load_encoder(encoder, device=device), name)


def random_weights(encoder: Encoder) -> NetworkExtractor | None:
    """Build the network of an encoder with random weights and the same pooling, without PCA.

    Features that are not made of stages (projections) are compared with the last stage.

    Args:
        encoder: The encoder.

    Returns:
        The extractor; None if the encoder's file does not name its network.
    """
    from ..methods.backbone import build_backbone
    from ..methods.bn_folding import stored_normalisation
    from ..methods.pooling import PooledStages

    backbone, stem = encoder.metadata.get("backbone"), encoder.metadata.get("stem", "imagenet")
    if backbone is None:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        try:
            network = build_backbone(backbone, stem, stored_normalisation(encoder.metadata))
        except ValueError:
            return None
    about = f"{backbone}, {stem} stem, as initialised with seed {SEED}, {encoder.image_size} px"
    features = described(encoder.metadata)
    if features is not None and not features.plain:
        network = PooledStages(network, features, encoder.image_size)
        about += f", features {features.reduced(None, 0)}"
    return NetworkExtractor(network, encoder.image_size, "random weights", about, encoder.reading)


def _parts(squares: NDArray[np.uint8], size: int = 64) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(squares), size):
        yield squares[start : start + size]
