"""Which ONNX file an ENCODER argument stands for: a run folder, a file, a model on the Hub, or the shipped encoder."""

import hashlib
import json
from importlib import resources
from pathlib import Path

from ..core.errors import UserError
from ..core.paths import absolute
from .previous_encoder import PREVIOUS, previous_encoder

RUN_FILES = ("encoder.onnx", "encoder_fp16.onnx", "encoder_int8.onnx")  # the first one in a run folder is used


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
