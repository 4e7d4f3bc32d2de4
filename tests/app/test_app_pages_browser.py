"""Duplicates, linear probe, training and sharing in a real browser, as a person meets them."""

import csv
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.check.find_problems import find_problems
from simsiam_retrieval.evaluation.probe_reports import FORMAT
from simsiam_retrieval.evaluation.stored_predictions import Guesses, Predictions, Subject, save_predictions
from tests.app.test_app_browser import (
    APP,
    ODD_NAME,
    SECONDS,
    address,  # noqa: F401
    browser,  # noqa: F401
    collection,  # noqa: F401
    metrics,
    page,  # noqa: F401
    tiles,
    tool,
)

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def runs(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """Two runs that are being written, and a probe report of four photos of the collection, one of them misread."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("first", "second"):
        (root / name).mkdir()
        (root / name / "config.json").write_text(json.dumps({"config": {"epochs": 40, "backbone": "resnet18"}}))
        (root / name / "metrics.jsonl").write_text(metrics(1) + metrics(2))
    with Collection.open(collection) as opened:
        paths = [item.path for item in opened.items(4)]
    result = {"top1": 0.75, "top1_interval": [0.3, 0.95]}
    row = {"name": "mine", "encoder": "ab" * 8, "about": "encoder", "results": {"linear": result}}
    report = {
        **row,
        "format": FORMAT,
        "baselines": [{"name": "raw pixels", "encoder": "px", "about": "pixels", "results": {"linear": result}}],
        "train": "/data/train",
        "test": "/data/test",
        "classes": 2,
        "train_images": 10,
        "test_images": 4,
        "data": {"train_fingerprint": "a", "test_fingerprint": "b"},
        "created": "2026-11-21",
    }
    (root / "mine.json").write_text(json.dumps(report))
    guesses = Guesses(np.array([0, 0, 1, 0], np.int32), np.array([0.9, 0.8, 0.7, 0.6], np.float16))
    names = ["castles", "<img src=x onerror=document.title='hacked'>"]
    truth = np.array([0, 0, 1, 1], np.int32)
    save_predictions(
        root / "mine.json", Predictions(names, paths, truth, [Subject("mine", "ab" * 8, {"linear": guesses})])
    )
    return root


def figure(page: Page, name: str) -> Locator:  # noqa: F811
    return page.locator(".sr-figures div").filter(has=page.get_by_text(name, exact=True)).locator("dd")


def groups(page: Page) -> Locator:  # noqa: F811
    return page.locator("section.group")


def test_the_count_follows_the_threshold(page: Page, collection: Path) -> None:  # noqa: F811
    page.goto("/")
    page.get_by_test_id("stTopNav").get_by_role("link", name="Duplicates").click()
    slider = page.get_by_role("slider")
    expect(slider).to_have_value("0.99")
    with Collection.open(collection) as opened:
        at = {threshold: opened.duplicates(threshold) for threshold in (0.99, 1.0)}
    assert len(at[0.99]) != len(at[1.0]) or sum(map(len, at[0.99])) != sum(map(len, at[1.0]))
    expect(figure(page, "Groups")).to_have_text(str(len(at[0.99])))
    slider.focus()
    page.keyboard.press("End")
    expect(figure(page, "Groups")).to_have_text(str(len(at[1.0])))
    expect(figure(page, "Files besides the best")).to_have_text(str(sum(len(group) - 1 for group in at[1.0])))
    page.wait_for_url(re.compile("cosine=1"))
    page.reload()  # the address says it all
    expect(figure(page, "Groups")).to_have_text(str(len(at[1.0])))


def test_copies_are_named_marked_and_lead_to_their_neighbours(page: Page, collection: Path) -> None:  # noqa: F811
    page.goto("/duplicates?equal=true")
    expect(groups(page)).to_have_count(1)
    names = groups(page).locator(".name")
    expect(names.filter(has_text="onerror")).to_have_text(ODD_NAME)
    expect(groups(page).locator(".badge")).to_have_text(["best", "exact"])
    assert page.evaluate("document.title") != "hacked"
    with page.expect_download() as waiting:
        page.get_by_role("link", name="List as CSV").click()
    rows = list(csv.DictReader(waiting.value.path().open()))
    with Collection.open(collection) as opened:
        expected = opened.duplicates(exact=True)
    assert [row["path"] for row in rows] == [str(file.path) for group in expected for file in group]
    second = expected[0][1].item.id
    groups(page).locator("a.picture").nth(1).click()
    page.wait_for_url(f"/?image={second}")
    expect(tiles(page)).to_have_count(24)
    page.go_back()
    expect(groups(page)).to_have_count(1)


def test_a_cell_of_the_matrix_shows_its_images(page: Page, collection: Path) -> None:  # noqa: F811
    page.goto("/probe")
    with Collection.open(collection) as opened:
        items = opened.items(4)
    heading = groups(page).get_by_role("heading")
    expect(heading).to_contain_text("taken for castles: 1 image")
    expect(groups(page).locator(".name")).to_have_text([items[3].path.name])
    page.get_by_role("button", name="castles taken for castles: 2").click()
    expect(heading).to_have_text("castles, recognised: 2 images")
    expect(groups(page).locator(".name")).to_have_text([item.path.name for item in items[:2]])
    assert page.evaluate("document.title") != "hacked"
    groups(page).locator("a.picture").first.click()
    page.wait_for_url(f"/?image={items[0].id}")
    expect(tiles(page)).to_have_count(24)


def test_runs_side_by_side_follow_their_files(page: Page, runs: Path) -> None:  # noqa: F811
    page.goto("/training?run=first&run=second")
    rows = page.locator(".sr-wide tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("2.0 / 40")
    with (runs / "second" / "metrics.jsonl").open("a") as file:
        file.write(metrics(3))
        lost = json.loads(metrics(4)) | {"std": 0.01, "verdict": "collapse"}
        file.write(json.dumps(lost) + "\n")
    expect(rows.nth(1)).to_contain_text("4.0 / 40")
    expect(rows.nth(0)).to_contain_text("2.0 / 40")
    expect(page.get_by_role("alert")).to_contain_text("second: Collapse")


def test_what_check_finds_is_marked_as_fine_and_kept(page: Page, collection: Path) -> None:  # noqa: F811
    with Collection.open(collection) as opened:
        report = find_problems(opened, ["plain"])
        found = [Path(problem.path).name for problem in report.problems]
    assert len(found) >= 4
    page.goto("/")
    page.get_by_test_id("stTopNav").get_by_role("link", name="Check").click()
    page.get_by_role("radio", name=f"plain · {len(found)}").click()
    names = page.locator("a.tile .name")
    expect(names).to_have_text(found)
    tool(page, 2, "Mark").click()  # the first two are the same content, and "fine" belongs to that
    page.get_by_role("button", name="The marked one is fine").click()
    expect(names).to_have_text([*found[:2], *found[3:]])
    page.reload()  # the page begins anew, what is fine stays
    page.get_by_role("radio", name=f"plain · {len(found) - 1}").click()
    expect(names).to_have_text([*found[:2], *found[3:]])
    with page.expect_download() as waiting:
        page.get_by_role("link", name="List as CSV").click()
    assert len(list(csv.DictReader(waiting.value.path().open()))) == len(found) - 1
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")  # the lowest limit lists most
    expect(tiles(page).nth(len(found) - 1)).to_be_visible()
    tiles(page).first.click()
    page.wait_for_url(re.compile(r"/\?image=\d+$"))
    expect(tiles(page)).to_have_count(24)


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("path", ["/check", "/duplicates", "/probe", "/training?run=first&run=second"])
def test_nothing_is_wider_than_the_page(page: Page, path: str, width: int) -> None:  # noqa: F811
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(path)
    shown = ".sr-wide, .sr-figures, a.tile"
    expect(page.locator(shown).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    main = "document.querySelector('[data-testid=stMain]')"
    assert page.evaluate(f"{main}.scrollWidth <= {main}.clientWidth")


def test_a_shared_app_asks_for_the_password(browser: Browser, collection: Path, runs: Path) -> None:  # noqa: F811
    process = subprocess.Popen(
        [*APP, "--collection", str(collection), "--runs", str(runs), "--port", "0", "--no-browser", "--share"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        said = [process.stderr.readline(), process.stderr.readline()]
        assert "lets every machine" in said[0]
        password = said[1].removeprefix("password: ").strip()
        address = process.stdout.readline().strip()
        context = browser.new_context(base_url=address)
        context.set_default_timeout(SECONDS * 1000)
        visitor = context.new_page()
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        visitor.goto("/?image=3")
        visitor.get_by_label("Password").fill("let me in")
        visitor.get_by_role("button", name="Open").click()
        expect(visitor.get_by_text("not the password")).to_be_visible()
        expect(tiles(visitor)).to_have_count(0)
        assert all("/_stcore" not in url and "/static" not in url for url in asked)
        visitor.get_by_label("Password").fill(password)
        visitor.get_by_role("button", name="Open").click()
        visitor.wait_for_url("/?image=3")
        expect(tiles(visitor)).to_have_count(24)
        with Collection.open(collection) as opened:
            photo = opened.items(1)[0].path
        visitor.locator("input[type=file]").first.set_input_files(photo)
        visitor.wait_for_url(re.compile("upload"))
        expect(tiles(visitor)).to_have_count(24)
        context.close()
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)
