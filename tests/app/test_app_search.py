"""The Search page: all photos, neighbours, filters, results."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import streamlit
from simsiam_retrieval.app.components import chosen_image, tiles  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.pages import search_results  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.search.address import Address  # pyright: ignore[reportMissingImports]

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.search.filters import Filter
from simsiam_retrieval.collection.update.index_folders import index_folders
from tests.support.app_pages import button, components, grid, run, said, search_page

ODD_NAMES = ("<img src=x onerror=alert(1)>.jpg", "**x** $y$ :red[z] :smile:.jpg", "new\nline \u202egpj.exe.jpg")


def test_all_photos_are_shown_sixty_a_page(collection_dir: Path) -> None:
    with Collection.open(collection_dir) as collection:
        items = collection.items()
    test = search_page(collection_dir)
    assert f"{len(items)} images" in said(test)
    assert [tile["id"] for tile in grid(test)] == [item.id for item in items[:60]]
    assert all(tile["source"].startswith("data:image/jpeg;base64,") for tile in grid(test))
    assert grid(test)[0]["name"] == items[0].path.name
    assert grid(test)[0]["link"] == f"?image={items[0].id}"

    run(test.pagination[0].set_value(2))
    assert test.query_params == {"page": "2"}
    assert [tile["id"] for tile in grid(test)] == [item.id for item in items[60:120]]
    test.query_params.clear()  # the browser's Back
    assert run(test).pagination[0].value == 1
    assert [tile["id"] for tile in grid(test)] == [item.id for item in items[:60]]


@pytest.mark.parametrize("page", ["0", "-1", "999999999999999999999", "x", ""])
def test_a_page_that_does_not_exist_shows_the_nearest(collection_dir: Path, page: str) -> None:
    assert grid(search_page(collection_dir, page=page))


def test_names_of_files_show_as_they_are(encoder_file: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    originals = sorted(photos.rglob("*.jpg"))
    for original, name in zip(originals, ODD_NAMES, strict=False):
        shutil.copy(original, folder / name)
    shutil.copy(originals[3], folder / os.fsdecode(b"caf\xe9.jpg"))
    index_folders([folder], tmp_path / "collection", str(encoder_file), workers=0)

    test = search_page(tmp_path / "collection")
    found = grid(test)
    assert sorted(tile["name"] for tile in found) == sorted(
        [ODD_NAMES[0], ODD_NAMES[1], "new\ufffdline \ufffdgpj.exe.jpg", "caf\ufffd.jpg"]
    )
    for tile in found:
        test = search_page(tmp_path / "collection", image=str(tile["id"]))
        assert len(grid(test)) == len(found) - 1
        assert "<img src=x" not in said(test)
    assert not test.markdown  # Streamlit's Markdown would interpret names


def test_an_image_shows_its_neighbours_with_scores(collection_dir: Path) -> None:
    with Collection.open(collection_dir) as collection:
        item = collection.items()[5]
        hits = collection.search(item, 24)
    test = search_page(collection_dir, image=str(item.id), copies="1")
    assert [tile["id"] for tile in grid(test)] == [hit.item.id for hit in hits]
    assert [tile["weak"] for tile in grid(test)] == [not hit.above_noise for hit in hits]
    said_of_weak = [" · may be chance" if hit.above_noise is False else "" for hit in hits]
    scores = [f"{hit.score:.3f}{words}" for hit, words in zip(hits, said_of_weak, strict=True)]
    assert [tile["note"] for tile in grid(test)] == scores
    assert grid(test)[0]["label"].startswith(f"{hits[0].path.name}, similarity {hits[0].score:.3f}")
    page = said(test)
    assert str(item.path) in page.replace("<wbr>", "")
    assert f"{item.width} × {item.height} px" in page
    assert tiles.size_text(item.size) in page
    assert '<img class="sr-picture"' in page


def test_the_number_of_results_can_be_chosen(collection_dir: Path) -> None:
    test = search_page(collection_dir, image="5", results="12")
    assert len(grid(test)) == 12
    assert grid(test)[0]["link"].endswith("&results=12")
    run(test.button_group[0].set_value(48))
    assert test.query_params == {"image": "5", "results": "48"}
    assert len(grid(test)) == 48
    test.query_params["results"] = "12"  # the browser's Back
    assert run(test).button_group[0].value == 12


def test_a_button_of_before_the_browsers_back_acts_on_the_address_that_is_open(
    collection_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page shows Back's address at once, its buttons are those of the address before until the server answers."""

    def as_buttons(rows: list, *, on_out: Any) -> None:  # the page's own pictures are drawn by the browser
        for title, pictures in rows:
            for one in pictures:
                assert one["source"].startswith("data:image/jpeg;base64,")
                streamlit.button("out", key=f"{title} {one['id']}", on_click=on_out, args=(one["id"],))

    monkeypatch.setattr(search_results, "chips", as_buttons)
    test = search_page(collection_dir, image="5", more="6,7", less="8")
    test.query_params["more"] = "6"
    del test.query_params["less"]
    run(next(one for one in test.button if one.key == "More like 6").click())
    assert test.query_params == {"image": "5"}


