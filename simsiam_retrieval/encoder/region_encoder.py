"""Vectors of many regions of one picture: pooled from one pass of the network, or from one pass a region."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..images.decoded_image import Decoded
from .onnx_encoder import Encoder
from .pool_regions import pool_regions
from .stage_network import StageNetwork, stage_network

if TYPE_CHECKING:
    from collections.abc import Sequence

ENLARGED = 1.5  # short side of the picture in that one pass / side of the encoder's square; benchmarks/regions.py
LONGEST = 16  # a longer picture is squeezed to this many times its short side
PLAIN = 2.0  # standard deviation of each channel, in grey levels, up to which a region shows nothing
NEAR = 0.9  # cosine at least, of a pooled vector of the whole square with the encoder's own


@dataclass
class RegionEncoder:
    """Embeds regions on the CPU, in one thread. Can be sent to other processes, where it opens its own session.

    Attributes:
        file: The encoder's file, for a pass a region.
        image_size: Side of the encoder's square in pixels.
        network: For one pass a picture; None means a pass a region.
    """

    file: Path
    image_size: int
    network: StageNetwork | None
    _session: Any = field(default=None, repr=False)
    _encoder: Encoder | None = field(default=None, repr=False)

    @classmethod
    def of(cls, encoder: Encoder) -> "RegionEncoder":
        """Make the region encoder of an encoder.

        One pass a picture is used where vectors that are pooled in that way are near the encoder's own: where the file
        has the form that ``export`` writes, and no projector.

        Args:
            encoder: The encoder.

        Returns:
            The region encoder.
        """
        network = stage_network(encoder)
        made = cls(encoder.file, encoder.image_size, network)
        if network is not None and not made._is_near(encoder):
            made = cls(encoder.file, encoder.image_size, None)
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_session": None, "_encoder": None}

    def vectors(self, decoded: Decoded, boxes: NDArray[np.floating]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Compute the vectors of regions; plain ones, such as a cloudless sky, have none.

        Args:
            decoded: The picture.
            boxes: Left, top, width and height of each region as fractions of the picture, float (m, 4).

        Returns:
            Numbers of the regions that have a vector, (k,), and their unit vectors, float32 (k, dim).
        """
        if decoded.planes is None:
            parts = [decoded.image]
        else:
            parts = [Image.fromarray(plane) for plane in np.ascontiguousarray(decoded.planes.transpose(2, 0, 1))]
        small = self._reduced(parts)
        shown = np.array([at for at, box in enumerate(boxes) if _part(small, box).std((0, 1)).max() > PLAIN], np.intp)
        if not len(shown):
            return shown, np.zeros((0, 0), np.float32)
        if self.network is None:
            vectors = self._one_by_one(parts, boxes[shown])
        else:
            if self._session is None:
                self._session = self.network.open()
            vectors = pool_regions(self.network, self.network.maps(self._session, small), boxes[shown])
        whole = np.isfinite(vectors).all(axis=1)
        return shown[whole], vectors[whole]

    def _reduced(self, parts: "Sequence[Image.Image]") -> NDArray[np.uint8]:
        """The picture at the size of the one pass: uint8 (height, width, channels)."""
        width, height = parts[0].size
        side = round(ENLARGED * self.image_size)
        scale = side / min(width, height)
        across, down = (min(LONGEST * side, max(side, round(scale * length))) for length in (width, height))
        planes = [np.asarray(part.resize((across, down), Image.Resampling.BILINEAR)) for part in parts]
        return planes[0] if planes[0].ndim == 3 else np.stack(planes, 2)

    def _one_by_one(self, parts: "Sequence[Image.Image]", boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        if self._encoder is None:
            self._encoder = Encoder(self.file, device="cpu", threads=1, tested=True)
        squares = []
        for left, top, width, height in boxes.tolist():
            size = parts[0].size
            box = (left * size[0], top * size[1], (left + width) * size[0], (top + height) * size[1])
            square = (self.image_size, self.image_size)
            cut = [np.asarray(part.resize(square, Image.Resampling.BILINEAR, _inside(box, size))) for part in parts]
            squares.append(cut[0] if cut[0].ndim == 3 else np.stack(cut, 2))
        return self._encoder.embed_pixels(np.stack(squares))

    def _is_near(self, encoder: Encoder) -> bool:
        """Whether pooling the whole square gives what the encoder gives, of a picture with edges and noise."""
        assert self.network is not None
        size, draw = self.image_size, np.random.default_rng(0)
        blocks = np.kron(draw.integers(0, 256, (8, 8, encoder.channels)), np.ones((-(-size // 8), -(-size // 8), 1)))
        noisy = blocks[:size, :size] + draw.normal(0, 20, (size, size, encoder.channels))
        pixels = np.clip(noisy, 0, 255).astype(np.uint8)
        try:
            self._session = self.network.open()
            maps = self.network.maps(self._session, pixels)
            pooled = pool_regions(self.network, maps, np.array([[0, 0, 1, 1]], np.float32))[0]
        except Exception:  # noqa: BLE001  # of a graph of another form; ONNX Runtime's exceptions have no common base
            return False
        own = encoder.embed_pixels(pixels[None])[0]
        return pooled.shape == own.shape and float(pooled @ own) >= NEAR


def _part(pixels: NDArray[np.uint8], box: NDArray[np.floating]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    left, top = int(box[0] * width), int(box[1] * height)
    right, bottom = round((box[0] + box[2]) * width), round((box[1] + box[3]) * height)
    return pixels[top : max(top + 1, bottom), left : max(left + 1, right)]


def _inside(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box without what rounding puts outside the picture."""
    return max(0.0, box[0]), max(0.0, box[1]), min(float(size[0]), box[2]), min(float(size[1]), box[3])
