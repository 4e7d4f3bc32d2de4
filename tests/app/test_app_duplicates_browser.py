"""The Duplicates page in a real browser: kinds are chosen, crops are outlined, the script of spares is downloaded."""

import shutil
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from simsiam_retrieval import Collection
from tests.app.test_app_browser import ARGUMENTS, CHROMIUM, SECONDS, serving
from tests.support.small_encoder import small_encoder

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def collection(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("duplicates-browser")
    for folder in ("library", "phone"):
        (root / folder).mkdir()
    with Image.open(photos / "windmills/kinderdijk-windmills.jpg") as opened:
        photo = opened.convert("RGB")
    photo.save(root / "library/photo.png")
    shutil.copy(root / "library/photo.png", root / "phone/again.png")
    photo.crop((20, 15, 300, 225)).save(root / "phone/part.jpg", quality=90)
    with Collection.create(root / "collection", small_encoder(root / "small.onnx")) as made:
        made.update([root / "library", root / "phone"], workers=0)
        made.copies(0.8)  # the page finds the verdicts
    return root / "collection"


def test_kinds_outlines_folders_and_the_script(collection: Path, tmp_path: Path) -> None:
    with serving(collection, tmp_path) as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(base_url=address, viewport={"width": 1200, "height": 1400})
        context.set_default_timeout(SECONDS * 1000)
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto("/duplicates?pixels=true&cosine=0.8")
        pictures = page.locator(".group .picture")
        expect(pictures).to_have_count(3)

        outline = page.locator(".group .box")
        expect(outline).to_have_count(1)
        frame, box = page.locator(".group .frame").first.bounding_box(), outline.bounding_box()
        assert frame is not None and box is not None
        # the picture is three quarters as high as wide, in the middle of a square; a sixteenth is cut off on each side
        assert box["x"] - frame["x"] == pytest.approx(frame["width"] / 16, abs=4)
        assert box["y"] - frame["y"] == pytest.approx(frame["height"] * (1 / 8 + 3 / 64), abs=4)
        assert box["width"] == pytest.approx(frame["width"] * 7 / 8, abs=6)

        page.get_by_text("crop of 1", exact=True).click()
        expect(pictures).to_have_count(2)
        expect(page.get_by_text("crop of best")).to_have_count(1)
        page.get_by_text("crop of 1", exact=True).click()
        expect(pictures).to_have_count(3)

        page.get_by_text("Move spare files").click()
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Script that moves 1 file").click()
        script = waiting.value.path().read_text()
        assert script.count("\nmove ") == 1 and "again.png" in script and "part.jpg" not in script

        page.get_by_text("Only copies between different folders").click()
        page.wait_for_url("**across=true**")
        expect(pictures).to_have_count(3)
        browser.close()
        assert not problems