def test_all_images_leads_back(collection_dir: Path) -> None:
    test = search_page(collection_dir, image="5", results="48")
    run(button(test, "All images").click())
    assert test.query_params == {"results": "48"}
    assert len(grid(test)) == 60


@pytest.mark.parametrize("image", ["0", "987654", "-1", "x", "", "9" * 40, "<b>7", "１"])
def test_an_unknown_image_says_what_to_do(collection_dir: Path, image: str) -> None:
    test = search_page(collection_dir, image=image)
    assert "There is no image" in said(test) and "Choose another" in said(test)
    assert "<b>7" not in said(test)
    run(button(test, "All images").click())
    assert len(grid(test)) == 60


def test_the_large_picture_is_the_file_or_what_is_left_of_it(own_collection: Path, tmp_path: Path) -> None:
    with Collection.open(own_collection) as collection:
        item, thumbnail = collection.items()[0], collection.thumbnail(collection.items()[0].id)
    jpeg, remark = chosen_image.item_picture(item, thumbnail)
    assert jpeg != thumbnail and not remark
    file = tmp_path / "photo.jpg"
    shutil.copy2(item.path, file)
    moved = type(item)(**{**vars(item), "path": file})
    assert chosen_image.item_picture(moved, thumbnail) == (jpeg, "")
    file.write_bytes(file.read_bytes() + b"x")
    jpeg, remark = chosen_image.item_picture(moved, thumbnail)
    assert jpeg == thumbnail and "changed" in remark
    file.unlink()
    jpeg, remark = chosen_image.item_picture(moved, thumbnail)
    assert jpeg == thumbnail and "gone" in remark


def test_a_filter_in_the_address(collection_dir: Path) -> None:
    with Collection.open(collection_dir) as collection:
        [root] = collection.roots
        fish = [item.id for item in collection if item.path.parent.name == "fish"]
        item = collection.items()[40]
        expected = [hit.item.id for hit in collection.search(item, 24, where=Filter(folders=(root / "fish",)))]
    test = search_page(collection_dir, folder=str(root / "fish"))
    assert [tile["id"] for tile in grid(test)] == fish
    assert f"{len(fish)} of 126 images" in said(test)
    assert grid(test)[0]["link"].startswith(f"?image={fish[0]}&folder=")
    test = search_page(collection_dir, folder=str(root / "fish"), image=str(item.id))
    assert [tile["id"] for tile in grid(test)] == expected
    run(button(test, "Clear the filter").click())
    assert test.query_params == {"image": str(item.id)}
    test = search_page(collection_dir, name="no such name")
    assert "No image meets all conditions" in said(test) and not grid(test)
    test = search_page(collection_dir, name="no such name", image="5")
    assert "No other image meets the conditions" in said(test)


def test_labels_can_be_filtered_by(own_collection: Path) -> None:
    with Collection.open(own_collection) as collection:
        first, second, *_ = collection
        collection.set_labels({first.id: "<i>mine", second.id: "other"})
    test = search_page(own_collection, label="<i>mine")
    assert [tile["id"] for tile in grid(test)] == [first.id]
    assert len(grid(search_page(own_collection, label=""))) == 60
    [chooser] = [one for one in test.selectbox if one.label == "Label"]
    run(chooser.set_value("other"))
    assert [tile["id"] for tile in grid(test)] == [second.id]
    assert "&lt;i&gt;mine" in said(search_page(own_collection, image=str(first.id)))


def test_results_have_pages(collection_dir: Path) -> None:
    with Collection.open(collection_dir) as collection:
        item = collection.item(5)
        assert item is not None
        expected = [hit.item.id for hit in collection.search(item, 200)]
    test = search_page(collection_dir, image="5", results="48", copies="1")
    run(test.pagination[0].set_value(2))
    assert [tile["id"] for tile in grid(test)] == expected[48:96]
    assert "From 49 to 96" in said(test)
    run(test.pagination[0].set_value(3))
    assert [tile["id"] for tile in grid(test)] == expected[96:]
    assert len(expected) == 125


def test_a_cut_off_leaves_out_what_is_below(collection_dir: Path) -> None:
    with Collection.open(collection_dir) as collection:
        item = collection.item(5)
        assert item is not None
        hits = collection.search(item, 24)
    cut = int(100 * hits[9].score)
    expected = [hit.item.id for hit in hits if hit.score >= cut / 100]
    test = search_page(collection_dir, image="5", cut=str(cut), copies="1")
    assert [tile["id"] for tile in grid(test)] == expected
    assert test.slider[0].value == cut / 100
    run(test.slider[0].set_value(1.0))
    assert test.query_params == {"image": "5", "cut": "100", "copies": "1"}


