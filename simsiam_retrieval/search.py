"""``python -m simsiam_retrieval.search IMAGE``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from . import cli
from .errors import UserError
from .text import printable


@dataclass(frozen=True)
class Arguments:
    """Find the images of a collection that look most like a query image."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Query images; each gets its own results."""
    collection: Path | None = None
    """Collection folder; by default the one indexed last."""
    k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10
    """Number of results."""
    json: bool = False
    """Print JSON: a list with one object per query."""
    sheet: Path | None = None
    """Draw queries and results as one picture (PNG or JPEG) into this file."""


def main() -> None:
    arguments = cli.parse(Arguments, "search")
    if not arguments.images:
        raise UserError("name an image to search for")
    # imported here so that --help answers at once
    from .collection import Collection
    from .home import find_collection

    with Collection.open(find_collection(arguments.collection)) as collection:
        results = [(image, collection.search(image, arguments.k)) for image in arguments.images]
        if arguments.sheet is not None:
            from .collection.sheet import draw_sheet

            draw_sheet(collection, results, arguments.sheet)
            cli.remark(f"drew {printable(arguments.sheet)}")
    if arguments.json:
        print(json.dumps([_as_dict(image, hits) for image, hits in results], indent=2))
    else:
        for image, hits in results:
            _print_table(image, hits)


def _as_dict(image: Path, hits: list) -> dict:
    found = [{"rank": hit.rank, "score": round(hit.score, 6), "path": str(hit.path)} for hit in hits]
    return {"query": str(image), "hits": found}


def _print_table(image: Path, hits: list) -> None:
    print(f"{printable(image)}{'' if hits else ': nothing in the collection'}")
    for hit in hits:
        print(f"{hit.rank:4d}  {hit.score:6.3f}  {printable(hit.path)}")


if __name__ == "__main__":
    cli.run(main)
