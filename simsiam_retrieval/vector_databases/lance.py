"""A table of a LanceDB database: a folder, a bucket, or LanceDB's own cloud."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from .ownership_mark import Mark
from .rows import Rows
from .target import Table
from .target_location import check_address, installed, is_address, local_folder, one_line

SCHEMES = ("s3", "gs", "az", "db")
INDEX_FROM = 100_000  # rows from which an index is built; an exact search of fewer is fast
SEARCHED_BY = ("folders", "size", "date", "label")


def open_lance(place: str, name: str, mark: Mark, *, replace: bool) -> "Lance":
    """Open or create a table.

    Args:
        place: Folder or address of the database.
        name: Name of the table.
        mark: Mark of the collection.
        replace: Whether to overwrite a table that contains something else.

    Returns:
        The target.

    Raises:
        UserError: The table is of another collection, or the place cannot be reached or written.
    """
    lancedb = installed("lancedb", "lance")
    from . import arrow

    if is_address(place):
        check_address(place, SCHEMES, "LANCEDB_API_KEY or the cloud's own variables")
    else:
        place = str(local_folder(place))
    with _explained(place):
        database = lancedb.connect(place)  # reads LANCEDB_API_KEY and the clouds' variables from the environment
        where = f"table {name} in {place}"
        if name in _names(database):
            table, noted = _opened(database, name)
            if table is None and not replace:
                raise UserError(f"{where}: cannot be read, damaged perhaps; --replace makes it anew")
            if table is not None and mark.is_kept(noted, where, replace=replace):
                return Lance(table, place, where, mark)
            database.drop_table(name)
        return Lance(database.create_table(name, schema=arrow.schema(mark)), place, where, mark)


def _opened(database, name: str) -> tuple[Any, dict[str, str]]:
    """A table and what is noted in it; None where it cannot be read, as a full disk may leave it."""
    try:
        table = database.open_table(name)
        table.search().select(["id"]).to_arrow()  # a version that was cut off shows here
        noted = table.schema.metadata or {}
        return table, {key.decode(): value.decode() for key, value in noted.items()}
    except (RuntimeError, ValueError, OSError):
        return None, {}


class Lance(Table):
    """A Lance table; every write is a transaction."""

    def __init__(self, table, place: str, where: str, mark: Mark) -> None:
        from . import arrow

        self._table, self._place, self.where = table, place, where
        self._schema = arrow.schema(mark)

    def hashes(self, after: int, upto: int | None, limit: int) -> dict[int, str]:
        """See ``Table.hashes``."""
        condition = f"id > {after}" + ("" if upto is None else f" AND id <= {upto}")
        found = self._table.search().where(condition).select(["id", "row_hash"]).limit(limit).to_arrow()
        return dict(zip(found["id"].to_pylist(), found["row_hash"].to_pylist(), strict=True))

    def put(self, rows: Rows) -> None:
        """See ``Table.put``."""
        from . import arrow

        merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(arrow.as_table(rows, self._schema))

    def remove(self, ids: list[int]) -> None:
        """See ``Table.remove``."""
        self._table.delete(f"id IN ({', '.join(map(str, ids))})")

    def settle(self) -> None:
        """Optimise the table, and build an index if it is large."""
        self._table.optimize()
        if self._table.count_rows() >= INDEX_FROM and not any(
            "vector" in i.columns for i in self._table.list_indices()
        ):
            from lancedb.index import IvfPq

            self._table.create_index("vector", config=IvfPq(distance_type="cosine"))

    @contextmanager
    def explained(self) -> Iterator[None]:
        """See ``Target.explained``."""
        with _explained(self._place):
            yield

    def how_to_query(self, encoder: Path) -> list[str]:
        """See ``Target.how_to_query``."""
        return [
            "import lancedb",
            "from simsiam_retrieval import load_encoder",
            f"query = load_encoder({str(encoder)!r}).embed(['query.jpg'])[0]",
            f"found = lancedb.connect({self._place!r}).open_table({self._table.name!r}).search(query)",
            # without refinement a quantised index of LanceDB 0.40 returns twice the distance, until a row is added
            "found = found.distance_type('cosine').refine_factor(10).limit(10)  # .where('size > 100000')",
            "for row in found.to_list(): print(1 - row['_distance'], row['path'])",
        ]

    def close(self) -> None:
        """See ``Target.close``."""
        pass


def _names(database) -> list[str]:
    names: list[str] = []
    page = None
    while True:
        found = database.list_tables(page_token=page)
        names += found.tables
        page = found.page_token
        if not page:
            return names


@contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:  # raised by its Rust core
        raise UserError(f"{place}: LanceDB refused ({one_line(error)})") from None