def test_near_duplicates_share_a_tile_that_opens(encoder_file: Path, few_photos: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(few_photos, photos)
    originals = sorted(photos.rglob("*.jpg"))
    for number, original in enumerate(originals[:5]):
        shutil.copy(original, photos / f"copy {number}.jpg")
    index_folders([photos], tmp_path / "collection", str(encoder_file), workers=0)
    with Collection.open(tmp_path / "collection") as collection:
        copied = next(item for item in collection if item.path == originals[0])
    where = {"image": str(copied.id), "results": "96"}
    each = [tile["name"] for tile in grid(search_page(tmp_path / "collection", copies="1", **where))]
    assert {"copy 0.jpg", *(f"copy {number}.jpg" for number in range(1, 5))} < set(each)
    test = search_page(tmp_path / "collection", **where)
    folded = {tile["name"]: tile for tile in grid(test)}
    assert len(folded) + sum(tile["alike"] for tile in folded.values()) == len(each)
    first, number = "", 0
    for number in range(1, 5):
        [first] = {f"copy {number}.jpg", originals[number].name} & folded.keys()  # one tile for both
        assert folded[first]["alike"] >= 1 and not folded[first]["opened"]
    test.session_state["opened"] = frozenset({folded[first]["id"]})  # a click on its count
    opened = grid(run(test))
    place = next(place for place, tile in enumerate(opened) if tile["name"] == first)
    following = opened[place + 1 : place + 1 + opened[place]["alike"]]
    assert opened[place]["opened"] and all(tile["copy"] for tile in following)
    assert {f"copy {number}.jpg", originals[number].name} <= {first, *(tile["name"] for tile in following)}


@pytest.mark.parametrize(
    "parameters",
    [
        {"more": "7,9", "less": "3"},
        {"image": "5", "more": "7", "cut": "93", "copies": "1", "sort": "newest", "page": "2", "results": "48"},
        {"upload": "1", "folder": "/a b", "name": "*.jpg", "format": "PNG", "label": "", "since": "2020-01-31"},
        {"until": "2021-02-03", "side": "500"},
    ],
)
def test_an_address_survives(parameters: dict[str, str]) -> None:
    assert Address.read(parameters).parameters() == parameters


@pytest.mark.parametrize(
    "parameters",
    [
        {"more": "x,,-1", "less": "1e9", "cut": "-3", "since": "yesterday", "until": "2020-13-01", "side": "wide"},
        {"cut": "", "page": "x"},
    ],
)
def test_nonsense_in_an_address_is_passed_over(parameters: dict[str, str]) -> None:
    assert Address.read(parameters) == Address()
    assert Address.read({"since": "2021-01-01", "until": "2020-01-01"}) == Address()


def test_a_search_is_refined_by_its_address(collection_dir: Path) -> None:
    with Collection.open(collection_dir) as collection:
        five, seven, nine = (collection.item(id_) for id_ in (5, 7, 9))
        assert five and seven and nine
        expected = [hit.item.id for hit in collection.search([five, seven], 24, unlike=nine)]
    test = search_page(collection_dir, image="5", more="7,9999", less="9", copies="1")
    assert [tile["id"] for tile in grid(test)] == expected
    [rows] = [one["rows"] for one in components(test) if "rows" in one]
    assert [(row["title"], [chip["id"] for chip in row["chips"]]) for row in rows] == [
        ("More like", [7]),
        ("Less like", [9]),
    ]
    assert all(chip["source"].startswith("data:image/jpeg;base64,") for row in rows for chip in row["chips"])


def test_images_are_sorted_by_date(own_collection: Path) -> None:
    with Collection.open(own_collection) as collection:
        dates = {item.id: item.date for item in collection}
        five = collection.item(5)
        assert five is not None
        nearest = {hit.item.id for hit in collection.search(five, 24)}
    for sort, falling in (("newest", True), ("oldest", False)):
        shown = [dates[tile["id"]] for tile in grid(search_page(own_collection, sort=sort))]
        assert shown == sorted(dates.values(), reverse=falling)[:60]
        found = [tile["id"] for tile in grid(search_page(own_collection, image="5", sort=sort, copies="1"))]
        assert set(found) == nearest  # the same results, in another order
        assert [dates[id_] for id_ in found] == sorted((dates[id_] for id_ in found), reverse=falling)
    test = search_page(own_collection)
    run(next(one for one in test.selectbox if one.label == "Order").select("newest"))
    assert test.query_params == {"sort": "newest"}
    unknown = search_page(own_collection, sort="sideways")
    assert next(one for one in unknown.selectbox if one.label == "Order").value == ""


def test_all_of_a_page_are_marked_at_once(collection_dir: Path) -> None:
    test = search_page(collection_dir, page="2")
    run(button(test, "Mark these 60").click())
    assert "60 marked" in said(test)
    assert button(test, "All of these are marked").disabled
