"""The pages, without a browser; and the command that serves them."""

import csv
import io
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import simsiam_retrieval.app as app_package  # pyright: ignore[reportMissingImports]
import streamlit
from simsiam_retrieval.app import (  # pyright: ignore[reportMissingImports]
    background_jobs,
    markup,
    server,
    settings,
    show_folder,
)
from simsiam_retrieval.app.components import chosen_image, tiles  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.pages import collection_menu, search_results  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.pages import training_runs as runs  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.search import selection  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.search.address import RESULTS, Address, as_number  # pyright: ignore[reportMissingImports]
from streamlit import config as streamlit_config
from streamlit.testing.v1 import AppTest

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.search.filters import Filter
from simsiam_retrieval.collection.update.index_folders import index_folders
from simsiam_retrieval.core.known_collections import note_use
from tests.conftest import Command

MAIN = Path(app_package.__file__ or "").parent / "pages" / "navigation.py"
SECONDS = 60  # for one run of a page, on a busy machine
TRAINING = "from simsiam_retrieval.app.pages import training_page; training_page.show()"
ODD_NAMES = ("<img src=x onerror=alert(1)>.jpg", "**x** $y$ :red[z] :smile:.jpg", "new\nline \u202egpj.exe.jpg")


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_current", None)


def search_page(collection: Path, **parameters: str) -> AppTest:
    settings.use(settings.Settings(collection, Path("nowhere")))
    test = AppTest.from_file(str(MAIN), default_timeout=SECONDS)
    test.query_params.update(parameters)
    return run(test)


def training_page(folder: Path, **parameters: str) -> AppTest:
    settings.use(settings.Settings(Path("nowhere"), folder))
    test = AppTest.from_string(TRAINING, default_timeout=SECONDS)
    test.query_params.update(parameters)
    return run(test)


def run(something: Any) -> AppTest:
    """Run a page, or the page of a widget that was set."""
    test = something.run()
    assert not test.exception
    return test


def said(test: AppTest) -> str:
    """All HTML of a page but its style sheet."""
    return "\n".join(element.value for element in test.html if not element.value.startswith("<style>"))


def grid(test: AppTest) -> list[tiles.Tile]:
    return next((found["tiles"] for found in components(test) if "tiles" in found), [])


def components(test: AppTest) -> list[dict[str, Any]]:
    """What the inline components of a page were given."""
    return [json.loads(one.proto.json) for one in test.get("bidi_component")]


def button(test: AppTest, label: str) -> Any:
    [found] = [one for one in test.button if one.label == label]
    return found


@pytest.fixture
def own_collection(collection_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(collection_dir, tmp_path / "own"))


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """``runs/first``: a run of three rows."""
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    description = {
        "config": {"recipe": "photos", "backbone": "resnet18", "epochs": 40, "batch_size": 1024},
        "data": {"roots": ["/photos/<b>mine"], "images": 20613},
        "versions": {"torch": "2.11"},
        "device": {"type": "cuda", "name": "NVIDIA H100"},
        "started": "2026-11-21T21:22:23+00:00",
    }
    (run / "config.json").write_text(json.dumps(description))
    (run / "metrics.jsonl").write_text("".join(json.dumps(row(step)) + "\n" for step in (1, 2, 3)))
    return run


def row(step: int, **values: float) -> dict[str, float]:
    return {
        "step": step,
        "epoch": step / 2,
        "loss": -step / 10,
        "std": 0.9,
        "lr": 0.1,
        "images_per_second": 1234.5,
    } | values


# -- all photos


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


# -- neighbours


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


# -- a narrower view


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


# -- for people at this machine


def own_page(collection: Path) -> AppTest:
    settings.use(settings.Settings(collection, Path("nowhere"), own=True))
    return run(AppTest.from_file(str(MAIN), default_timeout=SECONDS))


