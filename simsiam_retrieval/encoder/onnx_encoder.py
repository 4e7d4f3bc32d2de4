"""Images -> unit vectors with ONNX Runtime. Imports no torch, so that it starts fast and runs anywhere."""

import contextlib
import ctypes
import hashlib
import io
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from importlib import resources
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
from .previous_encoder import PREVIOUS, previous_encoder

FORMAT = "simsiam-retrieval-encoder/1"  # metadata key "format" of every ONNX file this package writes

DEVICES = {"cpu": "CPU", "cuda": "GPU (CUDA)", "tensorrt": "GPU (TensorRT)"}
PROVIDERS = {"cuda": ["CUDAExecutionProvider"], "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider"]}
RUN_FILES = ("encoder.onnx", "encoder_fp16.onnx", "encoder_int8.onnx")  # the first one in a run folder is used
LARGEST_SIDE, LARGEST_DIM = 4096, 65_536  # pixels of an image's side, numbers of a vector; a larger value is damage
LARGEST_FILE = 2**31  # bytes; ONNX itself allows no more
UNIT = 4e-3  # largest difference between a vector's squared length and 1
HEAVY = ("Conv", "Gemm", "MatMul")  # operators that must run on the GPU

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
        _return_freed_memory()
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

        The graph takes the largest centred square (of a long picture the whole, see ``images/decode.py``), resamples it
        to ``image_size`` and normalises it.

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


def stored_features(file: Path) -> str | None:
    """Read the description of an encoder's features, without loading it for computing.

    Args:
        file: An ONNX file.

    Returns:
        The text of a feature description (``methods/feature_description.py``), or another text that the file has
        instead; None if unknown.
    """
    import onnx  # here, because its import is slow

    from ..methods.feature_description import METADATA_KEY, described

    try:
        model = onnx.load(file, load_external_data=False)
    # protobuf's errors have no common base class except Exception
    except Exception:  # noqa: BLE001
        return None
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    features = described(metadata)
    return metadata.get(METADATA_KEY) if features is None else str(features)


def default_encoder_file() -> Path:
    """Return the encoder that is installed with the package.

    Returns:
        Its ONNX file.
    """
    return Path(str(resources.files("simsiam_retrieval.encoder.shipped").joinpath("encoder.onnx")))


def check_shipped(file: Path, identity: str | None = None) -> None:
    """Check that a file, if it is the shipped encoder, is as it was shipped.

    One changed bit of its weights would give other vectors, and nothing else would tell.

    Args:
        file: The file.
        identity: Its identity, where it is known.

    Raises:
        UserError: It is not as it was shipped.
    """
    if file != default_encoder_file():
        return
    try:
        expected = json.loads(file.with_name("encoder.json").read_text(encoding="utf-8")).get("identity")
        found = identity or hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    except (OSError, ValueError, AttributeError, RecursionError):
        expected, found = "", "-"
    if expected is not None and found != expected:
        raise UserError(f"{file.parent}: the encoder that came with the package is damaged; install the package again")


def find_encoder(encoder: str | Path | None) -> Path:
    """Find the ONNX file that an ENCODER argument stands for.

    Args:
        encoder: A run folder, an ``.onnx`` file, ``hf://OWNER/NAME[@REVISION]``, "previous" (the encoder that was
            shipped before the current one, if it is found), or None for the encoder of the package.

    Returns:
        The ONNX file.

    Raises:
        UserError: There is none.
    """
    if encoder is None:
        file = default_encoder_file()
        check_shipped(file)
        return file
    if isinstance(encoder, str) and encoder.startswith("hf://"):
        from .hub import fetch  # here, because the import of the Hub's client is slow

        return fetch(encoder)
    if "://" in str(encoder) or str(encoder).startswith(("http:/", "https:/")):
        raise UserError(f"{encoder}: a URL; name a file, a run folder, or a model on the Hub: hf://OWNER/NAME")
    path = absolute(encoder)
    if str(encoder) == PREVIOUS and not path.exists():
        return previous_encoder()
    if path.is_dir():
        for name in RUN_FILES:
            if (path / name).exists():
                return path / name
        if (path / "config.json").exists():
            raise UserError(f"{path}: not exported yet; run: python -m simsiam_retrieval.export {path}")
        raise UserError(f"{path}: neither a run folder nor an .onnx file")
    if not path.exists():
        raise UserError(f"{path}: no such run folder or encoder file")
    return path


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


