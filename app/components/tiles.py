"""From images and search results to what the grid draws."""

from collections.abc import Iterable, Sequence
from typing import TypedDict
from urllib.parse import urlencode

from simsiam_retrieval.collection import Collection, Hit, Item

from ..markup import jpeg_address, shown
from ..search.address import Address

PAGE = 60  # images on a page of all photos


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


def photo_tiles(collection: Collection, items: Iterable[Item], address: Address) -> list[Tile]:
    """Tiles of images as they lie in their folders."""
    return [_tile(collection, item, item.path.parent.name, "", address) for item in items]


def hit_tiles(collection: Collection, hits: Sequence[Hit], address: Address) -> list[Tile]:
    """Tiles of search results, with their scores."""
    found = []
    for hit in hits:
        weak = hit.above_noise is False
        said = f", similarity {hit.score:.3f}" + (", may be chance" if weak else "")
        found.append(
            _tile(collection, hit.item, f"{hit.score:.3f}{' · may be chance' if weak else ''}", said, address, weak)
        )
    return found


def _tile(collection: Collection, item: Item, note: str, said: str, address: Address, weak: bool = False) -> Tile:
    thumbnail = collection.thumbnail(item.id)
    name = shown(item.path.name)
    return Tile(
        id=item.id,
        name=name,
        path=shown(item.path),
        note=shown(note),
        label=name + said,
        source=jpeg_address(thumbnail) if thumbnail else "",
        link="?" + urlencode(address.of_image(item.id).parameters()),
        weak=weak,
    )


def page_count(images: int) -> int:
    """Pages that all photos take."""
    return max(1, -(-images // PAGE))


def size_text(size: int) -> str:
    """A file size for people, in decimal units."""
    value = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError
