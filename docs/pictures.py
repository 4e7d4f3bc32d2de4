"""Take the pictures of the app in ``docs/images`` anew: ``python docs/pictures.py [NAME …]``, such as ``map``.

Needs the ``test`` and ``map`` extras and Chromium. Everything shown is made here, of the example photos: a collection,
two runs of 40 epochs, a probe report, labels; and of drawn tiles and X-rays (``make_tiles.py``, ``make_xrays.py``).
About seven minutes on two cores.
"""

import argparse
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from simsiam_retrieval import Collection
from simsiam_retrieval.core.example_photos import example_photos

IMAGES = Path(__file__).parent / "images"
WORK = Path("/tmp/simsiam-retrieval-pictures")  # its name can be read in the pictures
QUERY = "galaxies/ngc-2903.jpg"
LABELLED = 7  # images of each class that the Teach page knows
CLASSES = ("castles", "fish", "flowers", "landscapes", "planets", "windmills")


def command(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", *map(str, arguments)], check=True)


def prepare_photos() -> None:
    """Photos and their collection below ``WORK``; what is there stays."""
    photos = WORK / "photos"
    if not photos.exists():
        shutil.copytree(example_photos(), photos)
        for number, photo in enumerate(sorted(photos.glob("*/*.jpg"))):
            side = WORK / "labelled" / ("test" if number % 3 == 0 else "train") / photo.parent.name
            side.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, side)
        for name in {path.name for path in WORK.glob("labelled/*/*")}:  # classes that both sides know
            if not all((WORK / "labelled" / side / name).exists() for side in ("train", "test")):
                for side in ("train", "test"):
                    shutil.rmtree(WORK / "labelled" / side / name, ignore_errors=True)
    if not (WORK / "collection").exists():
        command("simsiam_retrieval.index", photos, "--collection", WORK / "collection")


def prepare() -> None:
    """Photos, collection, map, labels, runs and a probe report below ``WORK``; what is there stays."""
    prepare_photos()
    photos, runs = WORK / "photos", WORK / "runs"
    for name, options in (("with-stop-gradient", ()), ("no-stop-gradient", ("--no-stop-gradient",))):
        if not (runs / name).exists():
            settings = ("--recipe", "simsiam", "--epochs", 40, "--image-size", 64, "--base-lr", 0.13, *options)
            command("simsiam_retrieval.pretrain", photos, "--out", runs / name, *settings)
    if not (runs / "shipped.json").exists():
        sides = ("--train", WORK / "labelled/train", "--test", WORK / "labelled/test")
        command("simsiam_retrieval.probe", *sides, "--knn-k", 50, "--out", runs / "shipped.json")
    with Collection.open(WORK / "collection") as collection:
        if not list((WORK / "collection").glob("map-*.npz")):
            from simsiam_retrieval.collection.explore.make_map import make_map

            make_map(collection.folder)
        labels = {}
        for name in CLASSES:
            members = [item.id for item in collection if item.path.parent.name == name]
            labels |= dict.fromkeys(members[:LABELLED], name.removesuffix("s"))
        collection.set_labels(labels)


def prepare_tiles() -> None:
    """The walk of docs/instruments.md through tiles of 13 bands; what is there stays."""
    if not (WORK / "tiles").exists():
        script("make_tiles.py", WORK / "tiles")
    if not (WORK / "runs/tiles").exists():
        settings = ("--channels", 13, "--range", 0, 4000, "--recipe", "small-data", "--image-size", 32, "--epochs", 20)
        network = ("--stem", "cifar", "--backbone", "resnet18-3stages")
        command("simsiam_retrieval.pretrain", WORK / "tiles", "--out", WORK / "runs/tiles", *settings, *network)
        command("simsiam_retrieval.export", WORK / "runs/tiles")
    if not (WORK / "tiles-found").exists():
        encoder = ("--encoder", WORK / "runs/tiles")
        command("simsiam_retrieval.index", WORK / "tiles", "--collection", WORK / "tiles-found", *encoder)


def prepare_xrays() -> None:
    """Drawn X-rays, with the shipped encoder; what is there stays."""
    if not (WORK / "chests").exists():
        script("make_xrays.py", WORK / "chests")
    if not (WORK / "chests-found").exists():
        command("simsiam_retrieval.index", WORK / "chests", "--collection", WORK / "chests-found")


def script(name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)], check=True)