def test_another_collection_is_chosen_and_what_was_marked_in_the_first_is_forgotten(
    collection_dir: Path, own_collection: Path
) -> None:
    note_use(collection_dir, "holidays")
    with Collection.open(own_collection) as collection:
        collection.remove([collection.items()[0].path])
        images = len(collection)
    note_use(own_collection, "fewer")
    test = own_page(collection_dir)
    run(button(test, "Mark these 60").click())
    chooser = next(one for one in test.selectbox if one.label == "Collection")
    assert sorted(chooser.options) == ["fewer", "holidays"]
    run(chooser.select(own_collection))
    assert f"{images} images" in said(test)
    assert "marked" not in said(test)
    assert f"{images} images" in said(own_page(settings.first_collection()))  # for those who come later, too


def test_the_browsers_back_leads_to_images_of_the_collection_that_they_are_of(
    collection_dir: Path, own_collection: Path
) -> None:
    with Collection.open(own_collection) as collection:
        collection.remove([collection.items()[0].path])
        fewer, other = len(collection), collection.items()[3]
    note_use(collection_dir, "holidays")
    note_use(own_collection, "fewer")
    test = own_page(collection_dir)
    run(next(one for one in test.selectbox if one.label == "Collection").select(own_collection))
    shown = [tile for data in components(test) for tile in data.get("tiles", [])]
    link = next(tile["link"] for tile in shown if tile["id"] == other.id)
    parameters = dict(parse_qsl(link.removeprefix("?")))
    assert set(parameters) == {"image", "of"}
    for key in ("image", "of"):
        test.query_params[key] = parameters[key]
    assert f"{fewer} images" in said(run(test)) and other.path.name in said(test)
    del test.query_params["of"]  # Back, to an address from before
    assert f"{fewer + 1} images" in said(run(test))
    test.query_params["of"] = parameters["of"]  # Forward
    assert f"{fewer} images" in said(run(test))
    test.query_params["of"] = "0"
    test.run()
    assert any("no longer known" in one.value for one in test.html)


def test_strangers_cannot_choose_a_collection_or_add_a_folder(collection_dir: Path, own_collection: Path) -> None:
    note_use(own_collection, "private")
    test = search_page(collection_dir)
    assert not [one for one in test.selectbox if one.label == "Collection"]
    assert not [one for one in test.text_input if "Add a folder" in one.label]
    settings.choose(own_collection)
    assert settings.collection() == collection_dir
    assert not any(one.get("folders") for one in components(test))  # nor open one


