"""How long a person waits for the app, in a headless Chromium: ``app_speed.py [--photos FOLDER] [--images N]``.

Indexes the photos (by default N = 10,000 small painted pictures) with the shipped encoder into a temporary collection,
or takes an existing one (``--collection FOLDER``), serves it, and measures wall-clock seconds from the click to the
last new picture on the screen, the median and the largest of several; and the CPU seconds of the server. Needs
Playwright and Debian's Chromium, and an otherwise idle machine.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from simsiam_retrieval import Collection

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
REPEATS = 10
VISITORS = 20
TIMEOUT = 120_000  # ms
TILE = "a.tile"
# all pictures of a grid have come, inside the component's shadow root
LOADED = """(before) => {
  const seen = [];
  const look = (node) => {
    for (const child of node.querySelectorAll("*")) {
      if (child.matches("a.tile, .gallery img")) seen.push(child);
      if (child.shadowRoot) look(child.shadowRoot);
    }
  };
  look(document);
  const images = seen.flatMap((one) => (one.matches("img") ? [one] : [...one.querySelectorAll("img")]));
  const key = images.map((image) => image.src.length + image.src.slice(-40)).join();
  return images.length > 0 && key !== before && images.every((image) => image.complete) ? key : false;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="a folder of photos in place of painted pictures")
    parser.add_argument("--images", type=int, default=10_000, help="painted pictures")
    parser.add_argument("--collection", type=Path, help="a collection that is there")
    parser.add_argument("--first-pages", action="store_true", help="measure first pages only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = arguments.collection or folder / "collection"
        if arguments.collection is None:
            photos = arguments.photos
            if photos is None:
                photos = folder / "photos"
                paint(photos, arguments.images)
            with Collection.create(place) as collection:
                collection.update([photos])
        with Collection.open(place) as collection:
            images = len(collection)
        runs = folder / "runs"
        write_run(runs / "long", 5000)
        with serving(place, runs) as (address, process), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
            measured = first_pages(browser, address)
            if not arguments.first_pages:
                measured |= measure(browser, address)
            measured["server's memory, MB"] = [resident(process.pid)]
            before = cpu_seconds(process.pid)
            measured[f"first page of {VISITORS} visitors at once"] = visits(browser, address)
            measured["server's CPU seconds for them"] = [cpu_seconds(process.pid) - before]
            measured[f"server's memory with {VISITORS} visitors, MB"] = [resident(process.pid)]
            browser.close()
    if arguments.json:
        print(json.dumps({"images": images, "seconds": measured}, indent=2))
        return
    print(f"{images:,} images")
    for what, values in measured.items():
        print(f"{what:44} median {statistics.median(values):8.2f}   largest {max(values):8.2f}")


def paint(folder: Path, count: int) -> None:
    """Blotches of random colours; every hundredth picture has a copy of half the size."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        blotches = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize(
            (320, 240), Image.Resampling.BICUBIC
        )
        if number % 100 == 99:
            blotches = Image.open(folder / f"{number - 1:06}.jpg").resize((160, 120))
        blotches.save(folder / f"{number:06}.jpg", quality=85)


def write_run(run: Path, rows: int) -> None:
    """A finished run with many rows."""
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"config": {"epochs": rows / 10, "backbone": "resnet18"}}))
    lines = [
        {
            "step": i,
            "epoch": i / 10,
            "loss": -i / rows,
            "std": 1.0,
            "lr": 0.1,
            "images_per_second": 100.0,
            "rankme": 70.0,
        }
        for i in range(1, rows + 1)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@contextmanager
def serving(collection: Path, runs: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    options = ["--collection", str(collection), "--runs", str(runs), "--port", "0", "--no-browser"]
    process = subprocess.Popen(
        [sys.executable, "-m", "simsiam_retrieval.app", *options], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        process.terminate()
        process.wait(timeout=30)


def first_pages(browser: Browser, address: str) -> dict[str, list[float]]:
    found = {"first page, first visitor": [first_page(browser, address)]}
    return found | {"first page, later visitors": [first_page(browser, address) for _ in range(5)]}


def measure(browser: Browser, address: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    page = browser.new_page(base_url=address)
    page.set_default_timeout(TIMEOUT)
    page.goto("/")
    state = pictures(page, "")
    clicks, backs = [], []
    for number in range(REPEATS):
        seconds, state = timed(page, state, lambda number=number: page.locator(TILE).nth(number + 2).click())
        clicks.append(seconds)
    for _ in range(REPEATS - 1):
        seconds, state = timed(page, state, page.go_back)
        backs.append(seconds)
    found["click on an image to its neighbours"] = clicks
    found["back"] = backs
    began = time.perf_counter()
    page.get_by_role("link", name="Duplicates").click()
    groups = page.locator(".sr-figures dd").first
    expect(groups).to_be_visible(timeout=TIMEOUT)
    found["duplicates, first visitor (compares)"] = [time.perf_counter() - began]
    found["duplicates, threshold moved"] = [slide(page) for _ in range(REPEATS)]
    began = time.perf_counter()
    page.get_by_role("link", name="Training").click()
    expect(page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first).to_be_visible(
        timeout=TIMEOUT
    )
    found["training, 5,000 rows"] = [time.perf_counter() - began]
    page.close()
    return found


def first_page(browser: Browser, address: str) -> float:
    """From an empty browser profile to the last thumbnail."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(TIMEOUT)
    began = time.perf_counter()
    page.goto(address)
    pictures(page, "")
    seconds = time.perf_counter() - began
    context.close()
    return seconds


def pictures(page: Page, before: str) -> str:
    """Wait for pictures that are not those of ``before``; returns what tells them from others."""
    return page.wait_for_function(LOADED, arg=before, polling=20).json_value()


def timed(page: Page, before: str, act: Callable[[], object]) -> tuple[float, str]:
    began = time.perf_counter()
    act()
    state = pictures(page, before)
    return time.perf_counter() - began, state


def slide(page: Page) -> float:
    """One step of the threshold, to the new address and an idle page."""
    before = page.url
    began = time.perf_counter()
    page.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("(before) => location.href !== before", arg=before, polling=20)
    running = page.locator("[data-testid=stApp][data-test-script-state=running]")
    expect(running).to_have_count(0, timeout=TIMEOUT)
    return time.perf_counter() - began


def visits(browser: Browser, address: str) -> list[float]:
    """Seconds until visitors who come at the same moment see their first page, all in one browser's profiles."""
    pages = [browser.new_context().new_page() for _ in range(VISITORS)]
    began = time.perf_counter()
    for page in pages:
        page.set_default_timeout(TIMEOUT)
        page.goto(address, wait_until="commit")
    seconds = []
    for page in pages:
        pictures(page, "")
        seconds.append(time.perf_counter() - began)
    return seconds


def cpu_seconds(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Resident memory of a process, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
