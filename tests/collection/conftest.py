"""Collections that several tests of this folder use."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simsiam_retrieval import Collection, load_encoder
from tests.support.small_encoder import (
    contents,
    paint,
    small_encoder,
)


@pytest.fixture
def empty(tmp_path: Path) -> Collection:
    """A new collection with the small encoder."""
    return Collection.create(tmp_path / "collection", small_encoder(tmp_path / "small.onnx"))


@pytest.fixture
def collection(empty: Collection, folder: Path) -> Collection:
    """A collection of ``folder``."""
    empty.update([folder], workers=0)
    return empty


@pytest.fixture(scope="session")
def ready(collection_dir: Path) -> Collection:
    """The collection of the example photos; read only."""
    return Collection.open(collection_dir)


@pytest.fixture(scope="session")
def brute_force(photos: Path, encoder_file: Path) -> Callable[[NDArray], list[tuple[float, Path]]]:
    """A function that ranks the example photos by cosine similarity to a vector, in numpy."""
    paths = sorted(photos.rglob("*.jpg"))
    vectors = load_encoder(encoder_file, device="cpu").embed(paths).astype(float)

    def ranked(vector: NDArray) -> list[tuple[float, Path]]:
        cosine = vectors @ vector / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vector)
        return [(cosine[i], paths[i]) for i in np.argsort(-cosine)]

    return ranked


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """40 pictures, which take three chunks."""
    for number in range(40):
        paint(tmp_path / "many" / f"{number:02d}.jpg", number)
    (tmp_path / "many" / "20 broken.jpg").touch()
    return tmp_path / "many"


@pytest.fixture
def undisturbed(many: Path, tmp_path: Path) -> dict[Path, bytes]:
    """What a collection of ``many`` should hold."""
    with Collection.create(tmp_path / "undisturbed", small_encoder(tmp_path / "small.onnx")) as collection:
        assert collection.update([many], workers=0).images == 40
        return contents(collection)