def test_a_folder_is_added_while_the_page_goes_on(own_collection: Path, few_photos: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for number, photo in enumerate(sorted(few_photos.rglob("*.jpg"))[:2]):
        shutil.copy(photo, more / f"new {number}.jpg")
    (more / "broken.jpg").write_bytes(b"no picture")
    test = own_page(own_collection)
    with Collection.open(own_collection) as collection:
        before = len(collection)
    run(next(one for one in test.text_input if one.label.startswith("Add a folder")).set_value(str(more)))
    run(button(test, "Add").click())
    job = background_jobs.job(("add", own_collection))
    assert job is not None
    job.wait()
    run(test)
    assert f"2 images added from {more}, 1 cannot be used, such as broken.jpg" in said(test)
    assert f"{before + 2} images" in said(test)
    run(button(test, "Close").click())
    assert "images added" not in said(test)


@pytest.mark.parametrize(
    ("typed", "answer"), [("", "Type the path of a folder"), ("/no/such", "/no/such: no such folder on this machine")]
)
def test_a_folder_that_is_not_there_is_told(collection_dir: Path, typed: str, answer: str) -> None:
    test = own_page(collection_dir)
    run(next(one for one in test.text_input if one.label.startswith("Add a folder")).set_value(typed))
    run(button(test, "Add").click())
    assert answer in said(test)


def test_adding_a_folder_that_is_stopped_keeps_what_was_done(own_collection: Path, few_photos: Path) -> None:
    def stop(done: float) -> None:
        raise background_jobs.Stopped

    with Collection.open(own_collection) as collection:
        before = len(collection)
        told = collection_menu.update_in_background(collection, few_photos)(stop)
        assert told.startswith("Stopped; what was done is kept. ")
        assert before < len(collection) <= before + 38


def test_a_folder_is_opened_by_the_file_manager_of_the_system() -> None:
    file = Path("/photos/a b/-x.jpg")
    assert show_folder.command(file, "linux") == ["xdg-open", "/photos/a b"]
    assert show_folder.command(file, "darwin") == ["open", "-R", "/photos/a b/-x.jpg"]
    assert show_folder.command(file, "win32")[0] == "explorer"
    with pytest.raises(UserError, match="no longer there"):
        show_folder.show_folder(Path("/no/such/folder/x.jpg"))


def test_a_random_image_is_one_that_the_filter_lets_through(collection_dir: Path) -> None:
    test = search_page(collection_dir, name="clownfish*")
    run(button(test, "Random image").click())
    assert "clownfish.jpg" in said(test)
    assert test.query_params["name"] == ["clownfish*"] or test.query_params["name"] == "clownfish*"


# -- marked images


def test_exports_hold_what_was_marked(collection_dir: Path) -> None:
    with Collection.open(collection_dir) as collection:
        items = [item for id_ in (9, 3) if (item := collection.item(id_))]
    labels = {9: 'a "cat", or two'}
    rows = list(csv.DictReader(io.StringIO(selection.as_csv(items, labels).decode())))
    assert [row["path"] for row in rows] == [str(item.path) for item in items]
    assert rows[0]["label"] == labels[9] and rows[1]["label"] == ""
    assert [int(row["bytes"]) for row in rows] == [item.path.stat().st_size for item in items]
    assert [row["id"] for row in json.loads(selection.as_json(items, labels))] == [9, 3]
    gone = replace(items[0], path=Path("/nowhere/x.jpg"))
    with zipfile.ZipFile(io.BytesIO(selection.as_zip([*items, gone]))) as archive:
        names = archive.namelist()
        assert names == [f"0001 {items[0].path.name}", f"0002 {items[1].path.name}", "MISSING.txt"]
        assert archive.read(names[0]) == items[0].path.read_bytes()
        assert b"/nowhere/x.jpg: No such file" in archive.read("MISSING.txt")


def test_marked_images_stay_marked(collection_dir: Path) -> None:
    test = search_page(collection_dir)
    test.session_state[selection.SELECTED] = {5: True, 9: True, 98765: True}
    run(test)
    assert "2 marked, " in said(test)
    run(button(test, "Similar to these").click())
    assert test.query_params == {"image": "5", "more": "9"}
    run(button(test, "Clear").click())
    assert "marked, " not in said(test)


# -- upload


def test_an_uploaded_photo_finds_itself(collection_dir: Path, photos: Path) -> None:
    photo = photos / "fish" / "clownfish.jpg"
    test = search_page(collection_dir)
    run(test.file_uploader[0].set_value([("mine <b>.jpg", photo.read_bytes(), "image/jpeg")]))
    assert test.query_params == {"upload": "1"}
    assert (grid(test)[0]["name"], grid(test)[0]["note"]) == ("clownfish.jpg", "1.000")
    assert "mine &lt;b&gt;.jpg" in said(test)

    run(test.file_uploader[0].set_value([]))
    assert test.query_params == {}
    assert len(grid(test)) == 60


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0 cut off"])
def test_a_broken_upload_is_one_friendly_line(collection_dir: Path, content: bytes) -> None:
    test = search_page(collection_dir)
    run(test.file_uploader[0].set_value([("<b>broken.jpg", content, "image/jpeg")]))
    assert "&lt;b&gt;broken.jpg cannot be used: " in said(test)
    assert "Try a JPEG" in said(test)
    assert not grid(test)


def test_an_upload_replaces_the_chosen_image(collection_dir: Path, photos: Path) -> None:
    test = search_page(collection_dir, image="5")
    content = (photos / "fish" / "clownfish.jpg").read_bytes()
    run(test.file_uploader[0].set_value([("mine.jpg", content, "image/jpeg")]))
    assert test.query_params == {"upload": "1"}


def test_a_shared_address_of_an_upload_says_that_it_is_not_kept(collection_dir: Path) -> None:
    assert "Give them again" in said(search_page(collection_dir, upload="1"))


# -- a collection that changes while it is shown


def test_an_update_is_seen_without_a_restart(encoder_file: Path, few_photos: Path, tmp_path: Path) -> None:
    photos, collection = tmp_path / "photos", tmp_path / "collection"
    photos.mkdir()
    first, second, third = sorted(few_photos.rglob("*.jpg"))[:3]
    shutil.copy(first, photos / "1.jpg")
    index_folders([photos], collection, str(encoder_file), workers=0)
    test = search_page(collection)
    assert [tile["name"] for tile in grid(test)] == ["1.jpg"]
    assert "no other image" in said(search_page(collection, image=str(grid(test)[0]["id"])))

    shutil.copy(second, photos / "2.jpg")
    index_folders([photos], collection, workers=0)
    run(test)
    assert [tile["name"] for tile in grid(test)] == ["1.jpg", "2.jpg"]

    shutil.rmtree(collection)
    shutil.copy(third, photos / "3.jpg")
    index_folders([photos], collection, str(encoder_file), workers=0)
    run(test)
    assert [tile["name"] for tile in grid(test)] == ["1.jpg", "2.jpg", "3.jpg"]


def test_a_collection_that_goes_away_is_told(own_collection: Path) -> None:
    test = search_page(own_collection)
    shutil.rmtree(own_collection)
    run(test)
    assert "not a collection" in said(test) and "simsiam_retrieval.index" in said(test)


def test_a_damaged_collection_is_told(own_collection: Path) -> None:
    (own_collection / "catalog.sqlite").write_bytes(b"not SQLite" * 1000)
    assert "damaged" in said(search_page(own_collection))


def test_a_catalog_that_is_damaged_while_it_is_shown_is_told(own_collection: Path) -> None:
    test = search_page(own_collection)
    with sqlite3.connect(own_collection / "catalog.sqlite") as catalog:
        catalog.execute("DROP TABLE thumbnails")
    catalog.close()
    run(test)
    assert "damaged" in said(test)


def test_an_empty_collection_says_what_to_type(encoder_file: Path, tmp_path: Path) -> None:
    Collection.create(tmp_path / "empty", encoder_file).close()
    test = search_page(tmp_path / "empty")
    assert "0 images" in said(test) and "python -m simsiam_retrieval.index FOLDER" in said(test)


# -- training


def test_no_runs_says_what_to_type_and_the_first_one_appears(run_folder: Path, tmp_path: Path) -> None:
    test = training_page(tmp_path / "later")
    assert "no training run" in said(test) and "python -m simsiam_retrieval.pretrain FOLDER" in said(test)
    shutil.copytree(run_folder.parent, tmp_path / "later")
    run(test)
    assert "no training run" not in said(test)


def test_a_run_shows_numbers_curves_and_settings(run_folder: Path) -> None:
    test = training_page(run_folder.parent)
    page = said(test)
    for expected in ("1.5 / 40", "-0.300", "0.90", "1,234", "resnet18", "1,024", "20,613", "NVIDIA H100", "torch 2.11"):
        assert expected in page
    assert "&lt;b&gt;mine" in page
    assert len(test.get("vega_lite_chart")) == 4
    assert f"simsiam_retrieval.probe {run_folder}" in page  # nothing measured yet


def test_rows_that_are_written_meanwhile_show(run_folder: Path) -> None:
    test = training_page(run_folder.parent)
    with (run_folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row(20)) + "\n" + '{"step": 21, "ep')
    run(test)
    assert "10.0 / 40" in said(test)


