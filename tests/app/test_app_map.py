"""The Map page, without a browser: its logic, and what it makes of whatever a browser sends."""

import base64
import csv
import io
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simsiam_retrieval.app as app_package  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app import (  # pyright: ignore[reportMissingImports]
    background_jobs,
    collection_snapshot,
    settings,
)
from simsiam_retrieval.app.components import (  # pyright: ignore[reportMissingImports]
    scatter,
)
from simsiam_retrieval.app.components.scatter import Choice  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.pages import (  # pyright: ignore[reportMissingImports]
    map_chosen,
    map_page,
)
from simsiam_retrieval.app.pages import (  # pyright: ignore[reportMissingImports]
    map_colours as colouring,
)
from streamlit.testing.v1 import AppTest

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.explore import projection
from simsiam_retrieval.collection.explore.few_shot_classifier import Scaling
from simsiam_retrieval.collection.explore.make_map import make_map, make_map_apart
from simsiam_retrieval.collection.update.index_folders import index_folders

SECONDS = 60
PAGE = "from simsiam_retrieval.app.pages import map_page; map_page.show()"
HERE = Path(app_package.__file__ or "").parent / "components"


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(settings, "_current", None)
    monkeypatch.setattr(background_jobs, "_jobs", {})
    yield
    for job in background_jobs._jobs.values():
        job.stop()
        job.wait()


@pytest.fixture
def own_collection(collection_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(collection_dir, tmp_path / "own"))


