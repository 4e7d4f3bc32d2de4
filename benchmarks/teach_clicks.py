"""How fast the Teach page answers a click: ``teach_clicks.py --images 5000 100000 --out FILE.json``.

The collection is that of ``action_times.py``, with 80 labels of four classes. A headless Chromium opens the Teach page
and clicks on tiles, one after the other. Wall-clock milliseconds in the page, from the click until the tile shows its
label ("shown"), and until the server has stored it, trained and checked the probe, and the page shows the new count
("answered"). The first click is left out: scikit-learn is loaded at it. Needs Playwright, Debian's Chromium, and an
otherwise idle machine.
"""

import argparse
import json
import shutil
import statistics
import tempfile
from importlib import metadata
from pathlib import Path

from action_times import CLASSES, PER_CLASS, made
from app_speed import ARGUMENTS, TIMEOUT, serving
from hardware import processor
from playwright.sync_api import expect, sync_playwright

from simsiam_retrieval import Collection

CLICKS = 12
CLICK = """(tile) => new Promise((done) => {
  const root = tile.closest(".teach");
  const counted = () => [...root.querySelectorAll(".classes .count")].map((one) => one.textContent).join();
  const before = counted();
  const begun = performance.now();
  let shown = null;
  const look = () => {
    const passed = performance.now() - begun;
    if (shown === null && tile.getAttribute("aria-pressed") === "true") shown = passed;
    if (counted() !== before) done([shown, passed]);
    else requestAnimationFrame(look);
  };
  tile.click();
  look();
})"""


def clicks(folder: Path) -> dict[str, list[float]]:
    """Milliseconds of each click but the first."""
    times = []
    with serving(folder, folder / "no runs") as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(base_url=address, viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(TIMEOUT)
        page.goto("/teach")
        tiles = page.locator("button.tile")
        for number in range(CLICKS + 1):
            tile = tiles.nth(number)
            expect(tile).to_have_attribute("aria-pressed", "false", timeout=TIMEOUT)
            expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=TIMEOUT)
            times.append(tile.evaluate(CLICK))
            page.wait_for_timeout(500)  # as a person, who looks at the next picture
        browser.close()
    shown, answered = ([round(value, 1) for value in values] for values in zip(*times[1:], strict=True))
    return {"shown": shown, "answered": answered}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 100_000])
    parser.add_argument(
        "--keep", type=Path, help="folder in which the collections are made, and stay for the next time"
    )
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    found = json.loads(given.out.read_text()) if given.out.exists() else {}
    for images in given.images:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) if given.keep is None else given.keep / str(images)
            if not (folder / "collection").exists():
                folder.mkdir(parents=True, exist_ok=True)
                made(folder, images)
            with Collection.open(folder / "collection") as collection:
                ids = [item.id for item in collection.items(CLASSES * PER_CLASS)]
                collection.set_labels(dict.fromkeys(collection.labels()))
                collection.set_labels({id_: f"class {row % CLASSES}" for row, id_ in enumerate(ids)})
            times = clicks(folder / "collection")
        middle = {name: statistics.median(values) for name, values in times.items()}
        print(images, middle, times, flush=True)
        versions = {name: metadata.version(name) for name in ("streamlit", "scikit-learn", "numpy")}
        found |= {"processor": processor(), "versions": versions}
        found.setdefault("milliseconds", {})[str(images)] = {"median": middle, "clicks": times}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