def test_the_newest_probe_is_shown_in_percent(run_folder: Path) -> None:
    results = {
        "knn": {"top1": 0.6111, "top5": 0.95, "k": 20, "temperature": 0.1},
        "linear": {"top1": 0.66449, "top5": 1},
    }
    common = {"train": "/data/train", "test": "/data/<i>", "classes": 10, "train_images": 9469, "test_images": 3925}
    folder = run_folder / "eval"
    folder.mkdir()
    new = common | {"results": results, "created": "2026-11-21T10:00:00"}
    old = common | {"results": {"knn": {"top1": 0.1, "top5": 0.2}}, "created": "2026-11-20T10:00:00"}
    (folder / "a.json").write_text(json.dumps(new))
    (folder / "b.json").write_text(json.dumps(old))
    (folder / "half.json").write_text('{"results"')
    (folder / "other.json").write_text('["results"]')
    page = said(training_page(run_folder.parent))
    for expected in (
        "kNN (k = 20)",
        "61.1 %",
        "95.0 %",
        "Linear probe",
        "66.4 %",
        "100.0 %",
        "9,469 images",
        "&lt;i&gt;",
    ):
        assert expected in page
    assert "10.0 %" not in page


def test_a_probe_is_shown_beside_its_baselines(run_folder: Path) -> None:
    mine = {"knn": {"top1": 0.5, "k": 200}, "knn-whitened": {"top1": 0.52, "k": 20}, "linear": {"top1": 0.6}}
    pixels = {"knn": {"top1": 0.31, "k": 200}, "knn-20": {"top1": 0.33, "k": 20}, "linear": {"top1": 0.41}}
    content = {"results": mine, "baselines": [{"name": "raw pixels", "results": pixels}], "created": "2026-11-21"}
    (run_folder / "eval").mkdir()
    (run_folder / "eval" / "a.json").write_text(json.dumps(content))
    page = said(training_page(run_folder.parent))
    for expected in ("kNN (k = 200)", "Whitened kNN (k = 20)", "kNN (k = 20), raw pixels", "33.0 %", "41.0 %"):
        assert expected in page
    assert "31.0 %" not in page


