"""Two tabs that label at once with hostile texts, uploads over the limit, foreign pages: in a real browser."""

import json
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright
from simsiam_retrieval.app.settings import MAX_UPLOAD  # pyright: ignore[reportMissingImports]

from simsiam_retrieval import Collection
from tests.app.test_app_browser import (
    ARGUMENTS,
    CHROMIUM,
    SECONDS,
    address,  # noqa: F401
    collection,  # noqa: F401
    page,  # noqa: F401
    runs,  # noqa: F401
)

pytestmark = pytest.mark.browser

HOSTILE = (
    "<img src=x onerror=document.title='hacked'> ' OR 1=1 --",
    "**b** [x](javascript:document.title='hacked') $x$ :red[x] \u202eabc",
)
REBOUND = "rebound.test"  # a name that somebody makes point to this machine

FOREIGN = """<!doctype html><title>foreign</title><body><script>
const app = %s, said = {};
const note = (name, promise) => promise.then((value) => { said[name] = value; }, () => { said[name] = "failed"; });
const loaded = (element) => new Promise((done) => {
  element.onload = () => done("loaded"); element.onerror = () => done("failed"); document.body.append(element);
});
const socket = () => new Promise((done) => {
  const one = new WebSocket(app.replace("http", "ws") + "/_stcore/stream");
  one.onopen = () => done("open"); one.onerror = () => done("failed");
});
Promise.all([
  note("read", fetch(app + "/").then((answer) => answer.text())),
  note("health", fetch(app + "/_stcore/health").then((answer) => answer.text())),
  note("upload", fetch(app + "/_stcore/upload_file/a/b", { method: "PUT", body: "x" }).then(() => "sent")),
  note("socket", socket()),
  note("picture", loaded(Object.assign(new Image(), { src: app + "/_stcore/../favicon.png" }))),
  note("script", loaded(Object.assign(document.createElement("script"), { src: app + "/_stcore/health" }))),
]).then(() => { window.said = said; });
</script></body>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for which a foreign name leads to this machine."""
    rules = f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rules])
        yield browser
        browser.close()


def teach(tab: Page, name: str) -> list[str]:
    """Open the Teach page and name a class; the ids of the images that are shown."""
    tab.goto("/teach")
    box = tab.get_by_label("New class")
    box.fill(name)
    box.press("Enter")
    expect(tab.get_by_role("radio", name=name, checked=True)).to_be_visible()
    return [str(tile.get_attribute("data-id")) for tile in tab.locator("button.tile").all()]


def test_two_tabs_label_at_once(page: Page, collection: Path) -> None:  # noqa: F811
    other = page.context.new_page()
    dialogs: list[str] = []
    for tab in (page, other):
        tab.on("dialog", lambda dialog: dialogs.append(dialog.message))
    ids = teach(page, HOSTILE[0])
    with Collection.open(collection) as opened:
        digests = [record.digest for record in opened.records(0, 10**6)[0]]
        twins = {str(record.item.id) for record in opened.records(0, 10**6)[0] if digests.count(record.digest) > 1}
    shared = [id_ for id_ in teach(other, HOSTILE[1]) if id_ in ids and id_ not in twins][:12]  # copies share a label
    assert len(shared) == 12
    for number, id_ in enumerate(shared):  # nobody waits for an answer
        (page, other)[number % 2].locator(f'button.tile[data-id="{id_}"]').click()
    assert labels_of(collection, 12) == {int(id_): HOSTILE[number % 2] for number, id_ in enumerate(shared)}
    for tab in (page, other):
        tab.reload()
        for name in HOSTILE:
            radio = tab.get_by_role("radio").filter(has_text=name)
            expect(radio.locator(".count")).to_have_text("6")
        assert "hacked" not in tab.title()
    assert not dialogs
    other.close()


def labels_of(collection: Path, count: int) -> dict[int, str]:  # noqa: F811
    """The stored labels, as soon as there are so many; after a while however many there are."""
    labels: dict[int, str] = {}
    with Collection.open(collection) as opened:
        for _ in range(SECONDS * 10):
            labels = opened.labels()
            if len(labels) >= count:
                break
            time.sleep(0.1)
    return labels


MOVED = """(pixels) => {
  const block = document.createElement("div");
  block.style.height = `${pixels}px`;
  const host = document.querySelector("button.tile") ? document : [...document.querySelectorAll("*")]
    .map((one) => one.shadowRoot).find((root) => root?.querySelector("button.tile"));
  host.querySelector("ul.tiles").before(block);
}"""


