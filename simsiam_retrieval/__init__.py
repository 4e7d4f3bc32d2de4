"""simsiam-retrieval: pretrain an encoder on your own images, index a folder, find what looks alike."""

from typing import TYPE_CHECKING, Any

from .core.errors import UserError
from .core.version import __version__

if TYPE_CHECKING:
    from .collection import Collection
    from .collection.search.filters import Filter
    from .encoder.onnx_encoder import Encoder, load_encoder

__all__ = ["Collection", "Encoder", "Filter", "UserError", "__version__", "load_encoder"]


def __getattr__(name: str) -> Any:
    # imported on first use, because `--help` needs neither FAISS nor ONNX Runtime
    if name == "Collection":
        from .collection import Collection

        return Collection
    if name == "Filter":
        from .collection.search.filters import Filter

        return Filter
    if name in ("Encoder", "load_encoder"):
        from .encoder import onnx_encoder

        return getattr(onnx_encoder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
