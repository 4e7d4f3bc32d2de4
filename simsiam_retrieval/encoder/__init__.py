"""Images -> unit vectors with ONNX Runtime: encoders, their files on the Hub, embedding many files."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .onnx_encoder import Encoder, load_encoder

__all__ = ["Encoder", "load_encoder"]


def __getattr__(name: str) -> Any:
    # imported on first use, because the Hub's module needs no ONNX Runtime
    if name in __all__:
        from . import onnx_encoder

        return getattr(onnx_encoder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
