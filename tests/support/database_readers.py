"""What a target holds, and what it finds, asked through each library's own client as a user of it would."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Found = list[tuple[int, float]]  # ids and cosines, best first
KINDS = ("parquet", "lance", "qdrant", "milvus")

FOLDER = "/photos/a_b%"
# the same condition in each library's words; docs/handover.md shows them
CONDITIONS: dict[str, dict[str, Any]] = {
    "size": {"lance": "size >= 50000", "milvus": "size >= 50000"},
    "folder": {
        "lance": f"array_has(folders, '{FOLDER}')",
        "milvus": f'array_contains(folders, "{FOLDER}")',
    },
    "date": {
        "lance": "date >= timestamp '2020-03-01 00:00:00' AND date < timestamp '2020-06-01 00:00:00'",
        "milvus": 'date >= "2020-03-01" and date < "2020-06-01"',
    },
    "label": {"lance": "label = 'cat''s'", "milvus": 'label == "cat\'s"'},
    "all of them": {
        "lance": "size < 50000 AND label = '' AND date >= timestamp '2020-06-01 00:00:00'",
        "milvus": 'size < 50000 and label == "" and date >= "2020-06-01"',
    },
}


def place_of(kind: str, folder: Path) -> str:
    return str(folder / f"target-{kind}{'.db' if kind == 'milvus' else ''}")


class Reader:
    """A target, opened."""

    def rows(self) -> list[dict[str, Any]]:
        """All rows, ``vector`` a float32 array."""
        raise NotImplementedError

    def search(self, query: NDArray[np.float32], k: int, condition: str | None) -> Found:
        raise NotImplementedError


@contextmanager
def reading(kind: str, place: str) -> Iterator[Reader]:
    yield from {"parquet": _parquet, "lance": _lance, "qdrant": _qdrant, "milvus": _milvus}[kind](place)


def _parquet(place: str) -> Iterator[Reader]:
    from datetime import datetime

    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    date = ds.field("date")
    june = pa.scalar(datetime(2020, 6, 1))
    conditions = {
        "size": ds.field("size") >= 50_000,
        "folder": pc.starts_with(ds.field("path"), pattern=f"{FOLDER}/"),  # pyright: ignore[reportAttributeAccessIssue]
        "date": (date >= pa.scalar(datetime(2020, 3, 1))) & (date < june),
        "label": ds.field("label") == "cat's",
        "all of them": (ds.field("size") < 50_000) & (ds.field("label") == "") & (date >= june),
    }

    class Files(Reader):
        def rows(self) -> list[dict[str, Any]]:
            return [_with_array(row) for row in ds.dataset(place).to_table().to_pylist()]

        def search(self, query: NDArray[np.float32], k: int, condition: str | None) -> Found:
            where = None if condition is None else conditions[condition]
            found = ds.dataset(place).to_table(["id", "vector"], filter=where)
            scores = np.stack(found["vector"].to_numpy()) @ query
            return [(found["id"][row].as_py(), float(scores[row])) for row in np.argsort(-scores)[:k].tolist()]

    yield Files()


def _lance(place: str) -> Iterator[Reader]:
    import lancedb

    table = lancedb.connect(place).open_table("images")

    class Lance(Reader):
        def rows(self) -> list[dict[str, Any]]:
            return [_with_array(row) for row in table.to_arrow().to_pylist()]

        def search(self, query: NDArray[np.float32], k: int, condition: str | None) -> Found:
            asked: Any = table.search(query)
            asked = asked.distance_type("cosine").limit(k)
            if condition is not None:
                asked = asked.where(CONDITIONS[condition]["lance"])
            return [(row["id"], 1 - row["_distance"]) for row in asked.to_list()]

    yield Lance()


def _qdrant(place: str) -> Iterator[Reader]:
    from datetime import datetime

    from qdrant_client import QdrantClient, models

    def field(key: str, **how: Any) -> models.FieldCondition:
        return models.FieldCondition(key=key, **how)

    june = datetime(2020, 6, 1)
    conditions = {
        "size": [field("size", range=models.Range(gte=50_000))],
        "folder": [field("folders", match=models.MatchValue(value=FOLDER))],
        "date": [field("date", range=models.DatetimeRange(gte=datetime(2020, 3, 1), lt=june))],
        "label": [field("label", match=models.MatchValue(value="cat's"))],
        "all of them": [
            field("size", range=models.Range(lt=50_000)),
            field("label", match=models.MatchValue(value="")),
            field("date", range=models.DatetimeRange(gte=june)),
        ],
    }
    client = QdrantClient(path=place)

    class Qdrant(Reader):
        def rows(self) -> list[dict[str, Any]]:
            points, rest = client.scroll("images", limit=1_000_000, with_vectors=True)
            assert rest is None
            return [_with_array({"id": p.id, "vector": p.vector, **(p.payload or {})}) for p in points]

        def search(self, query: NDArray[np.float32], k: int, condition: str | None) -> Found:
            where = None if condition is None else models.Filter(must=conditions[condition])  # type: ignore[arg-type]
            found = client.query_points("images", query=query, limit=k, query_filter=where)
            return [(int(point.id), point.score) for point in found.points]

    yield Qdrant()
    client.close()


def _milvus(place: str) -> Iterator[Reader]:
    from milvus_lite.server_manager import server_manager_instance
    from pymilvus import MilvusClient

    client = MilvusClient(place)
    client.load_collection("images")

    class Milvus(Reader):
        def rows(self) -> list[dict[str, Any]]:
            pages = client.query_iterator("images", batch_size=5000, filter="id > 0", output_fields=["*"])
            found: list[dict[str, Any]] = []
            while page := pages.next():
                found += page
            pages.close()
            return [_with_array(dict(row)) for row in found]

        def search(self, query: NDArray[np.float32], k: int, condition: str | None) -> Found:
            where = "" if condition is None else CONDITIONS[condition]["milvus"]
            return [(hit["id"], hit["distance"]) for hit in client.search("images", [query], where, limit=k)[0]]

    yield Milvus()
    client.close()
    server_manager_instance.release_server(place)


def _with_array(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "vector": np.asarray(row["vector"], np.float32)}
