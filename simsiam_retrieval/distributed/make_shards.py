"""Making shards on a cluster: only missing images are embedded; rows of outdated shards are used again."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .embed_piece import as_file
from .existing_shards import Known, Stock, keys
from .pieces import Piece

Embed = Callable[[Sequence[Piece]], Iterator[tuple[int, bytes]]]


@dataclass
class Todo:
    """A shard that must be made.

    Attributes:
        piece: Its images.
        name: Its name.
        there: Number in the piece -> an existing row for that image.
    """

    piece: Piece
    name: str
    there: dict[int, Known] = field(default_factory=dict)

    @property
    def rest(self) -> list[int]:
        """Numbers of the images that must be embedded."""
        return [number for number in range(len(self.piece)) if number not in self.there]


def todo_of(piece: Piece, name: str, known: dict[str | bytes, Known]) -> Todo:
    """Determine which images of a shard must be embedded.

    Only loose files are compared one by one. If an archive has changed, all its images are embedded again.

    Args:
        piece: The shard's images.
        name: Name of the shard.
        known: Path -> existing row.

    Returns:
        The shard to make.
    """
    todo = Todo(piece, name)
    if piece.part is None and known:
        for number, (key, file) in enumerate(zip(keys(piece), piece.files, strict=True)):
            row = known.get(key)
            # a time of 0 means that the storage has only versions, which rows do not store
            if row is not None and file.mtime_ns and (row.size, row.mtime_ns) == (file.size, file.mtime_ns):
                todo.there[number] = row
    return todo


def make(todos: Sequence[Todo], stock: Stock, embed: Embed, encoder: str, dim: int) -> None:
    """Make shards, and write each one as soon as it is done.

    Args:
        todos: The shards to make.
        stock: The existing shards.
        embed: Embeds pieces; yields number and bytes of each shard.
        encoder: Identity of the encoder.
        dim: Numbers of a vector.
    """
    whole = [todo for todo in todos if todo.rest]
    for todo in todos:
        if not todo.rest:
            stock.write(todo.name, _merged(todo, b"", stock, encoder, dim))
    pieces = [todo.piece.only(todo.rest) if todo.there else todo.piece for todo in whole]
    for number, content in embed(pieces) if pieces else ():
        todo = whole[number]
        stock.write(todo.name, _merged(todo, content, stock, encoder, dim) if todo.there else content)


def _merged(todo: Todo, embedded: bytes, stock: Stock, encoder: str, dim: int) -> bytes:
    """The shard's file from existing rows and newly embedded rows, in the piece's order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[tuple[int, int]] = []  # (number in the piece, row in the concatenated ``parts``)
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