def neighbours_of(page: Page, collection_name: str, query: Path) -> None:
    with Collection.open(WORK / collection_name) as collection:
        item = collection.item_at(query)
    assert item is not None, query
    page.goto(f"/?image={item.id}")
    expect(page.locator("a.tile")).to_have_count(24, timeout=60_000)  # a busy machine


def search(page: Page) -> None:
    neighbours_of(page, "collection", WORK / "photos" / QUERY)


def tiles(page: Page) -> None:
    neighbours_of(page, "tiles-found", WORK / "tiles/field/field-007.tif")


def xrays(page: Page) -> None:
    neighbours_of(page, "chests-found", WORK / "chests/shadow/shadow-0001.dcm")


def duplicates(page: Page) -> None:
    page.goto("/duplicates?pixels=true")
    expect(page.get_by_text("resized or recompressed").first).to_be_visible(timeout=60_000)


def check(page: Page) -> None:
    page.goto("/check")
    page.get_by_role("radio", name="dark").click()
    expect(page.locator("a.tile").first).to_be_visible()


def map_page(page: Page) -> None:
    page.goto("/map")
    page.get_by_role("radio", name="Cluster").click()
    expect(page.locator(".legend .faces img").first).to_be_visible()
    expect(page.locator(".stage[data-drawn]")).to_be_visible()
    box = page.locator("canvas.over").bounding_box()
    assert box is not None
    middle = (box["x"] + 0.68 * box["width"], box["y"] + 0.38 * box["height"])
    for step in range(41):
        angle = 2 * math.pi * step / 40
        radius = 80 + 12 * math.sin(3 * angle)
        page.mouse.move(middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle))
        if step == 0:
            page.mouse.down()
    page.mouse.up()
    expect(page.get_by_text("chosen").first).to_be_visible()


def teach(page: Page) -> None:
    page.goto("/teach")
    page.get_by_role("radio", name="Predicted").click()
    expect(page.get_by_text("the surest first")).to_be_visible()
    expect(page.locator("td button").first).to_be_visible()


def probe(page: Page) -> None:
    page.goto("/probe")
    expect(page.get_by_role("heading", name="Confusion")).to_be_visible()
    expect(page.locator("section.group").first).to_be_visible()
    page.get_by_role("heading", name="By class").evaluate("element => element.scrollIntoView()")
    page.mouse.wheel(0, -150)  # the navigation covers the top


def training(page: Page) -> None:
    page.goto("/training?run=with-stop-gradient&run=no-stop-gradient")
    expect(page.locator("[data-testid=stVegaLiteChart]").nth(5)).to_be_visible()


PAGES: dict[str, tuple[Callable[[Page], None], int]] = {  # how to get there, height in pixels
    "neighbours": (search, 1000),
    "duplicates": (duplicates, 960),
    "check": (check, 1000),
    "map": (map_page, 1160),
    "teach": (teach, 1000),
    "probe": (probe, 1340),
    "training": (training, 1280),
    "tiles": (tiles, 1180),
    "xrays": (xrays, 1180),
}


OTHERS: dict[str, tuple[Callable[[], None], str]] = {  # pages that need less, or other collections
    "check": (prepare_photos, "collection"),
    "tiles": (prepare_tiles, "tiles-found"),
    "xrays": (prepare_xrays, "chests-found"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", choices=[*PAGES, []], help="by default all of them")
    chosen = parser.parse_args().pages or list(PAGES)
    photos = [name for name in chosen if name not in OTHERS]
    if photos:
        prepare()
        take("collection", photos)
    for name in [name for name in chosen if name in OTHERS]:
        make, collection = OTHERS[name]
        make()
        take(collection, [name])


def take(collection: str, names: list[str]) -> None:
    """Take pictures of pages of a collection."""
    options = ("--collection", WORK / collection, "--runs", WORK / "runs", "--port", "0", "--no-browser")
    app = [sys.executable, "-m", "simsiam_retrieval.app", *[str(option) for option in options]]
    with subprocess.Popen(app, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        assert server.stdout is not None
        address = server.stdout.readline().strip()  # printed when it answers
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            for name in names:
                show, height = PAGES[name]
                page = browser.new_page(base_url=address, viewport={"width": 1280, "height": height})
                show(page)
                expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
                page.wait_for_timeout(1500)  # charts and pictures fade in
                page.screenshot(path=IMAGES / f"app-{name}.png")
                page.close()
        finally:
            browser.close()
            server.terminate()


if __name__ == "__main__":
    main()
