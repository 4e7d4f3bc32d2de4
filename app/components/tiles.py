"""From images and search results to what the grid draws."""

import io
from collections.abc import Container, Iterable, Sequence
from typing import TypedDict
from urllib.parse import urlencode

from PIL import Image

from simsiam_retrieval.collection import Collection, Hit, Item

from ..markup import jpeg_address, shown
from ..search.address import Address

PAGE = 60  # images on a page of all photos
SMALL_SIDE = 96  # pixels


class Tile(TypedDict):
    """One clickable image, in values that JSON can carry."""

    id: int
    name: str
    path: str
    note: str  # below the name
    label: str  # for those who listen to the page
    source: str  # address of the thumbnail; empty when it is missing
    link: str  # address of the page that shows this image
    weak: bool  # no more similar than chance makes images
    alike: int  # near-duplicates that this tile stands for, besides its own image
    opened: bool  # they follow as tiles of their own
    copy: bool  # one of those
    box: list[float] | None  # part to outline: left, top, width and height in percent of the whole picture in a square


def photo_tiles(collection: Collection, items: Iterable[Item], address: Address) -> list[Tile]:
    """Make tiles of images as they lie in their folders.

    Args:
        collection: The collection.
        items: The images.
        address: What the page shows.

    Returns:
        The tiles.
    """
    return [_tile(collection, item, item.path.parent.name, "", address) for item in items]


def hit_tiles(
    collection: Collection, stacks: Sequence[Sequence[Hit]], address: Address, opened: Container[int] = ()
) -> list[Tile]:
    """Make tiles of search results with their scores. A stack of near-duplicates is one tile, or several if it is open.

    Args:
        collection: The collection.
        stacks: The results.
        address: What the page shows.
        opened: Ids of the first images of open stacks.

    Returns:
        The tiles.
    """
    found = []
    for first, *copies in stacks:
        is_open = bool(copies) and first.item.id in opened
        tile = _hit_tile(collection, first, address)
        tile["alike"], tile["opened"] = len(copies), is_open
        if copies:
            tile["label"] += f", and {len(copies)} more like it"
        found.append(tile)
        for hit in copies if is_open else ():
            found.append(_hit_tile(collection, hit, address))
            found[-1]["copy"] = True
    return found


def _hit_tile(collection: Collection, hit: Hit, address: Address) -> Tile:
    weak = hit.above_noise is False
    said = f", similarity {hit.score:.3f}" + (", may be chance" if weak else "")
    note = f"{hit.score:.3f}{' · may be chance' if weak else ''}"
    tile = _tile(collection, hit.item, note, said, address, weak)
    tile["box"] = None if hit.box is None else outlined(hit.item, hit.box)
    return tile


def outlined(item: Item, box: Sequence[float]) -> list[float]:
    """Place a part of an image in a square that shows the whole image, with margins.

    Args:
        item: The image.
        box: Left, top, width and height as fractions of it.

    Returns:
        Left, top, width and height in percent of the square.
    """
    left, top, width, height = box
    longer = max(item.width, item.height)
    across, down = item.width / longer, item.height / longer
    places = ((1 - across) / 2 + left * across, (1 - down) / 2 + top * down, width * across, height * down)
    return [round(100 * place, 3) for place in places]


def _tile(collection: Collection, item: Item, note: str, said: str, address: Address, weak: bool = False) -> Tile:
    name = shown(item.path.name)
    return Tile(
        id=item.id,
        name=name,
        path=shown(item.path),
        note=shown(note),
        label=name + said,
        source=source_of(collection.thumbnail(item.id)),
        link="?" + urlencode(address.of_image(item.id).parameters()),
        weak=weak,
        alike=0,
        opened=False,
        copy=False,
        box=None,
    )


def source_of(thumbnail: bytes | None) -> str:
    """Return the address of a thumbnail.

    Args:
        thumbnail: JPEG.

    Returns:
        The address; empty if the thumbnail is missing.
    """
    return jpeg_address(thumbnail) if thumbnail else ""


def small(thumbnail: bytes, side: int = SMALL_SIDE) -> bytes:
    """Reduce a thumbnail for places where many pictures are side by side.

    Args:
        thumbnail: JPEG.
        side: Largest longer side in pixels.

    Returns:
        JPEG; a thumbnail that cannot be read is returned as it is.
    """
    try:
        with Image.open(io.BytesIO(thumbnail)) as image:
            image.draft("RGB", (side, side))
            image.thumbnail((side, side), Image.Resampling.BILINEAR)
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=80)
    except OSError:
        return thumbnail
    return buffer.getvalue()


def page_count(images: int) -> int:
    """Return the number of pages that all photos take.

    Args:
        images: Number of photos.

    Returns:
        The number.
    """
    return max(1, -(-images // PAGE))


def size_text(size: int) -> str:
    """Format a file size in decimal units.

    Args:
        size: Bytes.

    Returns:
        For example "1.2 MB".
    """
    value = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError
