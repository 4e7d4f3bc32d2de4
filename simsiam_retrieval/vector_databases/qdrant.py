"""A collection of Qdrant: a server, or a folder of the client's local mode."""

import contextlib
import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from .ownership_mark import Mark
from .rows import Facts, Rows
from .target import Table
from .target_location import check_address, installed, is_address, local_folder, one_line

KEY = "QDRANT_API_KEY"
CHUNK = 500  # points per request: a few megabytes
SECONDS = 60


def open_qdrant(place: str, name: str, mark: Mark, *, replace: bool) -> "Qdrant":
    """Open or create a collection of Qdrant.

    Args:
        place: Folder, or address of a server.
        name: Name of the Qdrant collection.
        mark: Mark of the collection.
        replace: Whether to overwrite a collection that contains something else.

    Returns:
        The target.

    Raises:
        UserError: The Qdrant collection is of another collection, or the place cannot be reached or written.
    """
    client_library = installed("qdrant_client", "qdrant")
    from qdrant_client import models

    remote = is_address(place)
    if remote:
        check_address(place, ("http", "https"), KEY)
    else:
        folder = local_folder(place)
        if any(folder.iterdir()) and not (folder / "meta.json").exists():
            raise UserError(f"{folder}: has other files in it; choose an empty or new folder")
        place = str(folder)
    with _explained(place):
        if remote:
            options: dict[str, Any] = {"url": place, "api_key": os.environ.get(KEY), "timeout": SECONDS}
            client = client_library.QdrantClient(**options, check_compatibility=False)
        else:
            client = client_library.QdrantClient(path=place)
        try:
            if client.collection_exists(name):
                noted = client.get_collection(name).config.metadata
                if mark.is_kept(noted, f"collection {name} at {place}", replace=replace):
                    return Qdrant(client, place, name)
                client.delete_collection(name)
            vectors = models.VectorParams(size=mark.dim, distance=models.Distance.COSINE)
            client.create_collection(name, vectors_config=vectors, metadata=mark.as_metadata())
            if remote:  # local mode has no use for an index: it reads every point
                for field, kind in _INDEXED.items():
                    client.create_payload_index(name, field, field_schema=kind)
        except BaseException:
            client.close()
            raise
    return Qdrant(client, place, name)


_INDEXED = {"folders": "keyword", "size": "integer", "date": "datetime", "label": "keyword", "format": "keyword"}


class Qdrant(Table):
    """A Qdrant collection; the payload of a point is the metadata."""

    span = 5_000

    def __init__(self, client, place: str, name: str) -> None:
        self._client, self._place, self._name = client, place, name
        self.where = f"collection {name} at {place}"
        with contextlib.suppress(AttributeError, KeyError):
            # local mode commits every point singly and would wait for the disk each time; if a power failure loses
            # points, the next run writes them again
            client._client.collections[name].storage.storage.execute("PRAGMA synchronous = OFF")

    def hashes(self, after: int, upto: int | None, limit: int) -> dict[int, str]:
        """See ``Table.hashes``."""
        found = {}
        # scroll returns points in the order of ids, beginning after ``after``
        points, _ = self._client.scroll(self._name, limit=limit, offset=after + 1, with_payload=["row_hash"])
        for point in points:
            if upto is None or point.id <= upto:
                found[point.id] = point.payload.get("row_hash", "")
        return found

    def put(self, rows: Rows) -> None:
        """See ``Table.put``."""
        from qdrant_client import models

        for chunk in rows.in_chunks(CHUNK):
            batch = models.Batch(
                ids=chunk.ids.tolist(),
                vectors=chunk.vectors.tolist(),
                payloads=[_payload(fact) for fact in chunk.facts],
            )
            self._client.upsert(self._name, batch, wait=True)

    def remove(self, ids: list[int]) -> None:
        """See ``Table.remove``."""
        for start in range(0, len(ids), CHUNK):
            self._client.delete(self._name, ids[start : start + CHUNK], wait=True)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """See ``Target.explained``."""
        with _explained(self._place):
            yield

    def how_to_query(self, encoder: Path) -> list[str]:
        """See ``Target.how_to_query``."""
        here = f"path={self._place!r}"
        if is_address(self._place):
            here = f"url={self._place!r}" + (f", api_key=os.environ[{KEY!r}]" if KEY in os.environ else "")
        return [
            "import os" if "os.environ" in here else "",
            "from qdrant_client import QdrantClient",
            "from simsiam_retrieval import load_encoder",
            f"query = load_encoder({str(encoder)!r}).embed(['query.jpg'])[0]",
            f"found = QdrantClient({here}).query_points({self._name!r}, query=query, limit=10)",
            "for point in found.points: print(point.score, point.payload['path'])",
        ]

    def close(self) -> None:
        """See ``Target.close``."""
        self._client.close()


def _payload(fact: Facts) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in fact.items()}


@contextmanager
def _explained(place: str) -> Iterator[None]:
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Local mode is not recommended")  # docs/handover.md says so
            yield
    except UnexpectedResponse as error:
        if error.status_code in (401, 403):
            raise UserError(f"{place}: Qdrant refused the key; put the right one into {KEY}") from None
        raise UserError(f"{place}: Qdrant refused ({one_line(error)})") from None
    except ResponseHandlingException as error:
        raise UserError(f"{place}: no Qdrant answers there ({one_line(error.source)})") from None
    except (RuntimeError, ValueError, OSError, sqlite3.Error) as error:
        raise UserError(f"{place}: Qdrant refused ({one_line(error)})") from None
