"""Two tabs that label at once with hostile texts, and pages of others that reach for the app, in a real browser."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

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
    "**b** [x](javascript:document.title='hacked') $x$ :red[x] \u202e\u0000abc",
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
    shared = [id_ for id_ in teach(other, HOSTILE[1].replace("\0", "")) if id_ in ids][:12]
    assert len(shared) == 12
    for number, id_ in enumerate(shared):  # nobody waits for an answer
        (page, other)[number % 2].locator(f'button.tile[data-id="{id_}"]').click()
    with Collection.open(collection) as opened:
        for _ in range(SECONDS * 10):
            labels = opened.labels()
            if len(labels) == 12:
                break
            page.wait_for_timeout(100)
    assert {int(id_) for id_ in shared[::2]} == {id_ for id_, label in labels.items() if label == HOSTILE[0]}
    assert {int(id_) for id_ in shared[1::2]} == {id_ for id_, label in labels.items() if label != HOSTILE[0]}
    for tab in (page, other):
        tab.reload()
        for name in sorted(set(labels.values())):
            expect(tab.get_by_role("radio", name=name)).to_contain_text("6")
        assert "hacked" not in tab.title()
    assert not dialogs
    other.close()


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
