"""A small encoder whose vectors can be worked out by hand, pictures for it, and what a collection of them holds."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

if TYPE_CHECKING:  # tests of training run where FAISS is not installed
    from simsiam_retrieval import Collection

SIDE = 8  # pixels that the small encoder sees of an image


CHUNK = 16  # files that are stored at a time


def small_encoder(file: Path, grey: float = 127.5) -> Path:
    """An encoder whose vector is the image itself, 8 x 8 pixels less ``grey``, scaled to unit length."""
    dim = SIDE * SIDE * 3
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "shape"], ["flat"]),
        helper.make_node("Sub", ["flat", "grey"], ["centred"]),
        helper.make_node("LpNormalization", ["centred"], ["vectors"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", dim])],
        [
            helper.make_tensor("shape", TensorProto.INT64, [2], [-1, dim]),
            helper.make_tensor("grey", TensorProto.FLOAT, [1], [grey]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    metadata = {"format": "simsiam-retrieval-encoder/1", "image_size": str(SIDE), "dim": str(dim)}
    helper.set_model_props(model, metadata)
    onnx.save(model, file)
    return file


def paint(file: Path, seed: int, size: tuple[int, int] = (40, 30)) -> Path:
    """A small picture of coloured blotches, another one for every seed."""
    blotches = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blotches).resize(size, Image.Resampling.BICUBIC).save(file, quality=95)
    return file


def expected_vector(file: Path) -> NDArray[np.float64]:
    """What the small encoder makes of a file, worked out with Pillow and numpy alone."""
    with Image.open(file) as image:
        rgb = image.convert("RGB")
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    square = rgb.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    vector = np.asarray(square, float).ravel() - 127.5
    return vector / np.linalg.norm(vector)


def contents(collection: Collection) -> dict[Path, bytes]:
    """Path -> vector of all that can be found, read from the catalog's file."""
    database = sqlite3.connect(collection.folder / "catalog.sqlite")
    stored = dict(database.execute("SELECT item, vector FROM vectors"))
    database.close()
    return {item.path: stored[item.id] for item in collection}


def unit_vector(stored: bytes) -> np.ndarray:
    """What a catalog's bytes mean, worked out with numpy alone: 16-bit integers scaled to length 1, and a CRC-32."""
    assert zlib.crc32(stored[:-4]).to_bytes(4, "little") == stored[-4:]
    integers = np.frombuffer(stored[:-4], "<i2").astype(float)
    return integers / np.linalg.norm(integers)


def in_index(stored: bytes) -> bytes:
    """The bytes of a vector in the file of an exact index."""
    return stored[:-4]


def names(collection: Collection) -> list[str]:
    return [item.path.name for item in collection]


class Killed(BaseException):
    """Stands for the end of the process: nothing is caught, nothing is tidied."""


def stop_after(chunks: int, how: type[BaseException]) -> Callable[[int], None]:
    """An ``on_progress`` that raises ``how`` after so many chunks."""
    seen: list[int] = []

    def on_progress(done: int) -> None:
        seen.append(done)
        if len(seen) == chunks:
            raise how

    return on_progress


def summary(update) -> tuple[int, int, int, int]:
    return update.added, update.changed, update.removed, update.images


def set_meta(collection: Path, key: str, value: str) -> None:
    """Store a setting past the package, with its checksum where there are checksums."""
    from simsiam_retrieval.collection.storage.checksums import of_setting

    database = sqlite3.connect(collection / "catalog.sqlite")
    with database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(meta)")]
        values = [key, value, of_setting(key, value)][: len(columns)]
        database.execute(f"INSERT OR REPLACE INTO meta VALUES ({', '.join('?' * len(columns))})", values)
    database.close()


def older_schema(collection: Path, version: int) -> None:
    """Turn a collection into what an older version wrote."""
    database = sqlite3.connect(collection / "catalog.sqlite")
    with database:
        for table in ("meta", "labels"):
            database.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
        database.execute("DELETE FROM meta WHERE key LIKE '% seal' OR key = 'keys'")
        if version < 3:
            database.execute("ALTER TABLE items DROP COLUMN checksum")
        if version < 2:
            database.execute("ALTER TABLE items DROP COLUMN taken")
            database.execute("DROP TABLE labels")
        database.execute("UPDATE meta SET value = ? WHERE key = 'schema'", [str(version)])
    database.close()
    (collection / "labels.jsonl").unlink(missing_ok=True)
