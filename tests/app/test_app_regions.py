"""What a browser may send as parts, addresses with parts, and a collection without regions."""

from pathlib import Path

import pytest
from simsiam_retrieval.app.components.part import read  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.components.tiles import hit_tiles  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.search.address import Address  # pyright: ignore[reportMissingImports]

from simsiam_retrieval import Collection
from tests.support.app_pages import components, grid, said, search_page
from tests.support.small_encoder import paint, small_encoder


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ([[1, 2, 3, 4]], ((1, 2, 3, 4),)),
        ([], ()),
        ([[1, 2, 3, 4]] * 5, ((1, 2, 3, 4),) * 5),
        ([[1, 2, 3, 4]] * 6, None),
        ([[1, 2, 0, 4]], None),
        ([[-1, 2, 3, 4]], None),
        ([[1, 2, 3]], None),
        ([[1, 2, 3.5, 4]], None),
        ([[1, 2, 3, 10**9]], None),
        ("box", None),
        (None, None),
    ],
)
def test_boxes_from_the_browser(sent: object, found: object) -> None:
    assert read(sent) == found


def test_addresses_keep_parts() -> None:
    address = Address(image="3", boxes=((1, 2, 30, 40), (5, 6, 7, 8)), inside=True)
    assert address.parameters() | {"box": "1,2,30,40;5,6,7,8", "inside": "1"} == address.parameters()
    assert Address.read(address.parameters()) == address
    for nonsense in ("", "1,2,3", "a,b,c,d", "1,2,0,5", "-1,2,3,4"):
        assert Address.read({"image": "3", "box": nonsense}).boxes == ()
    assert Address.read({"box": ";".join(["1,2,3,4"] * 9)}).boxes == ((1, 2, 3, 4),) * 5
    assert not address.of_image(4).boxes  # a part is one of its picture


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(4):
        paint(tmp_path / "pictures" / f"{number}.png", number)
    return tmp_path / "pictures"


def made(pictures: Path, *, regions: bool) -> Path:
    place = pictures.parent / "collection"
    with Collection.create(place, small_encoder(pictures.parent / "small.onnx")) as collection:
        collection.update([pictures], regions=regions, workers=0)
    return place


def test_the_page_shows_where_the_part_was_found(pictures: Path) -> None:
    place = made(pictures, regions=True)
    with Collection.open(place) as collection:
        item = next(iter(collection))
        hits = collection.search(item, box=[(0, 0, 15, 15)], k=9)
        expected = [tile["box"] for tile in hit_tiles(collection, [[hit] for hit in hits], Address())]
    test = search_page(place, image=str(item.id), box="0,0,15,15", copies="1")
    assert [tile["box"] for tile in grid(test)] == expected
    assert item.id not in [tile["id"] for tile in grid(test)]
    (part,) = [found for found in components(test) if "boxes" in found]
    assert (part["boxes"], part["size"]) == ([[0, 0, 15, 15]], [40, 30])
    # a picture of 40 x 30 stands in a square with an eighth of it above and below
    assert all(box[1] >= 12.5 and box[1] + box[3] <= 87.501 for box in expected if box is not None)


def test_without_regions_nothing_can_be_drawn(pictures: Path) -> None:
    place = made(pictures, regions=False)
    with Collection.open(place) as collection:
        item = next(iter(collection))
    test = search_page(place, image=str(item.id))
    assert not [found for found in components(test) if "boxes" in found]
    assert not any(tile["box"] for tile in grid(search_page(place)))
    assert "has no regions; add them" in said(search_page(place, image=str(item.id), inside="1"))


def test_a_part_outside_the_picture_is_said_so(pictures: Path) -> None:
    place = made(pictures, regions=True)
    with Collection.open(place) as collection:
        item = next(iter(collection))
    assert "outside the picture" in said(search_page(place, image=str(item.id), box="30,0,15,15"))
    item.path.unlink()
    assert "cannot be read now" in said(search_page(place, image=str(item.id), box="0,0,15,15"))
