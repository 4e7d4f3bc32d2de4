"""Shards made on a cluster: only what is not there yet is embedded; rows of shards that are to go are used again."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .embed_piece import as_file
from .existing_shards import Known, Stock, keys
from .pieces import Piece

Embed = Callable[[Sequence[Piece]], Iterator[tuple[int, bytes]]]


@dataclass
class Todo:
    """A shard to be made."""

    piece: Piece
    name: str
    there: dict[int, Known] = field(default_factory=dict)  # number in the piece -> a row that is it already

    @property
    def rest(self) -> list[int]:
        """Numbers of the images that are to be embedded."""
        return [number for number in range(len(self.piece)) if number not in self.there]


def todo_of(piece: Piece, name: str, known: dict[str | bytes, Known]) -> Todo:
    """What is to be done for a shard, where these rows are known.

    Loose files alone are compared one by one: an archive that has changed is another one, with all that is in it.
    """
    todo = Todo(piece, name)
    if piece.part is None and known:
        for number, (key, file) in enumerate(zip(keys(piece), piece.files, strict=True)):
            row = known.get(key)
            # a time of 0 says nothing: the storage has versions only, which no row keeps
            if row is not None and file.mtime_ns and (row.size, row.mtime_ns) == (file.size, file.mtime_ns):
                todo.there[number] = row
    return todo


def make(todos: Sequence[Todo], stock: Stock, embed: Embed, encoder: str, dim: int) -> None:
    """Make the shards of ``todos`` and put each into its place as soon as it is done."""
    whole = [todo for todo in todos if todo.rest]
    for todo in todos:
        if not todo.rest:
            stock.write(todo.name, _merged(todo, b"", stock, encoder, dim))
    pieces = [todo.piece.only(todo.rest) if todo.there else todo.piece for todo in whole]
    for number, content in embed(pieces) if pieces else ():
        todo = whole[number]
        stock.write(todo.name, _merged(todo, content, stock, encoder, dim) if todo.there else content)


def _merged(todo: Todo, embedded: bytes, stock: Stock, encoder: str, dim: int) -> bytes:
    """The shard's file, of rows that are there and those just ``embedded``, in the piece's order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[tuple[int, int]] = []  # number in the piece, row of ``parts`` joined
    parts, start = [], 0
    for shard in sorted({row.shard for row in todo.there.values()}):
        chosen = [(number, row.number) for number, row in todo.there.items() if row.shard == shard]
        parts.append(stock.table(shard).take([row for _, row in chosen]))
        rows += [(number, start + at) for at, (number, _) in enumerate(chosen)]
        start += len(chosen)
    if embedded:
        parts.append(pq.read_table(io.BytesIO(embedded), use_threads=False))
        rows += [(number, start + at) for at, number in enumerate(todo.rest)]
    joined = pa.concat_tables([part.replace_schema_metadata(None) for part in parts])
    return as_file(joined.take([row for _, row in sorted(rows)]), todo.piece, encoder, dim)