@pytest.fixture(scope="module")
def mapped_dir(collection_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with a map; read only."""
    folder = Path(shutil.copytree(collection_dir, tmp_path_factory.mktemp("mapped") / "collection"))
    make_map(folder)
    return folder


def page(folder: Path) -> AppTest:
    settings.use(settings.Settings(folder, Path("nowhere")))
    return run(AppTest.from_string(PAGE, default_timeout=SECONDS))


def run(something: Any) -> AppTest:
    test = something.run()
    assert not test.exception
    return test


def said(test: AppTest) -> str:
    return "\n".join(element.value for element in test.html)


def sent(test: AppTest, key: str) -> dict[str, Any] | None:
    """What the component whose data have ``key`` was given."""
    found = [json.loads(element.proto.json) for element in test.get("bidi_component")]
    return next((data for data in found if key in data), None)


def names(folder: Path) -> dict[int, Path]:
    with Collection.open(folder) as collection:
        return {item.id: item.path for item in collection}


# -- making a map


def test_a_map_is_made_once_and_kept(own_collection: Path) -> None:
    test = page(own_collection)
    assert "There is no map of this collection yet" in said(test) and sent(test, "points") is None
    run(test.button[0].click())
    job = background_jobs.job(("map", own_collection))
    assert job is not None
    job.wait()
    assert job.error is None
    data = sent(run(test), "points")
    assert data is not None and len(list(own_collection.glob("map-*.npz"))) == 1
    ids = np.frombuffer(base64.b64decode(data["ids"]), "<i4")
    assert sorted(ids.tolist()) == sorted(names(own_collection))


def test_progress_is_shown_and_can_be_stopped(own_collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = threading.Event()

    def slow(folder: Path, on_progress) -> None:
        for part in range(10_000):
            on_progress(min(0.42, part / 10))
            reached.set()
            time.sleep(0.005)
        raise AssertionError("nobody stopped it")

    monkeypatch.setattr(map_page, "make_map_apart", slow)
    test = page(own_collection)
    run(test.button[0].click())
    assert reached.wait(SECONDS)
    first = background_jobs.job(("map", own_collection))
    assert first is not None and first.running
    assert background_jobs.start(("map", own_collection), lambda on_progress: None) is first  # another visitor's click
    run(test)
    assert any("Making the map" in element.proto.text for element in test.get("progress"))
    run(test.button[0].click())
    first.wait()
    assert first.error is None and not list(own_collection.glob("map-*.npz"))
    assert "There is no map" in said(run(test))


def test_what_goes_wrong_is_one_line(own_collection: Path) -> None:
    test = page(own_collection)
    (own_collection / "catalog.sqlite").rename(own_collection / "hidden")  # gone when the other process looks
    background_jobs.start(
        ("map", own_collection), lambda on_progress: make_map_apart(own_collection, on_progress)
    ).wait()
    (own_collection / "hidden").rename(own_collection / "catalog.sqlite")
    assert "not a collection; make one with" in said(run(test))


def test_a_crash_is_a_line_and_its_traceback_stays_in_the_terminal(
    own_collection: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crashes(folder: Path, on_progress) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(map_page, "make_map_apart", crashes)
    test = page(own_collection)
    run(test.button[0].click())
    job = background_jobs.job(("map", own_collection))
    assert job is not None
    job.wait()
    assert "the terminal says what" in said(run(test)) and "secret" not in said(test)
    assert "secret" in caplog.text


def test_stopping_ends_the_process(own_collection: Path) -> None:
    def stop(done: float) -> None:
        raise background_jobs.Stopped

    with pytest.raises(background_jobs.Stopped):
        make_map_apart(own_collection, stop)
    assert not list(own_collection.glob("map-*.npz"))


def test_without_the_library_the_page_says_what_to_install(
    own_collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "available", lambda: False)
    test = page(own_collection)
    assert "simsiam-retrieval[map]" in said(test) and not test.button


def test_an_empty_collection_says_what_to_type(encoder_file: Path, tmp_path: Path) -> None:
    Collection.create(tmp_path / "empty", encoder_file).close()
    assert "python -m simsiam_retrieval.index FOLDER" in said(page(tmp_path / "empty"))


def test_a_damaged_map_is_made_again(mapped_dir: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(mapped_dir, tmp_path / "own"))
    next(own.glob("map-*.npz")).write_bytes(b"not a map")
    assert "There is no map" in said(page(own))


def test_new_images_are_on_the_map_beside_others(encoder_file: Path, few_photos: Path, tmp_path: Path) -> None:
    photos, folder = Path(shutil.copytree(few_photos, tmp_path / "photos")), tmp_path / "collection"
    first = sorted(photos.rglob("*.jpg"))[0]
    kept = first.rename(tmp_path / "later.jpg")
    index_folders([photos], folder, str(encoder_file), workers=0)
    test = page(folder)
    run(test.button[0].click())
    job = background_jobs.job(("map", folder))
    assert job is not None
    job.wait()
    assert "came after" not in said(run(test))
    kept.rename(first)
    index_folders([photos], folder, workers=0)
    run(test)
    assert "1 image came after this map was made" in said(test)
    data = sent(test, "points")
    assert data is not None and sum(entry["count"] for entry in data["palette"]) == len(names(folder)) == 38
    run(next(button for button in test.button if button.label == "Make the map again").click())
    again = background_jobs.job(("map", folder))
    assert again is not None
    again.wait()
    assert "came after" not in said(run(test))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_collections_have_a_map(encoder_file: Path, few_photos: Path, tmp_path: Path, count: int) -> None:
    (tmp_path / "photos").mkdir()
    for photo in sorted(few_photos.rglob("*.jpg"))[:count]:
        shutil.copy(photo, tmp_path / "photos")
    index_folders([tmp_path / "photos"], tmp_path / "collection", str(encoder_file), workers=0)
    make_map(tmp_path / "collection")
    test = page(tmp_path / "collection")
    for what in ("Cluster", "Label", "Prediction", "Folder"):
        run(test.button_group[0].set_value(what))
        data = sent(test, "points")
        assert data is not None and sum(entry["count"] for entry in data["palette"]) == count


def test_a_collection_that_goes_away_is_told(own_collection: Path) -> None:
    test = page(own_collection)
    shutil.rmtree(own_collection)
    assert "not a collection" in said(run(test))


# -- colours


def test_folders_labels_clusters_and_predictions_give_colours(mapped_dir: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(mapped_dir, tmp_path / "own"))
    paths = names(own)
    test = page(own)
    data = sent(test, "points")
    assert data is not None
    counts = {entry["name"]: entry["count"] for entry in data["palette"]}
    folders = [path.parent.name for path in paths.values()]
    assert counts == {name: folders.count(name) for name in set(folders)}
    ids = np.frombuffer(base64.b64decode(data["ids"]), "<i4").tolist()
    groups = base64.b64decode(data["groups"])
    assert all(data["palette"][group]["name"] == paths[id_].parent.name for id_, group in zip(ids, groups, strict=True))

    run(test.button_group[0].set_value("Label"))
    data = sent(test, "points")
    assert "No image has a label yet" in said(test) and data is not None
    assert [(entry["name"], entry["faint"]) for entry in data["palette"]] == [("No label", True)]
    run(test.button_group[0].set_value("Prediction"))
    assert "labels of two classes or more" in said(test)

    with Collection.open(own) as collection:
        collection.set_labels(
            {id_: path.parent.name for id_, path in paths.items() if path.parent.name in "fish birds"}
        )
    kinds = {path.parent.name for path in paths.values() if path.parent.name in "fish birds"}
    assert len(kinds) == 2
    run(test)
    data = sent(test, "points")
    assert data is not None and {entry["name"] for entry in data["palette"]} == kinds
    run(test.button_group[0].set_value("Cluster"))
    run(test.slider[0].set_value(5))
    data = sent(test, "points")
    assert data is not None and [entry["name"] for entry in data["palette"]] == [f"Cluster {n}" for n in range(1, 6)]
    assert all(entry["faces"][0]["source"].startswith("data:image/jpeg;base64,") for entry in data["palette"])


def test_many_names_share_the_last_colours() -> None:
    given = [f"name {number // 2}" for number in range(100)] + [None] * 3
    found = colouring.by_name("x", given, "No label")
    assert len(found.legend) == scatter.MOST_GROUPS + 1
    assert [entry["name"] for entry in found.legend[-2:]] == ["27 others", "No label"]
    assert np.bincount(found.groups).tolist() == [entry["count"] for entry in found.legend]
    assert [found.legend[group]["name"] for group in found.groups[[0, 1, -1]]] == ["name 0", "name 0", "No label"]
    assert "\ufffd" in colouring.by_name("x", ["a\nb"]).legend[0]["name"]


def test_colours_are_colours_and_differ() -> None:
    for count in (0, 1, 2, 7, 8, 24):
        found = scatter.colours(count)
        assert len(set(found)) == count
        values = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in found] or [[0, 0, 0]])
        if count > 1:
            apart = np.abs(values[:, None] - values[None]).sum(axis=2) + 999 * np.eye(count)
            assert apart.min() > 25


def test_colours_can_be_told_apart_by_people_who_see_green_and_red_alike_too() -> None:
    palette = scatter.colours(24)
    rgb = np.array([[int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] for colour in palette])
    # Ottosson's own example values for OKLab (bottosson.github.io/posts/oklab), and what stays as it is
    assert np.allclose(scatter.oklab(np.array([[1.0, 1, 1], [1, 0, 0]])), [[1, 0, 0], [0.628, 0.225, 0.126]], atol=1e-3)
    assert np.allclose(scatter.without_green_receptors(np.full((1, 3), 0.5)), 0.5, atol=2e-3)
    for seen, least in ((rgb, 0.11), (scatter.without_green_receptors(rgb), 0.05)):
        places = scatter.oklab(seen)
        apart = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(24)
        assert apart.min() > least  # a step of .02 is just seen
    assert scatter.colours(5) == palette[:5]


# -- what is chosen


def test_inside_is_the_even_odd_rule() -> None:
    draws = np.random.default_rng(1)
    points = draws.uniform(-1, 1, (3000, 2)).astype(np.float32)
    angles = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    circle = [(0.2 + 0.5 * np.cos(a), -0.1 + 0.5 * np.sin(a)) for a in angles]
    apart = np.linalg.norm(points.astype(float) - (0.2, -0.1), axis=1)
    found = scatter.inside(points, circle)
    clear = np.abs(apart - 0.5) > 1e-3
    assert np.array_equal(found[clear], (apart < 0.5)[clear])
    # a star of five strokes: its middle is crossed twice
    star = [(np.sin(4 * np.pi * k / 5), np.cos(4 * np.pi * k / 5)) for k in range(5)]
    assert scatter.inside(np.array([[0, 0], [0, 0.8], [2, 2]], np.float32), star).tolist() == [False, True, False]
    box = [(-1, -1), (0, -1), (0, 1), (-1, 1)]
    assert np.array_equal(scatter.inside(points, box), points[:, 0] < 0)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        {},
        {"area": None, "groups": [], "colouring": "folder"},
        {"area": [[0, 0], [1, 1]], "groups": [], "colouring": "folder"},
        {"area": [[0, 0], [1, 1], [float("nan"), 1]], "groups": [], "colouring": "folder"},
        {"area": [[0, 0, 0], [1, 1, 1], [2, 2, 2]], "groups": [], "colouring": "folder"},
        {"area": [[0, 0]] * 5000, "groups": [], "colouring": "folder"},
        {"area": "abc", "groups": [], "colouring": "folder"},
        {"area": None, "groups": ["x"], "colouring": "folder"},
        {"area": None, "groups": [1e400], "colouring": "folder"},
        {"area": None, "groups": 5, "colouring": "folder"},
    ],
)
def test_nonsense_from_a_browser_chooses_nothing(value: object) -> None:
    assert Choice.read(value) is None


def test_areas_and_groups_choose_together() -> None:
    points = np.array([[-0.5, 0], [0.5, 0], [0.6, 0], [-0.6, 0]], np.float32)
    groups = np.array([0, 0, 1, 1], np.uint8)
    drawn = scatter.plot(np.array([3, 5, 8, 9]), points, groups, [], "folder", "")
    left = [[-1, -1], [0, -1], [0, 1], [-1, 1]]

    def rows(area, chosen_groups, key="folder") -> list[int]:
        choice = Choice.read({"area": area, "groups": chosen_groups, "colouring": key})
        return scatter.chosen(drawn, choice).tolist()

    assert rows(left, []) == [0, 3] and rows(None, [1]) == [2, 3] and rows(left, [1]) == [3]
    assert rows(left, [1], "label") == [0, 3]  # groups of other colours than those that are shown
    assert rows(None, [1], "label") == [] and rows(None, [99]) == []
    assert scatter.chosen(drawn, None).tolist() == []


def test_the_browser_gets_the_places_that_python_has() -> None:
    draws = np.random.default_rng(2)
    points = draws.uniform(-1, 1, (500, 2)).astype(np.float32)
    ids = np.arange(500) * 3 + 1
    groups = (ids % 5).astype(np.uint8)
    payload = scatter.plot(ids, points, groups, [], "folder", "").payload
    sent_ids = np.frombuffer(base64.b64decode(payload["ids"]), "<i4")
    places = np.frombuffer(base64.b64decode(payload["points"]), "<u2").reshape(-1, 2) / 32767.5 - 1
    order = (sent_ids - 1) // 3
    assert sorted(order.tolist()) == list(range(500))
    np.testing.assert_allclose(places, points[order], atol=2e-5)
    assert np.array_equal(np.frombuffer(base64.b64decode(payload["groups"]), np.uint8), groups[order])


def test_a_chosen_area_shows_its_images(mapped_dir: Path) -> None:
    test = page(mapped_dir)
    data = sent(test, "points")
    assert data is not None
    everything = Choice(((-2, -2), (2, -2), (2, 2), (-2, 2)), (), "folder")
    test.session_state[map_page.CHOICE] = (data["version"], everything)
    run(test)
    grid = sent(test, "tiles")
    paths = names(mapped_dir)
    assert f"{len(paths):,} chosen" in said(test) and grid is not None and len(grid["tiles"]) == 60
    assert grid["tiles"][0]["link"].startswith("./?image=")
    run(test.pagination[0].set_value(2))
    second = sent(test, "tiles")
    assert second is not None and {t["id"] for t in second["tiles"]}.isdisjoint({t["id"] for t in grid["tiles"]})

    fish = next(n for n, entry in enumerate(data["palette"]) if entry["name"] == "fish")
    test.session_state[map_page.CHOICE] = (data["version"], Choice(None, (fish,), "folder"))
    run(test)
    grid = sent(test, "tiles")
    assert grid is not None
    assert {t["id"] for t in grid["tiles"]} == {id_ for id_, path in paths.items() if path.parent.name == "fish"}
    run(test.button_group[0].set_value("Cluster"))  # those groups are gone
    assert "chosen" not in said(test) and "Drag a line round points" in said(test)
    run(test.button_group[0].set_value("Folder"))
    test.session_state[map_page.CHOICE] = ("another map", everything)
    assert sent(run(test), "tiles") is None  # what was chosen on a map that is no longer there


def test_chosen_images_can_be_labelled_and_listed(mapped_dir: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(mapped_dir, tmp_path / "own"))
    test = page(own)
    data = sent(test, "points")
    assert data is not None
    kinds = {id_: path.parent.name for id_, path in names(own).items()}
    with Collection.open(own) as collection:
        collection.set_labels({next(id_ for id_, kind in kinds.items() if kind == "birds"): "swims"})
    fish = next(n for n, entry in enumerate(data["palette"]) if entry["name"] == "fish")
    test.session_state[map_page.CHOICE] = (data["version"], Choice(None, (fish,), "folder"))
    run(test)
    box = next(box for box in test.selectbox if box.label == "Class")
    run(box.set_value("swims"))
    run(next(button for button in test.button if button.label.startswith("Label ")).click())
    fishes = [id_ for id_, kind in kinds.items() if kind == "fish"]
    with Collection.open(own) as collection:
        labels = collection.labels()
        assert set(labels.values()) == {"swims"} and set(fishes) < set(labels) and len(labels) == len(fishes) + 1
        ids, vectors = collection.vectors()
        everything = collection_snapshot.Whole(
            ("", 0, 0, 0), ids, vectors, Scaling.of(vectors), [str(item.path) for item in collection]
        )
    groups = np.zeros(len(ids), np.uint8)
    drawn = scatter.plot(ids, np.zeros((len(ids), 2), np.float32), groups, data["palette"], "folder", "")
    by = colouring.Colouring("folder", groups, data["palette"], np.zeros(len(ids), np.float32))
    content = map_chosen._csv(everything, np.arange(3), drawn, by).decode()
    rows = list(csv.reader(io.StringIO(content)))
    assert rows[0] == ["path", "group"] and [row[0] for row in rows[1:]] == everything.paths[:3]


def test_the_scripts_are_shipped() -> None:
    for name in ("scatter.js", "scatter.css", "marks.js", "marks.css"):
        text = (HERE / name).read_text(encoding="utf-8")
        assert text and "http" not in text  # nothing is fetched from anywhere
