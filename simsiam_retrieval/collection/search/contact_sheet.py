"""A contact sheet: each query and its results in a row, with rank, score and file name; near-duplicates once."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ...core.atomic_files import replacing
from ...core.errors import UserError
from ...core.paths import absolute
from ...core.text import printable
from ...images.decode import read_image
from ..collection import Collection, Query
from ..types import Hit, Item
from .stacks import stacks_of

TILE, GAP, CAPTION = 180, 14, 40  # pixels
COLUMNS = 6  # results per line
INK, FAINT, PAPER, ACCENT = "#1c1c1e", "#6b6b70", "white", "#d9480f"
BLANK = "#eeeeee"
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


Box = tuple[float, float, float, float]  # left, top, width, height


def draw_sheet(
    collection: Collection, results: Sequence[tuple[Query, list[Hit]]], file: Path, boxes: Sequence[Box] = ()
) -> None:
    """Draw queries and their results into a picture; results of a search by region with their region outlined.

    Near-duplicates share the tile of the best one, which says how many more there are.

    Args:
        collection: The collection.
        results: Pairs of a query (a path, an item or a vector) and its hits.
        file: A .png, .jpg or .webp file.
        boxes: Parts of the query that were searched for, in pixels of the upright picture.

    Raises:
        UserError: The suffix is another one, or the file cannot be written.
    """
    if file.suffix.lower() not in FORMATS:
        raise UserError(f"{file}: --sheet writes {', '.join(FORMATS)}; choose one of these endings")
    stacked = [(query, stacks_of(collection, hits)) for query, hits in results]
    lines = [max(1, -(-len(stacks) // COLUMNS)) for _, stacks in stacked]
    width = GAP + (COLUMNS + 1) * (TILE + GAP) + GAP
    height = GAP + sum(lines) * (TILE + CAPTION + GAP)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for (query, stacks), line_count in zip(stacked, lines, strict=True):
        image, size = _query_picture(collection, query)
        across, down = size
        marked = [(x / across, y / down, width_ / across, height_ / down) for x, y, width_, height_ in boxes]
        _tile(sheet, draw, GAP, top, image, "query", _query_name(query), ACCENT, marked)
        for position, (hit, *copies) in enumerate(stacks):
            line, column = divmod(position, COLUMNS)
            image = _thumbnail(collection, hit.item)
            left = 2 * GAP + (column + 1) * (TILE + GAP)
            above = top + line * (TILE + CAPTION + GAP)
            more = f"   +{len(copies)} alike" if copies else ""
            outlined = [] if hit.box is None else [hit.box]
            _tile(sheet, draw, left, above, image, f"{hit.rank}.  {hit.score:.3f}{more}", hit.path.name, INK, outlined)
        top += line_count * (TILE + CAPTION + GAP)
    try:
        with replacing(file) as temporary:
            sheet.save(temporary, FORMATS[file.suffix.lower()])
    except OSError as error:
        raise UserError(f"{file}: cannot write the picture ({error.strerror or error})") from None
    except ValueError:
        raise UserError(
            f"{file}: too many results for one {file.suffix} picture; ask for fewer, or write .png"
        ) from None


def _query_picture(collection: Collection, query: Query) -> tuple[Image.Image, tuple[int, int]]:
    """A query's picture, and the size of the whole picture in pixels."""
    if isinstance(query, Item):
        return _thumbnail(collection, query), (query.width, query.height)
    if isinstance(query, str | Path):
        decoded = read_image(absolute(query), 2 * TILE, collection.reading)
        return decoded.image, (decoded.width, decoded.height)
    return Image.new("RGB", (TILE, TILE), BLANK), (TILE, TILE)


def _query_name(query: Query) -> str:
    if isinstance(query, Item):
        return query.path.name
    return Path(query).name if isinstance(query, str | Path) else "a vector"


def _thumbnail(collection: Collection, item: Item) -> Image.Image:
    jpeg = collection.thumbnail(item.id)
    return Image.open(io.BytesIO(jpeg)) if jpeg else Image.new("RGB", (TILE, TILE), BLANK)


def _tile(
    sheet, draw, left: int, top: int, image: Image.Image, title: str, name: str, colour: str, boxes: Sequence[Box]
) -> None:
    # not ImageOps.contain: in Pillow 12 it gives a very long picture a side of 0 pixels
    scale = TILE / max(image.size)
    fitted = image.convert("RGB").resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BICUBIC
    )
    first = left + (TILE - fitted.width) // 2, top + (TILE - fitted.height) // 2
    sheet.paste(fitted, first)
    for box in boxes:
        _outline(draw, box, first, fitted.size)
    draw.text((left, top + TILE + 4), title, fill=colour, font=_font(15))
    draw.text((left, top + TILE + 22), _shortened(draw, name), fill=FAINT, font=_font(12))


def _outline(draw, box: Box, first: tuple[int, int], size: tuple[int, int]) -> None:
    """Draw a box: the accent colour inside white, so that it shows on every picture."""
    left, top = first[0] + round(box[0] * size[0]), first[1] + round(box[1] * size[1])
    right = max(left + 1, first[0] + round((box[0] + box[2]) * size[0]) - 1)
    bottom = max(top + 1, first[1] + round((box[1] + box[3]) * size[1]) - 1)
    draw.rectangle((left, top, right, bottom), outline=PAPER, width=4)
    draw.rectangle((left, top, right, bottom), outline=ACCENT, width=2)


def _font(size: int):
    return ImageFont.load_default(size)


def _shortened(draw: ImageDraw.ImageDraw, text: str) -> str:
    text = printable(text)
    if draw.textlength(text, font=_font(12)) <= TILE:
        return text
    for keep in range(len(text) - 1, 0, -1):
        short = text[: keep // 2 + keep % 2] + "…" + text[len(text) - keep // 2 :]
        if draw.textlength(short, font=_font(12)) <= TILE:
            return short
    return ""
