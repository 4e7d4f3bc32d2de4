"""What turns pictures into features: an encoder, and the baselines that every number is held against."""

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
from ..images.decode import centre_planes
from ..images.files import ImageFile
from ..images.normalisation import IMAGENET, Normalisation
from ..images.reading import AS_THEY_ARE, Reading
from ..methods.feature_description import described
from ..metrics.whitening import Whitening
from .centre_squares import read_squares

PIXEL_SIDE = 32  # of the raw-pixel baseline
SEED = 0  # of the random weights

Row = tuple[NDArray | None, str]  # a stored vector, or None and the reason


class Extractor(Protocol):
    """Pictures -> features. Vectors are kept as ``stored`` says and become float32 unit rows in ``unit_rows``."""

    name: str  # in tables
    identity: str  # a hash: equal identities, equal features
    about: str  # one line on what it is
    side: int  # of the squares that it looks at, in pixels
    dim: int
    stored: np.dtype
    reading: Reading  # how it reads files

    def rows(self, files: Sequence[ImageFile], workers: int | None) -> Iterator[list[Row]]:
        """One row for each file, chunk by chunk, in order."""
        ...

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray:
        """Stored vectors (n, dim) of uint8 squares (n, s, s, c); s is ``side``, or larger where it does not matter."""
        ...


class EncoderExtractor:
    """An ONNX encoder."""

    def __init__(self, encoder: Encoder, name: str) -> None:
        self.encoder, self.name = encoder, name
        self.identity, self.side, self.dim = encoder.identity, encoder.image_size, encoder.dim
        self.stored, self.reading = np.dtype(np.float32), encoder.reading
        self.about = f"encoder {encoder.identity}, {encoder.image_size} px"

    def rows(self, files: Sequence[ImageFile], workers: int | None) -> Iterator[list[Row]]:
        for chunk in embed_files(files, self.encoder, workers=workers):
            yield [(embedded.vector, embedded.error or "no reason given") for embedded in chunk]

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray:
        return np.concatenate([self.encoder.embed_pixels(part) for part in _parts(squares)])


class PixelExtractor:
    """Raw pixels: the centre square at ``PIXEL_SIDE``, as one long vector."""

    def __init__(self, reading: Reading = AS_THEY_ARE) -> None:
        self.name, self.reading = "raw pixels", reading
        self.side, self.dim, self.stored = PIXEL_SIDE, reading.channels * PIXEL_SIDE**2, np.dtype(np.uint8)
        self.identity = f"pixels-{PIXEL_SIDE}{_suffix(reading)}"
        values = "RGB values" if reading.is_rgb else f"{reading.channels} values a pixel"
        self.about = f"centre square at {PIXEL_SIDE} x {PIXEL_SIDE} px, {values} as one vector of length 1"

    def rows(self, files: Sequence[ImageFile], workers: int | None) -> Iterator[list[Row]]:
        for chunk in read_squares(files, self.side, workers=workers, reading=self.reading):
            yield [(None, square) if isinstance(square, str) else (square.reshape(-1), "") for square in chunk]

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray:
        small = [centre_planes(square, self.side) for square in squares]
        return np.stack(small).reshape(len(squares), -1)


class NetworkExtractor:
    """A torch backbone in eval mode on the CPU, fed the centre square as an exported encoder is."""

    def __init__(self, network: nn.Module, side: int, name: str, about: str, reading: Reading = AS_THEY_ARE) -> None:
        self.reading = reading
        self.network, self.side, self.name, self.about = network.eval(), side, name, about
        self.dim, self.stored = int(network.feature_dim), np.dtype(np.float32)  # type: ignore[arg-type]
        self.identity = f"{weights_hash(network)}-{side}{_suffix(reading)}"

    def rows(self, files: Sequence[ImageFile], workers: int | None) -> Iterator[list[Row]]:
        for chunk in read_squares(files, self.side, workers=workers, reading=self.reading):
            squares = [square for square in chunk if not isinstance(square, str)]
            vectors = iter(self.embed_squares(np.stack(squares)) if squares else ())
            yield [(None, square) if isinstance(square, str) else (next(vectors), "") for square in chunk]

    @torch.inference_mode()
    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray:
        return np.concatenate([self.network(normalised(part, self.network)).numpy() for part in _parts(squares)])


class ReducedExtractor:
    """Another extractor's features behind PCA, as an encoder has it in its graph."""

    def __init__(self, inner: Extractor, reduction: Whitening, name: str, about: str) -> None:
        self.inner, self.reduction, self.reading = inner, reduction, inner.reading
        self.name, self.side, self.about = name, inner.side, about
        self.dim, self.stored = reduction.projection.shape[1], np.dtype(np.float32)
        axes = np.concatenate([reduction.mean.numpy()[:, None], reduction.projection.numpy()], axis=1)
        self.identity = f"{inner.identity}-{hashlib.sha256(axes.tobytes()).hexdigest()[:8]}"

    def rows(self, files: Sequence[ImageFile], workers: int | None) -> Iterator[list[Row]]:
        for chunk in self.inner.rows(files, workers):
            yield [(None if row is None else self.reduced(row[None])[0], reason) for row, reason in chunk]

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray:
        return self.reduced(self.inner.embed_squares(squares))

    def reduced(self, stored: NDArray) -> NDArray[np.float32]:
        """Unit vectors (n, dim) of what the other extractor stores, (n, d)."""
        return self.reduction(unit_rows(stored)).numpy()


def _suffix(reading: Reading) -> str:
    """What tells features of differently read files apart; nothing for the usual way."""
    return "".join(f"-{name}-{value.replace(' ', '-')}" for name, value in reading.described().items())


def normalised(squares: NDArray[np.uint8], network: nn.Module) -> Tensor:
    """uint8 (n, s, s, c) -> float32 (n, c, s, s), as the backbone ``network`` expects it."""
    x = torch.from_numpy(squares).permute(0, 3, 1, 2).float().div_(255)
    mean, std = (torch.tensor(values)[:, None, None] for values in normalisation_of(network))
    return x.sub_(mean).div_(std)


def normalisation_of(network: nn.Module) -> Normalisation:
    """What a backbone says of its input; ImageNet's where it says nothing."""
    return getattr(network, "normalisation", IMAGENET)


def unit_rows(stored: NDArray) -> Tensor:
    """Stored vectors (n, d) as float32 rows of length 1; a row of zeros stays one."""
    rows = torch.from_numpy(stored.astype(np.float32))  # a copy, normalised in place: a large set's pixels fit once
    return rows.div_(rows.norm(dim=1, keepdim=True).clamp_(min=1e-12))


def weights_hash(network: nn.Module) -> str:
    """A short hash of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def open_extractor(encoder: str | Path | None, device: str = "auto") -> EncoderExtractor:
    """The extractor of an ENCODER argument, named after its run folder or file.

    Raises :class:`UserError` as :func:`load_encoder` does.
    """
    name = "shipped encoder" if encoder is None else Path(encoder).expanduser().resolve().stem
    if name == "encoder" and encoder is not None:
        name = Path(encoder).expanduser().resolve().parent.name  # RUN/encoder.onnx
    return EncoderExtractor(load_encoder(encoder, device=device), name)


def random_weights(encoder: Encoder) -> NetworkExtractor | None:
    """The network of ``encoder`` as it is initialised, its stages pooled as the encoder's are, without PCA.

    None where the encoder does not say which network it is. Features that are not of stages (projections) are compared
    with the last stage.
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