@pytest.mark.parametrize("room", ["page can scroll", "page cannot"])
def test_a_click_is_for_the_tile_that_was_under_the_pointer(page: Page, collection: Path, room: str) -> None:  # noqa: F811
    """Something above the tiles grows by the height of a row while somebody is about to click."""
    with Collection.open(collection) as opened:
        opened.set_labels(dict.fromkeys(opened.labels()))
    teach(page, "meant")
    if room == "page cannot":
        page.evaluate("""() => {
          const main = document.querySelector("[data-testid=stMain]");
          Object.defineProperty(main, "scrollTop", { get: () => 0, set: () => {} });
        }""")
    tile = page.locator("button.tile").nth(1)
    box = tile.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.wait_for_timeout(500)  # the person sees the tile, and nothing moves any more
    page.evaluate(MOVED, box["height"])
    page.mouse.click(x, y)
    expect(tile).to_have_attribute("aria-pressed", "true")
    assert labels_of(collection, 1) == {int(tile.get_attribute("data-id") or 0): "meant"}
    moved = tile.bounding_box()
    assert moved is not None
    assert (abs(moved["y"] - box["y"]) < 2) == (room == "page can scroll")


TOO_LARGE = f"The picture has {MAX_UPLOAD + 1} MB; the most is {MAX_UPLOAD} MB. Give a smaller one."


def too_large(folder: Path) -> Path:
    """A sparse file a little above the limit."""
    file = folder / "panorama.jpg"
    with file.open("wb") as opened:
        opened.truncate((MAX_UPLOAD + 1) * 1024**2)
    return file


def test_an_upload_over_the_limit_is_one_line(page: Page, tmp_path: Path) -> None:  # noqa: F811
    page.goto("/")
    expect(page.locator("a.tile")).to_have_count(39)
    page.locator("input[type=file]").set_input_files(too_large(tmp_path))
    expect(page.locator("div[role=alert]")).to_have_text(TOO_LARGE)
    expect(page.locator("a.tile")).to_have_count(39)


def test_a_pasted_picture_over_the_limit_is_one_line(page: Page) -> None:  # noqa: F811
    page.goto("/")
    expect(page.locator("a.tile")).to_have_count(39)
    page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "x.jpg", { type: "image/jpeg" }));
          document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        (MAX_UPLOAD + 1) * 1024**2,
    )
    expect(page.locator("div[role=alert]")).to_have_text(TOO_LARGE)
    expect(page.locator("a.tile")).to_have_count(39)


def test_the_server_itself_refuses_an_upload_over_the_limit(page: Page, address: str, tmp_path: Path) -> None:  # noqa: F811
    """A program that passes by the page's own check."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if "upload_file" in request.url else None)
    page.goto("/")
    expect(page.locator("a.tile")).to_have_count(39)
    small = FilePayload(name="x.jpg", mimeType="image/jpeg", buffer=b"no picture")
    page.locator("input[type=file]").set_input_files(small)
    expect(page.get_by_role("alert")).to_contain_text("x.jpg cannot be used: ")
    cookies = {str(one.get("name")): str(one.get("value")) for one in page.context.cookies()}
    connection = HTTPConnection(urlsplit(address).netloc, timeout=SECONDS)
    connection.putrequest("PUT", urlsplit(sent[0]).path)
    connection.putheader("Content-Length", str((MAX_UPLOAD + 1) * 1024**2))
    connection.putheader("Cookie", "; ".join(f"{name}={value}" for name, value in cookies.items()))
    connection.putheader("X-Xsrftoken", cookies["_streamlit_xsrf"])
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    assert status == 413


@pytest.fixture
def foreign(address: str) -> Iterator[str]:  # noqa: F811
    """The address of a page of somebody else, on another port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = (FOREIGN % json.dumps(address)).encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_foreign_page_reaches_nothing(browser: Browser, address: str, foreign: str) -> None:  # noqa: F811
    tab = browser.new_page()
    tab.goto(foreign)
    tab.wait_for_function("window.said !== undefined", timeout=SECONDS * 1000)
    said: dict[str, Any] = tab.evaluate("window.said")
    assert set(said) == {"read", "health", "upload", "socket", "picture", "script"}
    assert set(said.values()) == {"failed"}, said
    tab.set_content(f"<iframe src='{address}'></iframe>")
    tab.wait_for_timeout(300)
    assert all("simsiam" not in frame.title() for frame in tab.frames)
    answer = tab.goto(f"{address.replace('127.0.0.1', REBOUND)}/")
    assert answer is not None and answer.status == 403  # a name that was made to point here
    answer = tab.goto(address, referer=foreign)
    assert answer is not None and answer.status == 200  # a link may lead to the app
    tab.close()
