"""Folders of painted pictures and the collections made of them."""

from pathlib import Path

from simsiam_retrieval import Collection
from tests.support.small_encoder import paint, small_encoder


def painted(folder: Path, count: int, suffix: str = ".jpg") -> Path:
    """Paint ``0.jpg``, ``1.jpg`` and so on into a folder.

    Returns:
        The folder.
    """
    for number in range(count):
        paint(folder / f"{number}{suffix}", number)
    return folder


def indexed(folder: Path, place: Path) -> Path:
    """Index a folder; the encoder is ``small.onnx`` beside the collection.

    Returns:
        The collection's folder, ``place``.
    """
    with Collection.create(place, small_encoder(place.parent / "small.onnx")) as collection:
        collection.update([folder], workers=0)
    return place


def index_arguments(folder: Path, encoder: Path | None, collection: Path) -> list[str]:
    """Arguments of the command ``index``."""
    return [str(folder), "--collection", str(collection), *(["--encoder", str(encoder)] if encoder else [])]
