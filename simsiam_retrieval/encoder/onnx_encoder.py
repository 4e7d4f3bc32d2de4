"""Images -> unit vectors with ONNX Runtime. Imports no torch, so that it starts fast and runs anywhere."""

import hashlib
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.errors import UserError
from ..core.paths import absolute
from ..core.text import printable
from ..images.decode import Decoded, ImageError, centre_planes, centre_square, read_image, square_of, upright_rgb
from ..images.reading import Reading
from .find_encoder import check_shipped, find_encoder
from .find_encoder import default_encoder_file as default_encoder_file  # docs/onnx.md names it here
from .onnx_session import DEVICES, open_session, return_freed_memory

FORMAT = "simsiam-retrieval-encoder/1"  # metadata key "format" of every ONNX file this package writes

LARGEST_SIDE, LARGEST_DIM = 4096, 65_536  # pixels of an image's side, numbers of a vector; a larger value is damage
LARGEST_FILE = 2**31  # bytes; ONNX itself allows no more
UNIT = 4e-3  # largest difference between a vector's squared length and 1

ImageLike = Image.Image | np.ndarray | Path | str | bytes | Decoded


class Encoder:
    """An ONNX encoder with its own preprocessing: uint8 RGB in, unit float32 vectors out.

    Can be shared between threads.

    Args:
        file: The ONNX file.
        device: "cpu", "cuda", "tensorrt", or "auto" (CUDA if it can be used, otherwise the CPU). "cuda" and "tensorrt"
            raise an error if the model does not run on the GPU.
        threads: Threads for one batch; by default ONNX Runtime decides (one per core).
        tested: Skip the test that embeds two images, because the same file was loaded before.

    Attributes:
        file: The ONNX file.
        identity: Hash of the file. Vectors of encoders with different identities cannot be compared.
        device: The device that is used: "cpu", "cuda" or "tensorrt".
        image_size: Side in pixels of the square that the network sees.
        dim: Numbers of a vector.
        metadata: Metadata of the ONNX file.

    Raises:
        UserError: The file is missing, damaged, or not an encoder of this package, or the GPU is not used.
    """

    def __init__(self, file: Path, *, device: str = "auto", threads: int | None = None, tested: bool = False) -> None:
        self.file = file
        content = _read(file)
        self.identity = hashlib.sha256(content).hexdigest()[:16]
        check_shipped(file, self.identity)
        self._session, self.device = open_session(file, content, device, threads)
        del content
        return_freed_memory()
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        if self.metadata.get("format") != FORMAT:
            found = self.metadata.get("format", "none")
            raise UserError(f"{file}: not an encoder of this package (format: {found}); make one with export")
        try:
            self.image_size = int(self.metadata["image_size"])  # pixels
            self.dim = int(self.metadata["dim"])
        except (KeyError, ValueError):
            raise UserError(f"{file}: its metadata are incomplete; export the encoder again") from None
        # how the run that made it read its files; what an index of it does unless told otherwise
        self.reading = Reading.of(self.metadata.get("reading"))
        self.channels = self.reading.channels
        if not (0 < self.image_size <= LARGEST_SIDE and 0 < self.dim <= LARGEST_DIM):
            raise UserError(
                f"{file}: cannot be an encoder: images of {self.image_size} px, vectors of {self.dim} values"
            )
        # every caller decodes files at this size or larger, so that the same file always gives the same vector
        self.decode_side = max(2 * self.image_size, 256)
        if not tested:
            # two images: some graphs accept only one at a time. Noise: an image of one colour may give a zero vector
            noise = np.random.default_rng(0).integers(
                0, 256, (2, self.image_size, self.image_size, self.channels), np.uint8
            )
            self.embed_pixels(noise)

    def __repr__(self) -> str:
        return (
            f"<Encoder {self.identity} from {str(self.file)!r}: images of {self.image_size} px -> {self.dim} numbers, "
            f"{self.device}>"
        )

    @property
    def took(self) -> str:
        """One line that says which device computes."""
        return f"computing on the {DEVICES[self.device]}"

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a batch of images of equal size.

        The graph takes the largest centred square (of a long picture the whole, see ``images/centre_crop.py``),
        resamples it to ``image_size`` and normalises it.

        Args:
            pixels: uint8 (n, height, width, 3), RGB.

        Returns:
            float32 (n, dim), rows of length 1.

        Raises:
            ValueError: ``pixels`` has another dtype or shape.
            UserError: The graph fails or returns anything else.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != self.channels:
            shape = f"(n, height, width, {self.channels})"
            raise ValueError(f"expected uint8 {shape}, got {pixels.dtype} {pixels.shape}")
        if len(pixels) == 0:
            return np.zeros((0, self.dim), np.float32)
        try:
            vectors = np.asarray(self._session.run(["vectors"], {"images": pixels})[0])
        # ONNX Runtime's exceptions have no common base class except Exception
        except Exception as error:  # noqa: BLE001
            reason = " ".join(str(error).split())[:120]
            raise UserError(f"{self.file}: does not work as an encoder ({reason}); export it again") from None
        if vectors.dtype != np.float32 or vectors.shape != (len(pixels), self.dim):
            raise UserError(
                f"{self.file}: gives {vectors.dtype} {vectors.shape} for {len(pixels)} images, not float32 "
                f"({len(pixels)}, {self.dim}); export it again"
            )
        lengths = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
        if not (np.abs(lengths - 1) <= UNIT).all():  # in this form NaN fails, too
            raise UserError(f"{self.file}: gives vectors that are not of unit length; export it again")
        return vectors

    def embed(
        self, images: Iterable[ImageLike], *, batch_size: int = 8, reading: Reading | None = None
    ) -> NDArray[np.float32]:
        """Embed images of any size.

        Args:
            images: Paths, encoded bytes, Pillow images, or uint8 arrays (h, w) or (h, w, 3).
            batch_size: Images per call of the graph.
            reading: How files become pixels; the encoder's own way by default.

        Returns:
            float32 (n, dim), rows of length 1, in the given order.

        Raises:
            UserError: An image cannot be decoded; the message names it.
        """
        batches = _batched((self.square(image, reading) for image in images), batch_size)
        vectors = [self.embed_pixels(np.stack(batch)) for batch in batches]
        return np.concatenate(vectors) if vectors else np.zeros((0, self.dim), np.float32)

    def square(self, image: ImageLike, reading: Reading | None = None) -> NDArray[np.uint8]:
        """Return the pixels of an image that the encoder sees.

        Args:
            image: See ``embed``.
            reading: See ``embed``.

        Returns:
            uint8 (image_size, image_size, 3).

        Raises:
            UserError: The image cannot be decoded.
        """
        if isinstance(image, Decoded):
            return square_of(image, self.image_size)
        if isinstance(image, np.ndarray) and image.ndim == 3 and not self.reading.is_rgb:
            if image.dtype != np.uint8 or image.shape[2] != self.channels:
                raise ValueError(f"expected uint8 (h, w, {self.channels}), got {image.dtype} {image.shape}")
            return centre_planes(image, self.image_size)
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8:
                raise ValueError(f"expected a uint8 array, got {image.dtype}")
            image = Image.fromarray(image)
        name = str(image) if isinstance(image, Path | str) else "the image"
        try:
            if isinstance(image, Image.Image):
                image = upright_rgb(image)
            else:
                source = image if isinstance(image, bytes) else absolute(image)
                return square_of(read_image(source, self.decode_side, reading or self.reading), self.image_size)
        except ImageError as error:
            raise UserError(f"{printable(name)}: {error}") from None
        if self.channels == 1:
            return centre_planes(np.asarray(image.convert("L"))[:, :, None], self.image_size)
        if not self.reading.is_rgb:
            raise UserError(f"the encoder takes {self.channels} bands; a picture of red, green and blue has too few")
        return np.asarray(centre_square(image, self.image_size))


def load_encoder(encoder: str | Path | None = None, *, device: str = "auto", threads: int | None = None) -> Encoder:
    """Load an encoder.

    Args:
        encoder: A run folder, an ``.onnx`` file, ``hf://OWNER/NAME[@REVISION]`` (see ``encoder.hub.fetch``), or None
            for the encoder that is installed with the package.
        device: See ``Encoder``.
        threads: See ``Encoder``.

    Returns:
        The encoder.

    Raises:
        UserError: It is missing or damaged, or the GPU that ``device`` requires is not used.
    """
    return Encoder(find_encoder(encoder), device=device, threads=threads)


def _read(file: Path) -> bytes:
    """Read an encoder's file, which may be any path that a user names."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{file}: not a regular file")  # a FIFO would block, a device never end
        if status.st_size > LARGEST_FILE:
            raise UserError(f"{file}: too large for an ONNX file")
        return file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file}: no such encoder file") from None
    except OSError as error:
        raise UserError(f"{file}: cannot read the encoder ({error.strerror})") from None
    except MemoryError:
        raise UserError(f"{file}: not enough memory to read it") from None


def _batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
