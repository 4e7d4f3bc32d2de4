"""What people at this machine may do: other collections, adding a folder, the file manager."""

import shutil
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from simsiam_retrieval.app import (  # pyright: ignore[reportMissingImports]
    background_jobs,
    settings,
    show_folder,
)
from simsiam_retrieval.app.pages import collection_menu  # pyright: ignore[reportMissingImports]
from streamlit.testing.v1 import AppTest

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.core.known_collections import note_use
from tests.support.app_pages import MAIN, SECONDS, button, components, run, said, search_page


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
