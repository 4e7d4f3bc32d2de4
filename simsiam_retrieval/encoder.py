"""Images -> unit vectors through ONNX Runtime; no torch here, so that it starts fast and runs anywhere."""

import contextlib
import ctypes
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import UserError
from .images.decode import ImageError, centre_square, decode, upright_rgb
from .images.files import absolute
from .text import printable

FORMAT = "simsiam-retrieval-encoder/1"  # metadata key "format" of every ONNX file this package writes

ImageLike = Image.Image | np.ndarray | Path | str | bytes


class Encoder:
    """An ONNX encoder with its own preprocessing: uint8 RGB in, unit float32 vectors out.

    Safe to share between threads. ``identity`` is a hash of the file: vectors of encoders with different
    identities cannot be compared.
    """

    def __init__(self, file: Path, *, device: str = "auto", threads: int | None = None) -> None:
        """Load ``file``.

        ``device``: "cpu", "cuda" (an error when the GPU is not used in the end) or "auto".
        ``threads``: threads for one batch; by default ONNX Runtime's choice, one per core.

        Raises :class:`UserError` when the file is missing, damaged, or not an encoder of this package.
        """
        self.file = file
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            raise UserError(f"{file}: no such encoder file") from None
        except OSError as error:
            raise UserError(f"{file}: cannot read the encoder ({error.strerror})") from None
        self.identity = hashlib.sha256(content).hexdigest()[:16]
        self._session = _session(file, content, device, threads)
        del content
        _return_freed_memory()
        self.device = "cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu"
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        if self.metadata.get("format") != FORMAT:
            found = self.metadata.get("format", "none")
            raise UserError(f"{file}: not an encoder of this package (format: {found}); make one with export")
        try:
            self.image_size = int(self.metadata["image_size"])  # pixels
            self.dim = int(self.metadata["dim"])
        except (KeyError, ValueError):
            raise UserError(f"{file}: its metadata are incomplete; export the encoder again") from None
        # files are decoded no smaller than this, wherever they are embedded: the same pixels, the same vector
        self.decode_side = max(2 * self.image_size, 256)

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a batch of equally sized images.

        ``pixels``: uint8 (n, height, width, 3), RGB. The graph takes the largest centred square, resamples it to
        ``image_size`` and normalises. Returns float32 (n, dim), rows of length 1.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
            raise ValueError(f"expected uint8 (n, height, width, 3), got {pixels.dtype} {pixels.shape}")
        if len(pixels) == 0:
            return np.zeros((0, self.dim), np.float32)
        return np.asarray(self._session.run(["vectors"], {"images": pixels})[0])

    def embed(self, images: Iterable[ImageLike], *, batch_size: int = 8) -> NDArray[np.float32]:
        """Embed images of any size: paths, encoded bytes, Pillow images or uint8 arrays (h, w) or (h, w, 3).

        Returns float32 (n, dim), rows of length 1, in the order given.
        Raises :class:`UserError` naming the first image that cannot be decoded.
        """
        batches = _batched((self.square(image) for image in images), batch_size)
        vectors = [self.embed_pixels(np.stack(batch)) for batch in batches]
        return np.concatenate(vectors) if vectors else np.zeros((0, self.dim), np.float32)

    def square(self, image: ImageLike) -> NDArray[np.uint8]:
        """The (image_size, image_size, 3) pixels that the encoder sees of ``image``."""
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
                image = decode(source, short_side=self.decode_side)
        except ImageError as error:
            raise UserError(f"{printable(name)}: {error}") from None
        return np.asarray(centre_square(image, self.image_size))


def default_encoder_file() -> Path:
    """The encoder that is shipped with the package."""
    return Path(str(resources.files("simsiam_retrieval.default_encoder").joinpath("encoder.onnx")))


def find_encoder(encoder: str | Path | None) -> Path:
    """The ONNX file that an ENCODER argument means: a run folder, an ``.onnx`` file, ``hf://OWNER/NAME[@REVISION]``,
    or nothing (the shipped one).

    Raises :class:`UserError` when there is none.
    """
    if encoder is None:
        return default_encoder_file()
    if isinstance(encoder, str) and encoder.startswith("hf://"):
        from .hub import fetch  # here, as the Hub's client takes its time to import

        return fetch(encoder)
    path = absolute(encoder)
    if path.is_dir():
        if (path / "encoder.onnx").exists():
            return path / "encoder.onnx"
        if (path / "config.json").exists():
            raise UserError(f"{path}: not exported yet; run: python -m simsiam_retrieval.export {path}")
        raise UserError(f"{path}: neither a run folder nor an .onnx file")
    if not path.exists():
        raise UserError(f"{path}: no such run folder or encoder file")
    return path


def load_encoder(encoder: str | Path | None = None, *, device: str = "auto", threads: int | None = None) -> Encoder:
    """Load an encoder: a run folder, an ``.onnx`` file, ``hf://OWNER/NAME[@REVISION]`` (see :func:`hub.fetch`), or by
    default the one shipped with the package.

    Raises :class:`UserError` when it is missing, damaged, or ``device="cuda"`` cannot be had.
    """
    return Encoder(find_encoder(encoder), device=device, threads=threads)


def _session(file: Path, content: bytes, device: str, threads: int | None) -> Any:
    import onnxruntime

    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {device}: choose auto, cpu or cuda")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # ORT logs to stderr what is raised, or checked, here anyway
    if threads is not None:
        options.intra_op_num_threads = threads
    providers = ["CPUExecutionProvider"]
    if device == "cuda" or (device == "auto" and gpu_present()):
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    # ONNX Runtime's exceptions share no base class but Exception
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{file}: damaged, or not an ONNX model ({reason})") from None
    if device == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise UserError("--device cuda: ONNX Runtime cannot use a GPU here; leave it out, or check the CUDA libraries")
    return session


def _return_freed_memory() -> None:
    """Hand what loading took and freed back to the system: 100 MB in every process, which glibc would keep."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def gpu_present() -> bool:
    """Whether this machine shows an NVIDIA GPU; asking CUDA itself would cost every start a second."""
    return any(Path(node).exists() for node in ("/dev/nvidia0", "/dev/dxg")) or os.name == "nt"


def _batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
