"""The Search page of a collection with regions, in a real browser: a part is drawn, and results show their parts."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from simsiam_retrieval import Collection
from tests.app.test_app_browser import ARGUMENTS, CHROMIUM, SECONDS, serving
from tests.support.small_encoder import small_encoder

pytestmark = pytest.mark.browser
KINDS = ("castles", "fish")


@pytest.fixture(scope="module")
def collection(few_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regions-browser")
    for kind in KINDS:
        shutil.copytree(few_photos / kind, folder / "photos" / kind)
    with Collection.create(folder / "collection", small_encoder(folder / "small.onnx")) as made:
        made.update([folder / "photos"], regions=True, workers=0)
    return folder / "collection"


@pytest.fixture(scope="module")
def pages(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, str]]:
    with serving(collection, tmp_path_factory.mktemp("runs")) as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser, address
        browser.close()


def drawn(page: Page, first: tuple[float, float], last: tuple[float, float]) -> None:
    """Drag over the picture between two places, as fractions of it."""
    place = page.locator(".part .stage").bounding_box()
    assert place is not None
    (x, y), (right, bottom) = (
        (place["x"] + across * place["width"], place["y"] + down * place["height"]) for across, down in (first, last)
    )
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move((x + right) / 2, (y + bottom) / 2)
    page.mouse.move(right, bottom)
    page.mouse.up()


def box_of(page: Page) -> list[int]:
    found = re.search(r"[?&]box=([^&]*)", page.url)
    assert found is not None
    return [int(number) for number in found[1].replace("%3B", "%2C").split("%2C")]


def test_a_part_is_drawn_and_the_results_outline_theirs(pages: tuple[Browser, str], collection: Path) -> None:
    browser, address = pages
    with Collection.open(collection) as opened:
        item = next(iter(opened))
        others = len(opened) - 1
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(SECONDS * 1000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"/?image={item.id}")
    page.get_by_role("button", name="Draw a part").wait_for()
    expect(page.locator(".grid .box")).to_have_count(0)

    drawn(page, (0.25, 0.2), (0.75, 0.6))
    page.wait_for_url("**box=**")
    expect(page.locator(".grid .box")).to_have_count(others)
    expect(page.locator(".part .box")).to_have_count(1)
    left, top, width, height = box_of(page)
    assert (left, width) == pytest.approx((0.25 * item.width, 0.5 * item.width), abs=item.width / 50)
    assert (top, height) == pytest.approx((0.2 * item.height, 0.4 * item.height), abs=item.height / 50)

    page.get_by_role("button", name="Add a part").click()
    drawn(page, (0.05, 0.05), (0.3, 0.3))
    expect(page.locator(".part .box")).to_have_count(2)
    assert box_of(page)[:4] == [left, top, width, height]

    page.get_by_role("button", name="Whole picture").click()
    expect(page.locator(".part .box")).to_have_count(0)
    expect(page.locator(".grid .box")).to_have_count(0)

    page.get_by_text("Part in pixels").click()  # by keyboard and numbers
    for name, value in (("Left", 1), ("Top", 2), ("Width", 40), ("Height", 5000)):
        page.get_by_label(name, exact=True).fill(str(value))
    page.get_by_label("Height", exact=True).press("Enter")  # the browser says that 5000 is too high
    expect(page.locator(".part .box")).to_have_count(0)
    page.get_by_label("Height", exact=True).fill("30")
    page.get_by_label("Height", exact=True).press("Enter")
    page.wait_for_url("**box=**")
    assert box_of(page) == [1, 2, 40, 30]

    page.get_by_role("button", name="Whole picture").click()
    expect(page.locator(".part .box")).to_have_count(0)
    page.get_by_text("Inside larger pictures").click()
    page.wait_for_url("**inside=1**")
    expect(page.locator(".grid .box")).to_have_count(others)
    context.close()
    assert not problems


def test_a_finger_draws_only_when_it_is_told_to(pages: tuple[Browser, str], collection: Path) -> None:
    browser, address = pages
    with Collection.open(collection) as opened:
        item = next(iter(opened))
    context = browser.new_context(
        base_url=address, viewport={"width": 400, "height": 860}, has_touch=True, color_scheme="dark"
    )
    context.set_default_timeout(SECONDS * 1000)
    page = context.new_page()
    page.goto(f"/?image={item.id}")
    stage = page.locator(".part .stage")
    stage.wait_for()
    place = stage.bounding_box()
    assert place is not None
    assert place["width"] > 250  # room to draw
    assert stage.evaluate("node => getComputedStyle(node).touchAction") != "none"  # a finger scrolls

    session = context.new_cdp_session(page)

    def drag(x: float, y: float) -> None:
        session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for step in (20, 40, 60):
            point = {"x": x + step, "y": y + step}
            session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    page.get_by_role("button", name="Draw a part").click()
    assert stage.evaluate("node => getComputedStyle(node).touchAction") == "none"
    place = stage.bounding_box()
    assert place is not None
    drag(place["x"] + place["width"] * 0.2, place["y"] + place["height"] * 0.2)
    page.wait_for_url("**box=**")
    expect(page.locator(".part .box")).to_have_count(1)
    context.close()