def test_a_collapsed_run_is_told(run_folder: Path) -> None:
    assert "same features" not in said(training_page(run_folder.parent))
    with (run_folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row(4, std=0.01)) + "\n")
    assert "same features" in said(training_page(run_folder.parent))


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("config.json", b"{", "damaged"),
        ("config.json", b"[]", "first</h1>"),
        ("config.json", b'{"config": 3, "data": {"roots": 4}}', "first</h1>"),
        ("metrics.jsonl", b"", "first numbers"),
        ("metrics.jsonl", b"3\n{}\n[1]\n" + b'{"epoch": NaN, "loss": 1}\n', "first numbers"),
        ("metrics.jsonl", b'{"epoch": 1.0, "loss": "x"}\n', "1.0 / 40"),
        ("metrics.jsonl", b"\xff\xfe\x00", "not text"),
    ],
)
def test_an_odd_run_is_no_traceback(run_folder: Path, file: str, content: bytes, expected: str) -> None:
    (run_folder / file).write_bytes(content)
    assert expected in said(training_page(run_folder.parent))


def test_converted_weights_have_no_curves_and_say_where_they_are_from(run_folder: Path) -> None:
    given = run_folder.parent / "given"
    given.mkdir()
    facts = {"file": "<b>model.pth", "sha256": "ab12", "layout": "resnet", "heads": "none", "licence": None}
    (given / "config.json").write_text(json.dumps({"config": {"backbone": "resnet50"}, "converted": facts}))
    assert runs.find_runs(run_folder.parent) == [run_folder]  # being written
    (given / "checkpoint.pt").write_bytes(b"weights")
    os.utime(given / "checkpoint.pt", (2e9, 2e9))
    assert runs.find_runs(run_folder.parent) == [given, run_folder]
    page = said(training_page(run_folder.parent))
    assert "not trained here" in page and "first numbers" not in page
    assert "&lt;b&gt;model.pth" in page and "ab12" in page and "Licence" not in page
    (given / "config.json").write_text(json.dumps({"config": {}, "converted": [1]}))
    assert "given</h1>" in said(training_page(run_folder.parent))


