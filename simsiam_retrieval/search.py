"""``python -m simsiam_retrieval.search IMAGE``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from .collection.search.search_options import SearchOptions
from .core import cli
from .core.errors import UserError
from .core.text import printable

if TYPE_CHECKING:
    from .collection import Collection, Hit


@dataclass(frozen=True)
class Arguments(SearchOptions):
    """Find the images of a collection that look most like a query image."""

    images: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="[IMAGE ...]")]] = ()
    """Query images; each is a search of its own, unless --together."""
    item: tyro.conf.UseAppendAction[tuple[int, ...]] = ()
    """Search with this image of the collection, by the id that --json prints. May be repeated."""
    vector: Path | None = None
    """Search with the vectors of an .npy file: floats of shape (dim,) or (n, dim)."""
    together: bool = False
    """Search once, with the mean of all queries."""
    collection: Path | None = None
    """Name or folder of the collection. Default: the one used last."""
    json: bool = False
    """Print JSON: a list with one object a query."""
    device: str | None = None
    """Device that embeds the query: auto, cpu, cuda or tensorrt. Default: auto."""
    sheet: Path | None = None
    """Draw queries and results as one picture into this file (PNG or JPEG)."""


EXAMPLES = """examples:
  search query.jpg                             the ten most similar images
  search a.jpg b.jpg --together -k 20          what both have in common
  search query.jpg --folder ./2024 --sheet out.png
  search photo.jpg --box 120 80 300 300        where else is this part of the photo
  search cutting.jpg --inside                  which larger picture is this from"""


def main() -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        UserError: An option or an input cannot work.
    """
    arguments = cli.parse(Arguments, "search", examples=EXAMPLES)
    if not (arguments.images or arguments.item or arguments.vector):
        raise UserError("name an image to search for")
    # imported here, so that --help is fast
    from .collection import Collection
    from .core.known_collections import find_collection

    folder = find_collection(arguments.collection)
    failed: list[str] = []
    with Collection.open(folder) as collection:
        cli.remark_collection(arguments.collection, folder)
        if arguments.device is not None:
            from .encoder.device_remark import remark_device

            collection.encoder_device = arguments.device
            remark_device(collection.encoder, arguments.device)
        queries = _queries(arguments, collection)
        results = _results(arguments, collection, queries, failed)
        if arguments.sheet is not None:
            from .collection.search.contact_sheet import draw_sheet

            drawn = [(query, hits) for _, query, hits in results]
            draw_sheet(collection, drawn, arguments.sheet, boxes=arguments.box)
            cli.remark(f"drew {printable(arguments.sheet)}")
    if arguments.above_noise and any(hit.noise_level is None for _, _, hits in results for hit in hits):
        cli.remark("--above-noise left nothing out: the images are too few to tell what chance would do")
    code = cli.USER_CAN_MEND if failed else cli.DONE
    if arguments.json:
        print(json.dumps([_as_dict(name, hits) for name, _, hits in results], indent=2))
        return code
    for name, _, hits in results:
        _print_table(name, hits, arguments.above_noise)
    if any(hit.above_noise is False for _, _, hits in results for hit in hits):
        levels = {hits[0].noise_level for _, _, hits in results if hits}
        level = f" of {levels.pop():.3f}" if len(levels) == 1 else " of its query"
        cli.remark(f"~ may be chance: at most the noise level{level}, which one random pair in a thousand exceeds")
    return code


def _queries(arguments: Arguments, collection: "Collection") -> list[tuple[str, Any]]:
    """Name and query, of each."""
    found: list[tuple[str, Any]] = [(image, image) for image in arguments.images]
    for id_ in arguments.item:
        item = collection.item(id_)
        if item is None:
            raise UserError(f"--item {id_}: no such image in {collection.folder}")
        found.append((str(item.path), item))
    if arguments.vector is not None:
        from .collection.search.query_vectors import read_vectors

        vectors = read_vectors(arguments.vector, collection.dim)
        several = len(vectors) > 1
        found += [(f"{arguments.vector}{f'[{row}]' if several else ''}", vector) for row, vector in enumerate(vectors)]
    return found


def _check_image(image: str) -> None:
    """Raise ``UserError`` with what to do, for a query that is no file."""
    from .core.paths import absolute

    if "://" in image:
        raise UserError(f"{image}: a URL; nothing is fetched from a network: download the picture and name the file")
    if image == "-":
        raise UserError("-: pictures are not read from standard input; name a file")
    path = absolute(image)
    if path.is_dir():
        raise UserError(f"{image}: a folder; name a picture in it, or search in it alone: QUERY --folder {image}")
    if path.exists() or path.is_symlink():
        return
    if any(letter in image for letter in "*?["):
        raise UserError(f"{image}: no file matches this pattern")
    if not path.suffix and Path(image).name == image:
        raise UserError(f"{image}: no such file; a query is a picture, there is no search by words")
    raise UserError(f"{image}: no such file; check the spelling")


def _results(
    arguments: Arguments, collection: "Collection", queries: list[tuple[str, Any]], failed: list[str]
) -> list[tuple[str, Any, list["Hit"]]]:
    """Name, query and hits, of each; of several queries those that cannot be used go to ``failed``, with a remark."""
    from .collection.search.given_folders import check_folders

    check_folders(collection, arguments.where)
    if arguments.box and len(queries) != 1:
        raise UserError("--box: name one query image; a box is a part of it")
    for image in arguments.unlike:
        _check_image(image)

    if arguments.together or arguments.weights or arguments.unlike:
        for image in arguments.images:
            _check_image(image)
        name = " + ".join(name for name, _ in queries) + "".join(f" - {image}" for image in arguments.unlike)
        return [(name, queries[0][1], collection.search_with([query for _, query in queries], arguments))]
    results = []
    for name, query in queries:
        try:
            if isinstance(query, str):
                _check_image(query)
                if not results and not arguments.by_region:
                    collection.prepare()
            results.append((name, query, collection.search_with(query, arguments)))
        except UserError as error:
            if len(queries) == 1:
                raise
            failed.append(name)
            cli.remark(f"error: {printable(str(error))}")
    if failed and not results:
        raise UserError(f"none of {len(queries)} queries can be used")
    return results


def _as_dict(name: str, hits: list["Hit"]) -> dict:
    found = [
        {
            "rank": hit.rank,
            "score": round(hit.score, 6),
            "above_noise": hit.above_noise,
            "id": hit.item.id,
            "path": str(hit.path),
            **({} if hit.box is None else {"box": list(hit.pixel_box or ())}),
        }
        for hit in hits
    ]
    noise = hits[0].noise_level if hits else None
    return {"query": name, "noise_level": None if noise is None else round(noise, 6), "hits": found}


def _print_table(name: str, hits: list["Hit"], above_noise: bool) -> None:
    nothing = "nothing similar in the collection" if above_noise else "nothing in the collection"
    print(f"{printable(name)}{'' if hits else f': {nothing}'}")
    for hit in hits:
        place = "" if hit.pixel_box is None else "  at {} {} {} {}".format(*hit.pixel_box)
        print(f"{hit.rank:4d}  {hit.score:6.3f}{'~' if hit.above_noise is False else ' '} {printable(hit.path)}{place}")


if __name__ == "__main__":
    cli.run(main)
