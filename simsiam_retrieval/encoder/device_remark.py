"""The message of commands about the device that computes."""

from ..core import cli
from .onnx_encoder import Encoder
from .onnx_session import gpu_present
from .previous_encoder import advice


def remark_device(encoder: Encoder, asked: str | None) -> None:
    """Print which device computes, if ``--device`` was given or a GPU is present.

    Args:
        encoder: The loaded encoder.
        asked: Value of ``--device``; None if it was not given.
    """
    if asked is not None or encoder.device != "cpu" or gpu_present():
        cli.remark(encoder.took)


def remark_encoder(encoder: Encoder, asked: str | None) -> None:
    """Run ``remark_device``, and say if a newer encoder is shipped than the one of a collection.

    Args:
        encoder: The loaded encoder.
        asked: Value of ``--device``; None if it was not given.
    """
    remark_device(encoder, asked)
    line = advice(encoder.identity)
    if line is not None:
        cli.remark(line)