def test_long_curves_are_thinned_to_their_last_row() -> None:
    rows = [{"epoch": float(i)} for i in range(2501)]
    thin = runs.thinned(rows, 1000)
    assert len(thin) <= 1000 and thin[-1] == rows[-1]
    assert runs.thinned(rows[:7], 1000) == rows[:7]
    assert runs.thinned([]) == []


# -- parts


@pytest.mark.parametrize(
    "address",
    [Address(), Address(image="7"), Address(upload=True), Address(page=3), Address(image="7", results=RESULTS[-1])],
)
def test_an_address_reads_back(address: Address) -> None:
    assert Address.read(address.parameters()) == address


@pytest.mark.parametrize(("text", "number"), [("12", 12), (None, None), ("", None), ("-1", None), ("1" * 19, None)])
def test_numbers_in_addresses(text: str | None, number: int | None) -> None:
    assert as_number(text) == number


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (6_243, "6.2 kB"),
        (250_000, "250 kB"),
        (3_200_000, "3.2 MB"),
    ],
)
def test_file_sizes(size: int, text: str) -> None:
    assert tiles.size_text(size) == text


def test_shown_keeps_what_fonts_can_show() -> None:
    assert markup.shown("Füße 猫 👩‍🚀.jpg") == "Füße 猫 👩‍🚀.jpg"
    assert markup.shown("a\udce9\x00\u202eb") == "a\ufffd\ufffd\ufffdb"


# -- the command


def test_streamlit_knows_the_options_and_reports_nothing() -> None:
    known = streamlit_config.get_config_options()
    assert set(server.OPTIONS) <= set(known)
    assert server.OPTIONS["browser.gatherUsageStats"] is False


def test_a_busy_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"in use; choose another with --port"):
            server.free_port(taken.getsockname()[1])
    assert server.free_port(0) > 0
    with pytest.raises(UserError, match="1 to 65535"):
        server.free_port(70000)


def test_bad_input_is_one_line_before_a_server_starts(
    run_command: Command, collection_dir: Path, tmp_path: Path
) -> None:
    for arguments, expected in (
        (["--collection", tmp_path / "none"], "not a collection"),
        ([], "nothing is indexed yet"),
        (["--collection", collection_dir, "--port", "70000"], "--port 70000"),
    ):
        done = run_command("app", *arguments, "--no-browser")
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(rf"error: .*{expected}.*\n", done.stderr)


def test_help_does_not_wait_for_streamlit() -> None:
    code = (
        "import sys; from simsiam_retrieval.app import __main__ as command\n"
        "sys.argv = ['app', '--help']\n"
        "try: command.main()\n"
        "except SystemExit: print(sorted({'streamlit', 'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=SECONDS)
    assert "--no-browser" in done.stdout and done.stdout.endswith("[]\n")


def test_no_page_imports_torch(collection_dir: Path, run_folder: Path, photos: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from streamlit.testing.v1 import AppTest
from simsiam_retrieval.app import settings
settings.use(settings.Settings(Path({str(collection_dir)!r}), Path({str(run_folder.parent)!r})))
search = AppTest.from_file({str(MAIN)!r}, default_timeout={SECONDS}).run()
content = Path({str(photos / "fish" / "clownfish.jpg")!r}).read_bytes()
search.file_uploader[0].set_value(("x.jpg", content, "image/jpeg")).run()
training = AppTest.from_string({TRAINING!r}, default_timeout={SECONDS}).run()
assert search.get("bidi_component") and training.get("vega_lite_chart")
assert not search.exception and not training.exception
print(sorted({{"torch", "torchvision"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=2 * SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