def check_device(device: str) -> None:
    """Check the value of ``--device``.

    Args:
        device: The value.

    Raises:
        UserError: It is unknown.
    """
    if device != "auto" and device not in DEVICES:
        raise UserError(f"--device {device}: choose auto, {', '.join(DEVICES)}")


def open_session(file: Path, content: bytes, device: str, threads: int | None) -> tuple[Any, str]:
    """Open an ONNX Runtime session.

    Args:
        file: The file's name, for messages.
        content: The model.
        device: See ``Encoder``.
        threads: Threads for one batch, or None.

    Returns:
        The session, and the device that computes.

    Raises:
        UserError: The model cannot be loaded, or the GPU that ``device`` requires is not used.
    """
    check_device(device)
    asked = device
    if device == "auto":
        device = "cuda" if gpu_present() else "cpu"
    session, reason = _try_session(file, content, device, threads)
    if device == "cpu" or reason is None:
        return session, device
    if asked == "auto":
        return _try_session(file, content, "cpu", threads)[0], "cpu"
    raise UserError(f"--device {device}: {reason}; leave it out, or check the GPU's libraries")


def _try_session(file: Path, content: bytes, device: str, threads: int | None) -> tuple[Any, str | None]:
    """Open a session; also return the reason if the GPU is not used."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # no logging to stderr: this module raises or checks the same problems
    if threads is not None:
        options.intra_op_num_threads = threads
    wanted = PROVIDERS.get(device, [])
    if wanted:
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
        if wanted[0] not in onnxruntime.get_available_providers():
            return None, f"this ONNX Runtime has no {wanted[0]}"
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        with _no_chatter(onnxruntime):  # also for damaged files
            session = onnxruntime.InferenceSession(content, options, providers=[*wanted, "CPUExecutionProvider"])
    # ONNX Runtime's exceptions have no common base class except Exception
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())[:120]
        if wanted:
            _try_session(file, content, "cpu", threads)  # raises if the file itself is damaged
            return None, f"ONNX Runtime fails there ({reason})"
        raise UserError(f"{file}: damaged, or not an ONNX model ({reason})") from None
    return session, unused(session, wanted[0]) if wanted else None


def unused(session: Any, provider: str) -> str | None:
    """Return why a provider does not compute the model.

    A registered provider proves nothing: operators that it lacks run on the CPU, with only a log line. So this checks
    on which device each operator was placed.

    Args:
        session: The session.
        provider: Name of the execution provider.

    Returns:
        The reason; None if the provider computes the model.
    """
    if provider not in session.get_providers():
        return "ONNX Runtime cannot use a GPU here"
    parts = session.get_provider_graph_assignment_info()
    placed = [(part.ep_name, node.op_type) for part in parts for node in part.get_nodes()]
    heavy = [name for name, operation in placed if operation in HEAVY]
    left = heavy.count("CPUExecutionProvider")
    if left or not any(name == provider for name, _ in placed):
        return (
            f"ONNX Runtime leaves {left or len(placed)} of {len(heavy or placed)} operations of this model to the CPU"
        )
    return None


@contextlib.contextmanager
def _no_chatter(onnxruntime: Any) -> Iterator[None]:
    """Suppress what ONNX Runtime prints and logs when a provider cannot be loaded; the problem is raised instead."""
    onnxruntime.set_default_logger_severity(4)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)


def _return_freed_memory() -> None:
    """Return the memory that loading needed to the system: glibc would keep 100 MB in every process."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def gpu_present() -> bool:
    """Return whether this machine has an NVIDIA GPU, without asking CUDA, which would take a second at every start.

    Returns:
        True if a device node exists, and always on Windows.
    """
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
