"""What commands say about the device that embeds."""

from ..core import cli
from .onnx_encoder import Encoder, gpu_present


def remark_device(encoder: Encoder, asked: str | None) -> None:
    """Say what computes, where somebody asked for it (``--device``) or a GPU is there to be taken."""
    if asked is not None or encoder.device != "cpu" or gpu_present():
        cli.remark(encoder.took)
