"""The Map and Teach pages in a real browser: a lasso, twenty labels, the keyboard, phones and dark rooms."""

import json
import math
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.explore.make_map import make_map
from simsiam_retrieval.collection.search.stacks import stacks_of
from simsiam_retrieval.collection.update.index_folders import index_folders
from tests.app.test_app_browser import ARGUMENTS, CHROMIUM, ODD_NAME, SECONDS, serving

pytestmark = pytest.mark.browser
KINDS = ("castles", "fish", "windmills")


@pytest.fixture(scope="module")
def collection(photos: Path, encoder_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of three kinds and one whose name tries to be HTML, with a map."""
    folder = tmp_path_factory.mktemp("map-browser")
    for kind in KINDS:
        shutil.copytree(photos / kind, folder / "photos" / kind)
    shutil.copy(next((photos / "pets").glob("*.jpg")), folder / "photos" / "fish" / ODD_NAME)
    index_folders([folder / "photos"], folder / "collection", str(encoder_file), workers=0)
    make_map(folder / "collection")
    return folder / "collection"


@pytest.fixture(scope="module")
def address(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(collection, tmp_path_factory.mktemp("runs")) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str, collection: Path) -> Iterator[Page]:
    """A tab on a collection without labels; at the end it has asked only our server and has logged no error."""
    with Collection.open(collection) as opened:
        opened.set_labels(dict.fromkeys(opened.labels()))
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(SECONDS * 1000)
    problems: list[str] = []
    own = (f"{address}/", address.replace("http", "ws") + "/", "data:", "blob:")
    context.on("request", lambda request: None if request.url.startswith(own) else problems.append(request.url))
    page = context.new_page()
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert not problems


def go(page: Page, name: str) -> None:
    page.goto("/")
    page.get_by_test_id("stTopNav").get_by_role("link", name=name).click()


def open_map(page: Page) -> Locator:
    go(page, "Map")
    over = page.locator("canvas.over")
    expect(page.locator(".stage[data-drawn]")).to_be_visible()
    expect(page.get_by_text("Drag a line round points")).to_be_visible()  # the page is there to its end
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)  # and nothing below the pointer moves any more
    return over


def places(collection: Path, over: Locator) -> dict[int, tuple[float, float]]:
    """Where the images lie on the page, worked out from the stored map."""
    import numpy as np

    box = over.bounding_box()
    assert box is not None
    with np.load(next(collection.glob("map-*.npz"))) as stored:
        ids, points = stored["ids"], stored["points"].astype(float)
    margin = 28
    unit = min(
        (box["width"] / 2 - margin) / abs(points[:, 0]).max(), (box["height"] / 2 - margin) / abs(points[:, 1]).max()
    )
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    return {
        int(id_): (middle[0] + x * unit, middle[1] - y * unit) for id_, (x, y) in zip(ids, points.tolist(), strict=True)
    }


def paths(collection: Path) -> dict[int, Path]:
    with Collection.open(collection) as opened:
        return {item.id: item.path for item in opened}


def lasso(page: Page, middle: tuple[float, float], radius: float) -> None:
    """Draw a circle with the mouse."""
    for step in range(41):
        angle = 2 * math.pi * step / 40
        page.mouse.move(middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle))
        if step == 0:
            page.mouse.down()
    page.mouse.up()


def test_a_lasso_shows_the_images_inside_it_and_a_click_leads_to_their_neighbours(page: Page, collection: Path) -> None:
    over = open_map(page)
    expect(page.locator("canvas.points")).to_have_attribute("data-painter", "webgl")
    found = places(collection, over)
    middle = sorted(found.values())[len(found) // 2]
    apart = sorted((math.dist(middle, at), id_) for id_, at in found.items())
    radius = (apart[7][0] + apart[8][0]) / 2
    inside = {id_ for distance, id_ in apart if distance < radius}
    lasso(page, middle, radius)
    expect(page.get_by_role("heading", name=f"{len(inside)} chosen")).to_be_visible()
    tiles = page.locator("a.tile")
    expect(tiles).to_have_count(len(inside))
    assert {int(tile.get_attribute("data-id") or 0) for tile in tiles.all()} == inside

    first = int(tiles.first.get_attribute("data-id") or 0)
    tiles.first.click()
    page.wait_for_url(f"/?image={first}")
    expect(page.locator("img.sr-picture")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name=f"{len(inside)} chosen")).to_be_visible()  # as it was left

    page.locator(".tools").get_by_role("button", name="Clear").click()
    expect(tiles).to_have_count(0)


def test_images_marked_in_a_lasso_are_a_query_together(page: Page, collection: Path) -> None:
    over = open_map(page)
    found = places(collection, over)
    middle = sorted(found.values())[len(found) // 2]
    lasso(page, middle, sorted(math.dist(middle, at) for at in found.values())[7] + 1)
    tiles = page.locator("a.tile")
    expect(tiles.nth(3)).to_be_visible()
    marked = []
    for number in (0, 3):
        tile = page.locator("li", has=page.locator("a.tile")).nth(number)
        marked.append(int(tiles.nth(number).get_attribute("data-id") or 0))
        tile.hover()
        tile.get_by_role("button", name=re.compile("^Mark ")).click()
        expect(page.get_by_text(re.compile(f"^{len(marked)} marked, "))).to_be_visible()
        expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)  # a button that is drawn anew loses its click
    page.get_by_role("button", name="Similar to these").click()
    page.wait_for_url(f"/?more={marked[0]}%2C{marked[1]}")
    with Collection.open(collection) as opened:
        queries = [item for id_ in marked if (item := opened.item(id_)) is not None]
        stacks = stacks_of(opened, opened.search(queries, 60))  # near-duplicates share a tile
        expected = [stack[0].path.name for stack in stacks][:24]
    expect(page.locator("a.tile .name")).to_have_text(expected)
    assert page.evaluate("document.title") != "hacked"
    page.go_back()
    expect(page.get_by_text(re.compile("^2 marked, "))).to_be_visible()  # as it was left


def test_the_pointer_shows_the_picture_and_a_click_opens_it(page: Page, collection: Path) -> None:
    over = open_map(page)
    odd = next(id_ for id_, path in paths(collection).items() if path.name == ODD_NAME)
    at = places(collection, over)[odd]
    page.mouse.move(at[0] + 3, at[1])
    page.mouse.move(*at)
    card = page.locator(".card")
    expect(card).to_be_visible()
    expect(card.locator(".name")).to_have_text(ODD_NAME)
    expect(card.locator(".note")).to_have_text("fish")
    assert (card.locator("img").get_attribute("src") or "").startswith("data:image/jpeg")
    page.mouse.click(*at)
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("h2.sr-section")).to_have_text(ODD_NAME)
    assert page.evaluate("document.title") != "hacked"
    dialog.get_by_role("button", name="Find similar").click()
    page.wait_for_url(f"/?image={odd}")


def test_the_legend_singles_out_groups_and_the_keyboard_reaches_all(page: Page, collection: Path) -> None:
    over = open_map(page)
    kinds = [path.parent.name for path in paths(collection).values()]
    windmills = page.locator(".legend button", has_text="windmills")
    windmills.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"{kinds.count('windmills')} chosen")).to_be_visible()
    expect(windmills).to_have_attribute("aria-pressed", "true")
    over.focus()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name=re.compile("chosen"))).to_have_count(0)
    page.keyboard.press("Enter")  # all that is in view
    expect(page.get_by_role("heading", name=f"{len(kinds)} chosen")).to_be_visible()
    for _ in range(6):
        page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"{len(kinds)} chosen")).to_have_count(0)
    expect(page.get_by_role("heading", name=re.compile("chosen"))).to_be_visible()


def test_chosen_images_get_a_new_class(page: Page, collection: Path) -> None:
    open_map(page)
    page.locator(".legend button", has_text="castles").click()
    page.get_by_role("button", name="Label them").click()
    box = page.get_by_role("combobox", name="Class")
    box.fill("old walls")
    page.keyboard.press("Enter")
    page.get_by_role("button", name=re.compile(r"Label \d+ images")).click()
    wanted = {id_: "old walls" for id_, path in paths(collection).items() if path.parent.name == "castles"}

    def labels() -> dict[int, str]:
        with Collection.open(collection) as opened:
            return opened.labels()

    for _ in range(10 * SECONDS):
        if labels():
            break
        page.wait_for_timeout(100)
    assert labels() == wanted
    page.keyboard.press("Escape")
    page.get_by_role("radio", name="Label", exact=True).click()
    expect(page.locator(".legend button", has_text="old walls")).to_contain_text(str(len(wanted)))
    page.get_by_role("radio", name="Cluster").click()
    expect(page.locator(".legend .faces img").first).to_be_visible()


def test_a_browser_without_webgl_draws_the_map_too(page: Page, collection: Path) -> None:
    page.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        " return kind === 'webgl2' ? null : get.call(this, kind, ...rest); };"
    )
    over = open_map(page)
    expect(page.locator("canvas.points")).to_have_attribute("data-painter", "2d")
    box = over.bounding_box()
    assert box is not None
    left, top = next(iter(places(collection, over).values()))
    alpha = (
        "([x, y]) => { const canvas = document.querySelector('[data-testid=stBidiComponentRegular] canvas') ?? null;"
        " const all = [...document.querySelectorAll('*')].flatMap((one) => one.shadowRoot"
        " ? [...one.shadowRoot.querySelectorAll('canvas.points')] : []);"
        " const points = canvas ?? all[0]; const scale = points.width / points.clientWidth;"
        " return points.getContext('2d').getImageData(x * scale, y * scale, 1, 1).data[3]; }"
    )
    page.wait_for_function(f"(place) => ({alpha})(place) > 100", arg=[left - box["x"], top - box["y"]])


def counted(page: Page, total: int) -> list[int]:
    """The cells of the confusion matrix once they add up to ``total``: it arrives after the sentence above it."""
    deadline = time.monotonic() + SECONDS
    while sum(counts := [int(text) for text in page.locator("td button b").all_inner_texts()]) != total:
        assert time.monotonic() < deadline, f"{counts} never add up to {total}"
        page.wait_for_timeout(50)
    return counts


def test_twenty_labels_teach_the_probe(page: Page, collection: Path, tmp_path: Path) -> None:
    """Fast clicks and keys, one after the other without waiting: all of them are kept."""
    go(page, "Teach")
    field = page.get_by_label("New class")
    for kind in ("castles", "fish"):
        field.fill(kind)
        field.press("Enter")
        expect(page.locator(".classes").get_by_text(kind)).to_be_visible()
    tiles = page.locator("button.tile")
    expect(tiles).to_have_count(30)
    given: dict[int, str] = {}
    for kind in ("castles", "fish"):
        page.get_by_role("radio", name=re.compile(kind)).click()
        for tile in tiles.all():
            path = Path(tile.get_attribute("title") or "")
            if path.parent.name == kind and sum(one == kind for one in given.values()) < 7:
                tile.click()
                given[int(tile.get_attribute("data-id") or 0)] = kind
    field.fill("windmills")
    field.press("Enter")
    expect(page.locator(".classes").get_by_text("windmills")).to_be_visible()
    for tile in tiles.all():
        path = Path(tile.get_attribute("title") or "")
        if path.parent.name == "windmills" and len(given) < 21:
            tile.focus()
            page.keyboard.press("3")  # the third class
            given[int(tile.get_attribute("data-id") or 0)] = "windmills"
    assert len(given) >= 20
    expect(page.get_by_text(f"{len(given)} of {len(paths(collection))} images labelled")).to_be_visible()
    with Collection.open(collection) as opened:
        assert opened.labels() == given
    for id_, kind in given.items():
        expect(page.locator(f'button.tile[data-id="{id_}"] .badge')).to_have_text(kind)

    expect(page.get_by_text(re.compile(rf"-fold cross-validation with {len(given)} labelled images"))).to_be_visible()
    cells = page.locator("td button")
    counts = counted(page, len(given))
    expect(page.locator("button.tile[aria-pressed=false] + a + .note").first).to_have_text(
        re.compile(r"^(castles|fish|windmills) \d+%$")
    )
    name = cells.last.get_attribute("aria-label") or ""
    cells.last.click()
    expect(page.get_by_role("radio", name="Likely mistakes")).to_be_checked()
    expect(tiles).to_have_count(counts[-1])
    assert name.startswith(f"{counts[-1]} image")

    with page.expect_download() as waiting:
        page.get_by_role("link", name="Probe as ONNX").click()
    waiting.value.save_as(tmp_path / "probe.onnx")
    import onnx

    properties = {one.key: one.value for one in onnx.load(tmp_path / "probe.onnx").metadata_props}
    assert json.loads(properties["classes"]) == ["castles", "fish", "windmills"]


def test_a_second_click_takes_a_label_away_and_undo_brings_it_back(page: Page, collection: Path) -> None:
    go(page, "Teach")
    page.get_by_label("New class").fill(ODD_NAME)
    page.get_by_label("New class").press("Enter")
    expect(page.locator(".classes .who")).to_have_text(ODD_NAME)
    tile = page.locator("button.tile").nth(2)
    tile.click()
    expect(page.get_by_text("1 of ")).to_be_visible()
    expect(tile).to_have_attribute("aria-pressed", "true")
    tile.click()
    expect(page.get_by_text("0 of ")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("1 of ")).to_be_visible()
    expect(tile.locator(".badge")).to_have_text(ODD_NAME)
    assert page.evaluate("document.title") != "hacked"


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("name", ["Map", "Teach"])
def test_nothing_is_cut_off_at_any_width(page: Page, name: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/")
    expect(page.locator("a.tile").first).to_be_visible()
    shown = page.get_by_test_id("stTopNav") if width > 640 else page.locator(".st-key-narrow-navigation")
    shown.get_by_role("link", name=name).click()  # fails if anything lies over it
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()  # Streamlit's own navigation on a phone
    expect(page.locator("canvas.over" if name == "Map" else "button.tile").first).to_be_visible()
    for part in ("document.documentElement", "document.querySelector('[data-testid=stMain]')"):
        page.wait_for_function(f"{part}.scrollWidth <= {width}")
