"""A collection of Milvus: a server, Zilliz Cloud, or a Milvus Lite file."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.paths import absolute
from .ownership_mark import Mark
from .rows import Facts, Rows
from .target import Table
from .target_location import check_address, installed, is_address, local_folder, one_line

TOKEN = "MILVUS_TOKEN"
CHUNK = 1_000  # rows per request: a few megabytes
SECONDS = 20
LONGEST = 65_535  # Milvus's limit for the bytes of a VARCHAR
DEEPEST = 4_096  # Milvus's limit for the values of an ARRAY


def open_milvus(place: str, name: str, mark: Mark, *, replace: bool) -> "Milvus":
    """Open or create a collection of Milvus.

    Args:
        place: Path of a Milvus Lite database, or address of a server.
        name: Name of the Milvus collection.
        mark: Mark of the collection.
        replace: Whether to overwrite a collection that contains something else.

    Returns:
        The target.

    Raises:
        UserError: The Milvus collection is of another collection, or the place cannot be reached or written.
    """
    pymilvus = installed("pymilvus", "milvus")
    for library in ("pymilvus", "milvus_lite"):  # they log the errors that they raise
        logging.getLogger(library).setLevel(logging.CRITICAL)
    embedded = not is_address(place)
    place = _database(place) if embedded else check_address(place, ("http", "https"), TOKEN)
    with _explained(place, embedded=embedded):
        token = "" if embedded else os.environ.get(TOKEN, "")
        client = pymilvus.MilvusClient(place, token=token, timeout=SECONDS)
        target = Milvus(client, place, name, embedded=embedded)
        try:
            if client.has_collection(name):
                if mark.is_kept(_noted(client.describe_collection(name)), target.where, replace=replace):
                    client.load_collection(name)
                    return target
                client.drop_collection(name)
            _create(client, name, mark, embedded=embedded)
        except BaseException:
            target.close()
            raise
    return target


class Milvus(Table):
    """A Milvus collection."""

    def __init__(self, client, place: str, name: str, *, embedded: bool) -> None:
        self._client, self._place, self._name, self._embedded = client, place, name, embedded
        self.where = f"collection {name} at {place}"

    def hashes(self, after: int, upto: int | None, limit: int) -> dict[int, str]:
        """See ``Table.hashes``."""
        condition = f"id > {after}" + ("" if upto is None else f" and id <= {upto}")
        found = self._client.query(self._name, condition, ["id", "row_hash"], limit=limit, consistency_level="Strong")
        return {row["id"]: row["row_hash"] for row in found}

    def put(self, rows: Rows) -> None:
        """See ``Table.put``."""
        for chunk in rows.in_chunks(CHUNK):
            parts = zip(chunk.ids.tolist(), chunk.vectors, chunk.facts, strict=True)
            self._client.upsert(self._name, [{"id": id_, "vector": vector, **_fields(f)} for id_, vector, f in parts])

    def remove(self, ids: list[int]) -> None:
        """See ``Table.remove``."""
        for start in range(0, len(ids), CHUNK):
            self._client.delete(self._name, ids=ids[start : start + CHUNK])

    def settle(self) -> None:
        """Flush the collection."""
        self._client.flush(self._name)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """See ``Target.explained``."""
        with _explained(self._place, embedded=self._embedded):
            yield

    def how_to_query(self, encoder: Path) -> list[str]:
        """See ``Target.how_to_query``."""
        token = f", token=os.environ[{TOKEN!r}]" if not self._embedded and TOKEN in os.environ else ""
        return [
            "import os" if token else "",
            "from pymilvus import MilvusClient",
            "from simsiam_retrieval import load_encoder",
            f"query = load_encoder({str(encoder)!r}).embed(['query.jpg'])",
            f"client = MilvusClient({self._place!r}{token}); client.load_collection({self._name!r})",
            f"for hit in client.search({self._name!r}, query, limit=10, output_fields=['path'])[0]: "
            "print(hit['distance'], hit['entity']['path'])",
        ]

    def close(self) -> None:
        """See ``Target.close``."""
        self._client.close()
        if self._embedded:  # its server runs in a thread of this process until it is stopped
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self._place)


def _database(place: str) -> str:
    # the milvus-lite package requires faiss-cpu, which must not be installed over faiss-gpu
    installed("milvus_lite", "milvus", "pip install --no-deps milvus-lite, or name a server")
    if not place.endswith(".db"):
        raise UserError(f"{place}: the name of a Milvus Lite database ends with .db; a server's begins with http")
    if absolute(place).is_file():
        raise UserError(f"{place}: a file; Milvus Lite before version 3 made such, choose another name")
    path = local_folder(place, make=False)
    local_folder(str(path.parent))
    return str(path)


def _create(client, name: str, mark: Mark, *, embedded: bool) -> None:
    from pymilvus import DataType

    noted = mark.as_metadata()
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False, description=json.dumps(noted))
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=mark.dim)
    schema.add_field("path", DataType.VARCHAR, max_length=LONGEST)
    schema.add_field("folders", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=DEEPEST, max_length=LONGEST)
    for field in ("size", "width", "height"):
        schema.add_field(field, DataType.INT64)
    schema.add_field("label", DataType.VARCHAR, max_length=LONGEST)
    for field in ("date", "taken", "format", "digest", "row_hash"):
        schema.add_field(field, DataType.VARCHAR, max_length=64)
    index = client.prepare_index_params()
    # Milvus Lite is for small tables, for which an exact search is best
    index.add_index("vector", index_type="FLAT" if embedded else "AUTOINDEX", metric_type="COSINE")
    client.create_collection(name, schema=schema, index_params=index, properties=noted)


def _noted(described: Mapping[str, Any]) -> dict[str, str]:
    """The mark, from the collection's properties or from its description."""
    noted = {str(key): str(value) for key, value in (described.get("properties") or {}).items()}
    with contextlib.suppress(ValueError, AttributeError):
        noted = {**json.loads(described.get("description") or "{}"), **noted}
    return noted


def _fields(fact: Facts) -> dict[str, Any]:
    """Metadata in types that Milvus accepts: times as ISO 8601 text, which sorts correctly; "" for None."""
    text = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in fact.items()}
    return {key: "" if value is None else value for key, value in text.items()}


@contextmanager
def _explained(place: str, *, embedded: bool) -> Iterator[None]:
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        complaint = one_line(RuntimeError(error.message))
        if embedded:
            if "Open local milvus failed" in complaint:
                complaint = "it cannot be opened; is another program using it?"
            raise UserError(f"{place}: Milvus Lite refused ({complaint})") from None
        if "auth" in complaint.lower():
            raise UserError(f"{place}: Milvus refused the token; put the right one into {TOKEN}") from None
        raise UserError(f"{place}: Milvus refused, or does not answer ({complaint})") from None
    except OSError as error:
        raise UserError(f"{place}: {one_line(error)}") from None
