"""``python -m simsiam_retrieval.hand_over TARGET``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from .core import cli
from .core.text import printable

if TYPE_CHECKING:
    from .vector_databases.handing_over import Handed


EXAMPLES = """examples:
  hand_over ./out --to parquet
  hand_over http://localhost:6333 --to qdrant --name photos"""


@dataclass(frozen=True)
class Arguments:
    """Copy a collection into a vector database, or write it as Parquet: ids, vectors, metadata.

    Run it again to copy only what is new, changed or gone. Tokens come from the environment: QDRANT_API_KEY,
    MILVUS_TOKEN, LANCEDB_API_KEY, and the variables of the clouds' own tools.
    """

    target: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TARGET")]
    """Where to: a folder (for milvus a file NAME.db), or the address of a server, cluster or bucket."""
    to: Literal["parquet", "lance", "qdrant", "milvus"]
    """Kind of the target."""
    name: str = "images"
    """Name of the table in the target; Parquet has none."""
    replace: bool = False
    """Overwrite a table of another collection, encoder or origin."""
    collection: Path | None = None
    """Name or folder of the collection. Default: the one used last."""


def main() -> None:
    """Run the command."""
    arguments = cli.parse(Arguments, "hand_over", examples=EXAMPLES)
    # imported here, so that --help is fast
    from .collection import Collection
    from .core.known_collections import find_collection
    from .core.progress import bar
    from .vector_databases.handing_over import hand_over

    with Collection.open(find_collection(arguments.collection)) as collection:
        with bar("handing over", len(collection)) as shown:
            handed = hand_over(
                collection,
                arguments.to,
                arguments.target,
                name=arguments.name,
                replace=arguments.replace,
                on_progress=shown.advance,
            )
        _print(handed, collection)


def _print(handed: "Handed", collection) -> None:
    change = handed.change
    print(f"{handed.images} images in {printable(handed.where)}")
    print(f"{change.written} written, {change.kept} as they were, {change.removed} removed")
    print(f"vectors of {collection.dim} values by the encoder {collection.encoder_identity}, compared by cosine")
    if handed.unsettled:
        cli.remark("the collection was updated during the whole run; run this again when the update has ended")
    print("\nTo search there, in Python:\n")
    for line in handed.query:
        print(f"    {line}")


if __name__ == "__main__":
    cli.run(main)
