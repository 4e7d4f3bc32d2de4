"""The pages in a real browser, as a person meets them."""

import base64
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect, sync_playwright

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.search.stacks import stacks_of
from simsiam_retrieval.collection.update.index_folders import index_folders

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium")
APP = [sys.executable, "-m", "simsiam_retrieval.app"]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SECONDS = 30  # for anything that a page shows, on a busy machine
ODD_NAME = "<img src=x onerror=document.title='hacked'>**x**.jpg"

expect.set_options(timeout=SECONDS * 1000)


@pytest.fixture(scope="module")
def collection(few_photos: Path, encoder_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """38 photos, and one whose name tries to be HTML and Markdown."""
    folder = tmp_path_factory.mktemp("browser")
    photos = Path(shutil.copytree(few_photos, folder / "photos"))
    shutil.copy(next(few_photos.rglob("*.jpg")), photos / ODD_NAME)
    index_folders([photos], folder / "collection", str(encoder_file), workers=0)
    return folder / "collection"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run of two rows."""
    run = tmp_path_factory.mktemp("runs") / "first"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"config": {"epochs": 40, "backbone": "resnet18"}}))
    (run / "metrics.jsonl").write_text(metrics(1) + metrics(2))
    return run.parent


def metrics(epoch: int) -> str:
    row = {"step": epoch, "epoch": epoch, "loss": -epoch / 50, "std": 0.9, "lr": 0.1, "images_per_second": 100}
    return json.dumps(row) + "\n"


@contextmanager
def serving(collection: Path, runs: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command in a process of its own: its address, and the process."""
    process = subprocess.Popen(
        [*APP, "--collection", str(collection), "--runs", str(runs), "--port", "0", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process  # printed when the server answers; empty when it died
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=SECONDS)


@pytest.fixture(scope="module")
def address(collection: Path, runs: Path) -> Iterator[str]:
    with serving(collection, runs) as (address, _):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """An empty tab; at the end it has asked nobody but our server and has logged no error."""
    context = browser.new_context(base_url=address)
    context.set_default_timeout(SECONDS * 1000)
    problems: list[str] = []

    def watch(url: str) -> None:
        if not url.startswith((f"{address}/", address.replace("http", "ws") + "/", "data:", "blob:")):
            problems.append(f"asked {url}")

    context.on("request", lambda request: watch(request.url))
    page = context.new_page()
    page.on("websocket", lambda socket: watch(socket.url))
    # an address below the first page: Streamlit's page looks for its server there first
    known = re.compile(rf"{address}/\w+/_stcore/")
    page.on(
        "console",
        lambda line: (
            problems.append(line.text) if line.type == "error" and not known.match(line.location["url"]) else None
        ),
    )
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert not problems


def tiles(page: Page) -> Locator:
    return page.locator("a.tile")


def image_in(url: str) -> int:
    return int(parse_qs(urlsplit(url).query)["image"][0])


def neighbours(collection: Path, image: int) -> list[tuple[str, str]]:
    """Names and scores, as the library finds them, of near-duplicates the first."""
    with Collection.open(collection) as opened:
        item = opened.item(image)
        assert item is not None
        hits = [stack[0] for stack in stacks_of(opened, opened.search(item, 60))][:24]
    return [(hit.path.name, f"{hit.score:.3f}{' · may be chance' if hit.above_noise is False else ''}") for hit in hits]


def expect_neighbours(page: Page, collection: Path, image: int) -> None:
    found = neighbours(collection, image)
    expect(page.locator("a.tile .note")).to_have_text([score for _, score in found])
    expect(page.locator("a.tile .name")).to_have_text([name for name, _ in found])


def test_a_click_shows_neighbours_and_back_leads_home(page: Page, collection: Path) -> None:
    page.goto("/")
    expect(tiles(page)).to_have_count(39)
    expect(page).to_have_title("simsiam-retrieval")
    first = int(tiles(page).nth(7).get_attribute("data-id") or 0)
    tiles(page).nth(7).click()
    page.wait_for_url(f"/?image={first}")
    expect_neighbours(page, collection, first)
    expect(page.locator("img.sr-picture")).to_be_visible()
    with Collection.open(collection) as opened:
        item = opened.item(first)
    assert item is not None
    expect(page.locator(".sr-facts")).to_contain_text(str(item.path))
    expect(page.locator(".sr-facts")).to_contain_text(f"{item.width} × {item.height} px")

    tiles(page).nth(3).click()
    page.wait_for_url(lambda url: "image=" in url and image_in(url) != first)
    second = image_in(page.url)
    expect_neighbours(page, collection, second)

    page.go_back()
    page.wait_for_url(f"/?image={first}")
    expect_neighbours(page, collection, first)
    page.go_back()
    page.wait_for_url("/")
    expect(tiles(page)).to_have_count(39)
    page.go_forward()
    page.wait_for_url(f"/?image={first}")
    expect_neighbours(page, collection, first)


def test_an_address_can_be_shared(page: Page, collection: Path) -> None:
    page.goto("/?image=3&results=12")
    expect(tiles(page)).to_have_count(12)
    expect(page.locator("a.tile .name")).to_have_text([name for name, _ in neighbours(collection, 3)[:12]])
    page.get_by_role("radio", name="24").click()
    page.wait_for_url("/?image=3")
    expect(tiles(page)).to_have_count(24)
    page.get_by_role("button", name="All images").click()
    page.wait_for_url("/")
    expect(tiles(page)).to_have_count(39)


def test_the_keyboard_reaches_the_tiles(page: Page) -> None:
    page.goto("/")
    before = tiles(page).nth(4).get_attribute("data-id")
    tiles(page).nth(5).focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"/?image={before}")


def test_pictures_are_named_and_names_are_no_html(page: Page) -> None:
    page.goto("/")
    tile = tiles(page).filter(has_text="onerror")
    expect(tile.locator(".name")).to_have_text(ODD_NAME)
    expect(tile.get_by_role("img")).to_have_attribute("alt", ODD_NAME)
    tile.click()
    expect(page.locator("h2.sr-section").first).to_have_text(ODD_NAME)
    expect(page.locator("img.sr-picture")).to_have_attribute("alt", ODD_NAME)
    assert page.evaluate("document.title") != "hacked"


def test_a_photo_can_be_uploaded(page: Page, few_photos: Path) -> None:
    page.goto("/")
    expect(tiles(page)).to_have_count(39)
    page.locator("input[type=file]").set_input_files(next(few_photos.rglob("*.jpg")))
    page.wait_for_url("/?upload=1")
    expect(tiles(page)).to_have_count(24)
    expect(tiles(page).first.locator(".note")).to_have_text("1.000")
    tiles(page).nth(1).click()
    page.wait_for_url(re.compile(r"/\?image=\d+$"))
    page.go_back()
    expect(tiles(page).first.locator(".note")).to_have_text("1.000")


def test_a_broken_upload_is_a_friendly_line(page: Page) -> None:
    page.goto("/")
    expect(tiles(page)).to_have_count(39)
    broken = FilePayload(name="**holiday**.jpg", mimeType="image/jpeg", buffer=b"\xff\xd8\xff\xe0 cut off")
    page.locator("input[type=file]").set_input_files(broken)
    expect(page.get_by_role("alert")).to_contain_text("**holiday**.jpg cannot be used: ")
    expect(tiles(page)).to_have_count(0)
    page.get_by_role("button", name="All images").click()
    expect(tiles(page)).to_have_count(39)


def encoded(image: Image.Image, exif: Image.Exif) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


def turned(photo: Path) -> bytes:
    """The photo lying on its side, with the EXIF note that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photo) as image:
        return encoded(image.transpose(Image.Transpose.ROTATE_90), exif)


def test_a_rotated_photo_and_a_broken_one_at_once(page: Page, few_photos: Path) -> None:
    photo = sorted(few_photos.rglob("*.jpg"))[4]
    page.goto("/")
    files = [
        FilePayload(name="turned.jpg", mimeType="image/jpeg", buffer=turned(photo)),
        FilePayload(name="broken.jpg", mimeType="image/jpeg", buffer=b"\xff\xd8\xff\xe0 cut off"),
    ]
    page.locator("input[type=file]").set_input_files(files)
    expect(page.get_by_role("alert")).to_contain_text("broken.jpg cannot be used: ")
    expect(page.locator("h2.sr-section").first).to_have_text("turned.jpg")
    expect(tiles(page).first.locator(".name")).to_have_text(photo.name)


def test_a_pasted_photo_is_a_query(page: Page, few_photos: Path) -> None:
    photo = sorted(few_photos.rglob("*.jpg"))[6]
    page.goto("/")
    expect(tiles(page)).to_have_count(39)
    page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
          data.items.add(new File([content], "x.jpg", { type: "image/jpeg" }));
          document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        base64.b64encode(photo.read_bytes()).decode(),
    )
    page.wait_for_url("/?upload=1")
    expect(tiles(page).first.locator(".name")).to_have_text(photo.name)
    page.get_by_role("button", name="All images").click()
    expect(tiles(page)).to_have_count(39)


def tool(page: Page, number: int, says: str) -> Locator:
    tile = page.locator("li", has=page.locator("a.tile")).nth(number)
    tile.hover()
    return tile.get_by_role("button", name=re.compile(f"^{says} "))


def test_a_search_is_refined_and_taken_back(page: Page, collection: Path) -> None:
    page.goto("/?image=3")
    expect_neighbours(page, collection, 3)
    more = int(tiles(page).nth(2).get_attribute("data-id") or 0)
    tool(page, 2, "More like").click()
    page.wait_for_url(f"/?image=3&more={more}")
    expect(page.get_by_text("More like", exact=True)).to_be_visible()
    expect(page.locator(f"a.tile[data-id='{more}']")).to_have_count(0)
    less = int(tiles(page).nth(0).get_attribute("data-id") or 0)
    tool(page, 0, "Less like").click()
    page.wait_for_url(f"/?image=3&more={more}&less={less}")
    with Collection.open(collection) as opened:
        items = [opened.item(id_) for id_ in (3, more, less)]
        hits = opened.search(items[:2], 60, unlike=items[2:])  # type: ignore[arg-type]
        expected = [stack[0].path.name for stack in stacks_of(opened, hits)][:24]
    expect(page.locator("a.tile .name")).to_have_text(expected)
    page.go_back()
    page.wait_for_url(f"/?image=3&more={more}")
    assert items[1] is not None
    page.get_by_role("button", name=f"Take {items[1].path.name} out of the search").click()
    page.wait_for_url("/?image=3")
    expect_neighbours(page, collection, 3)


def test_near_duplicates_open_with_a_click(page: Page, collection: Path) -> None:
    with Collection.open(collection) as opened:
        odd = next(item for item in opened if item.path.name == ODD_NAME)
        twin = next(item for item in opened if item.size == odd.size and item.id != odd.id)
        query = next(item for item in opened if item.id not in (odd.id, twin.id))
        stacks = [[hit.item.id for hit in stack] for stack in stacks_of(opened, opened.search(query, 98))]
    # an encoder of two epochs finds others alike, too
    first, *copies = next(stack for stack in stacks if odd.id in stack)
    assert twin.id in (first, *copies)
    page.goto(f"/?image={query.id}&results=48")
    expect(tiles(page)).to_have_count(len(stacks))
    expect(page.locator("li.copy")).to_have_count(0)
    tile = page.locator("li", has=page.locator(f"a.tile[data-id='{first}']"))
    tile.get_by_role("button", name=f"{len(copies)} more like this one; show them").click()
    expect(page.locator("li.copy")).to_have_count(len(copies))
    for number, id_ in enumerate(copies, stacks.index([first, *copies]) + 1):  # they follow the first
        expect(tiles(page).nth(number)).to_have_attribute("data-id", str(id_))
    tile.get_by_role("button", name="Fold them again").click()
    expect(page.locator("li.copy")).to_have_count(0)
    expect(tiles(page)).to_have_count(len(stacks))


def test_a_range_is_marked_and_looked_at_one_after_the_other(page: Page) -> None:
    page.goto("/")
    expect(tiles(page)).to_have_count(39)
    tool(page, 2, "Mark").click()
    expect(page.locator("li.marked")).to_have_count(1)
    tool(page, 5, "Mark").click(modifiers=["Shift"])
    expect(page.locator("li.marked")).to_have_count(4)
    names = page.locator("a.tile .name").all_text_contents()
    tool(page, 5, "Show large").click()
    viewer = page.get_by_role("dialog")
    expect(viewer.locator(".name")).to_have_text(names[5])
    expect(viewer.get_by_role("button", name="Marked")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(viewer.locator(".name")).to_have_text(names[6])
    expect(viewer.locator(".facts")).to_contain_text(re.compile(r"7 of 39 .*\d+ × \d+ px"))  # Python has answered
    viewer.get_by_role("button", name="Mark", exact=True).click()
    expect(page.locator("li.marked")).to_have_count(5)
    viewer.get_by_role("button", name="Previous").focus()  # at the first picture it is switched off
    page.keyboard.press("Home")
    expect(viewer.locator(".name")).to_have_text(names[0])
    page.keyboard.press("End")
    expect(viewer.locator(".name")).to_have_text(names[38])
    page.keyboard.press("ArrowLeft")
    expect(viewer.locator(".name")).to_have_text(names[37])
    page.keyboard.press("Escape")
    expect(viewer).to_have_count(0)
    expect(tiles(page).nth(37)).to_be_focused()


def test_marked_images_can_be_taken_along(page: Page, collection: Path) -> None:
    page.goto("/")
    expect(tiles(page)).to_have_count(39)
    wanted = []
    for number in (1, 4):
        wanted.append(int(tiles(page).nth(number).get_attribute("data-id") or 0))
        tool(page, number, "Mark").click()
        expect(page.locator("li.marked")).to_have_count(len(wanted))
    expect(page.get_by_text(re.compile("^2 marked, "))).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    rows = json.loads(download.value.path().read_text())
    assert [row["id"] for row in rows] == wanted
    with page.expect_download() as download:
        page.get_by_role("link", name="ZIP").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        contents = [archive.read(name) for name in archive.namelist()]
    assert contents == [Path(row["path"]).read_bytes() for row in rows]
    page.get_by_role("button", name="Similar to these").click()
    page.wait_for_url(f"/?image={wanted[0]}&more={wanted[1]}")
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.get_by_text(re.compile("marked, "))).to_have_count(0)


def test_the_cut_off_moves(page: Page, collection: Path) -> None:
    page.goto("/?image=3&cut=50")
    slider = page.get_by_role("slider")
    expect(slider).to_have_value("0.5")
    slider.focus()
    page.keyboard.press("End")
    page.wait_for_url("/?image=3&cut=100")
    expect(page.get_by_role("status")).to_contain_text("Nothing reaches the cut-off of 1.00")
    page.go_back()
    expect(tiles(page)).not_to_have_count(0)


def test_the_filter_narrows_what_is_shown(page: Page, collection: Path) -> None:
    page.goto("/")
    page.get_by_role("button", name="Filter").click()
    page.get_by_label("File name").fill("*onerror*")
    page.keyboard.press("Enter")
    expect(tiles(page)).to_have_count(1)
    expect(page.get_by_text("1 of 39 images")).to_be_visible()
    page.go_back()
    expect(tiles(page)).to_have_count(39)


def test_the_training_page_follows_a_run(page: Page, runs: Path) -> None:
    page.goto("/")
    page.get_by_test_id("stTopNav").get_by_role("link", name="Training").click()
    expect(page.get_by_text("2.0 / 40")).to_be_visible()
    expect(page.locator("[data-testid=stVegaLiteChart] svg, [data-testid=stVegaLiteChart] canvas")).to_have_count(4)
    with (runs / "first" / "metrics.jsonl").open("a") as file:
        file.write(metrics(3))
    expect(page.get_by_text("3.0 / 40")).to_be_visible()
    page.go_back()
    expect(tiles(page)).to_have_count(39)


@pytest.mark.parametrize(("width", "columns"), [(400, 2), (1600, 8)])
def test_tiles_are_aligned_at_every_width(page: Page, width: int, columns: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/")
    expect(tiles(page)).to_have_count(39)
    boxes = tiles(page).evaluate_all("tiles => tiles.map((tile) => tile.getBoundingClientRect().toJSON())")  # at once
    tops = [round(box["y"]) for box in boxes]
    assert len({round(box["height"]) for box in boxes}) == 1
    assert tops.count(tops[0]) == columns
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_only_this_machine_is_served_and_ctrl_c_ends_it(browser: Browser, collection: Path, runs: Path) -> None:
    with serving(collection, runs) as (address, process):
        port = int(address.rsplit(":", 1)[1])
        with pytest.raises(OSError):  # an address of this machine, but not the one that is listened to
            socket.create_connection(("127.0.0.2", port), timeout=5)
        second = subprocess.run(
            [*APP, "--collection", str(collection), "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (second.returncode, second.stdout) == (2, "")
        assert second.stderr == f"error: port {port} is in use; choose another with --port, or --port 0 for any\n"
        visitor = browser.new_page()
        visitor.goto(address)
        expect(tiles(visitor)).to_have_count(39)  # somebody is connected when it ends
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=SECONDS)
        visitor.close()
    assert (process.returncode, complaints) == (130, "stopped\n")
