"""Who may come in: the guard before the pages, and what ``--share`` says and asks."""

import gc
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from simsiam_retrieval.app import (  # pyright: ignore[reportMissingImports]
    auth,
    open_collection,
    public,
    server,
    sharing,
)
from simsiam_retrieval.app.components import chosen_image  # pyright: ignore[reportMissingImports]
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.index.vector_index import VectorIndex
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.images.decode import ImageError
from tests.support.commands import Run

PASSWORD = "käse & brot"
HTML = {"accept": "text/html"}
STREAM = "ws://photos.lan:8501/_stcore/stream"


async def secret(request: Request) -> PlainTextResponse:
    return PlainTextResponse("secret")


async def stream(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("secret")
    await socket.close()


def visitor(address: str = "http://photos.lan:8501", **options: Any) -> TestClient:
    """Somebody at a page behind the guard."""
    routes = [
        Route("/{path:path}", secret, methods=["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST"]),
        WebSocketRoute("/_stcore/stream", stream),
        WebSocketRoute("/album/_stcore/stream", stream),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(auth.Guard, **options)])
    return TestClient(app, base_url=address, follow_redirects=False)


@pytest.mark.parametrize("path", ["/", "/media/a.jpg", "/_stcore/upload_file/a/b", "/_stcore/health", "/static/x.js"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST"])
def test_nothing_is_answered_before_the_password(path: str, method: str) -> None:
    answer = visitor(password=PASSWORD).request(method, path, headers=HTML)
    assert answer.status_code == 401
    assert "secret" not in answer.text


def test_no_websocket_before_the_password() -> None:
    client = visitor(password=PASSWORD)
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(STREAM):
        pass
    client.cookies.set("simsiam-retrieval-8501", "made-up")
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(STREAM):
        pass


def test_the_password_opens_everything_and_leads_on() -> None:
    client = visitor(password=PASSWORD)
    form = client.get("/search?image=3", headers=HTML)
    assert '<form method="post" action="/login">' in form.text and 'value="/search?image=3"' in form.text
    answer = client.post("/login", data={"password": PASSWORD, "next": "/search?image=3"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/search?image=3")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and PASSWORD not in cookie
    assert client.get("/media/a.jpg").text == "secret"
    with client.websocket_connect(STREAM) as opened:
        assert opened.receive_text() == "secret"
    elsewhere = visitor(password=PASSWORD)  # another app, or this one after a restart
    elsewhere.cookies.update(client.cookies)
    assert elsewhere.get("/media/a.jpg").status_code == 401


@pytest.mark.parametrize("given", ["", "käse", PASSWORD + " ", PASSWORD.upper(), "\0", "a" * 3000])
def test_a_wrong_password_opens_nothing(given: str) -> None:
    client = visitor(password=PASSWORD)
    answer = client.post("/login", data={"password": given, "next": "/"})
    assert answer.status_code == 401 and "not the password" in answer.text
    assert "set-cookie" not in answer.headers
    assert client.get("/").status_code == 401


def test_odd_forms_open_nothing() -> None:
    client = visitor(password=PASSWORD)
    assert client.post("/login", content=b"\xff\xfe%%%").status_code == 401
    assert client.post("/login", content=b"password=" + b"x" * 100_000).status_code == 413
    assert client.get("/").status_code == 401


@pytest.mark.parametrize(
    "there", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere", "", "/\r\nx: y"]
)
def test_the_password_leads_nowhere_else(there: str) -> None:
    answer = visitor(password=PASSWORD).post("/login", data={"password": PASSWORD, "next": there})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_an_address_in_the_form_is_no_html() -> None:
    form = visitor(password=PASSWORD).get('/?x="><script>alert(1)</script>', headers=HTML).text
    assert "<script>" not in form


def test_guessing_ends_after_ten_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(auth.time, "monotonic", lambda: now)
    client = visitor(password=PASSWORD)
    assert [client.post("/login", data={"password": "guess"}).status_code for _ in range(11)] == [401] * 10 + [429]
    assert client.post("/login", data={"password": PASSWORD}).status_code == 429  # nor does the right one tell
    now += auth.TRIES_SECONDS + 1
    assert client.post("/login", data={"password": PASSWORD}).status_code == 303
    assert client.get("/").text == "secret"
    now += auth.VISIT_SECONDS
    assert client.get("/").status_code == 401


def test_guessing_from_everywhere_ends_after_a_hundred() -> None:
    app = visitor(password=PASSWORD).app
    codes = []
    for number in range(auth.ALL_TRIES + 1):
        client = TestClient(app, base_url="http://photos.lan:8501", client=(f"10.0.{number // 9}.1", 1))
        codes.append(client.post("/login", data={"password": "guess"}).status_code)
    assert codes == [401] * auth.ALL_TRIES + [429]


def test_nobody_is_believed_to_be_a_proxy_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As uvicorn, below the guard, takes it."""
    from uvicorn.config import Config

    monkeypatch.setattr(server, "free_port", lambda port, host: pytest.fail("asked") if port < 0 else port)
    monkeypatch.setattr("streamlit.App", lambda *arguments, **options: SimpleNamespace(run=lambda **config: None))
    monkeypatch.setattr(server.threading, "Thread", lambda **options: SimpleNamespace(start=lambda: None))
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    for proxy, believed in ((None, ""), ("10.0.0.7", "10.0.0.7")):
        with pytest.raises(KeyboardInterrupt):
            server.serve(server.Settings(Path(), Path()), 8501, open_browser=False, password=PASSWORD, proxy=proxy)
        assert Config(app="none:app").forwarded_allow_ips == believed
    with pytest.raises(UserError, match="--proxy nginx"):
        server.check_proxy("nginx")


def test_other_sites_and_other_names_stay_out() -> None:
    own = visitor("http://127.0.0.1:8501", hosts=server.OWN_NAMES)
    assert own.get("/").text == "secret"
    assert own.get("/", headers={"origin": "http://127.0.0.1:8501"}).text == "secret"
    for headers in (
        {"host": "evil.example:8501"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"host": "[", "origin": "http://["},
        {"origin": "http://["},
    ):
        assert own.get("/", headers=headers).status_code == 403
    for site in ("cross-site", "same-site"):  # a picture, script or frame of another page, which has no Origin
        headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
        assert own.get("/media/a.jpg", headers=headers).status_code == 403
        assert own.get("/", headers={**headers, "sec-fetch-mode": "navigate"}).text == "secret"  # a link
    assert own.get("/media/a.jpg", headers={"sec-fetch-site": "same-origin"}).text == "secret"
    stream = "ws://127.0.0.1:8501/_stcore/stream"
    with own.websocket_connect(stream, headers={"origin": "http://127.0.0.1:8501"}) as opened:
        assert opened.receive_text() == "secret"
    for address, origin in ((stream, "http://localhost:3000"), (STREAM, "http://photos.lan:8501")):
        with pytest.raises(WebSocketDisconnect), own.websocket_connect(address, headers={"origin": origin}):
            pass
    assert visitor("http://localhost:8501", hosts=server.OWN_NAMES).get("/").text == "secret"
    shared = visitor(password=PASSWORD)
    foreign = {"origin": "http://evil.example"}
    assert shared.post("/login", data={"password": PASSWORD}, headers=foreign).status_code == 403


def test_browsers_are_told_to_ask_nobody_else() -> None:
    for client in (visitor(), visitor(password=PASSWORD)):
        policy = client.get("/").headers["content-security-policy"]
        assert policy.startswith("default-src 'self'") and "http" not in policy and "*" not in policy


def test_passwords_that_are_made_up_differ() -> None:
    made = {sharing.random_password() for _ in range(100)}
    assert len(made) == 100
    assert all(len(password) == 14 and set(password) <= {*sharing.LETTERS, "-"} for password in made)


def test_typed_passwords(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    def typing(*lines: str) -> str:
        answers = iter(lines)
        monkeypatch.setattr(sharing.getpass, "getpass", lambda *_: next(answers))
        return sharing.ask_password()

    assert typing("long enough", "long enough") == "long enough"
    assert not capsys.readouterr().err
    with pytest.raises(UserError, match="differ"):
        typing("long enough", "long enougj")
    with pytest.raises(UserError, match="8 characters"):
        typing("short")
    made = typing("")
    assert capsys.readouterr().err == f"password: {made}\n"


def test_sharing_says_what_it_opens(collection_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Collection.open(collection_dir) as collection:
        sharing.say_what_opens(collection, Path("/somewhere/runs"))
        count = len(collection)
    told = capsys.readouterr().err
    for expected in (f"{count} images of {collection_dir}", "/somewhere/runs", "not encrypted"):
        assert expected in told


def test_share_refuses_a_short_password_before_it_serves(
    run: Run, collection_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda *_: "1234")
    done = run("app", "--collection", collection_dir, "--share", "--no-browser", "--port", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "8 characters or more" in done.stderr


@pytest.mark.parametrize(("kind", "refused"), [("PNG", True), ("JPEG", False)])
def test_uploads_that_need_much_memory_are_refused_before_they_are_decoded(
    kind: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = io.BytesIO()
    Image.new("L", (300, 200)).save(content, kind)
    monkeypatch.setattr(chosen_image, "UPLOAD_PIXELS", 59_999)
    if not refused:
        assert chosen_image.uploaded_picture(content.getvalue())[1] == "300 × 200 px"
        return
    monkeypatch.setattr(chosen_image, "read_image_apart", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="million pixels"):
        chosen_image.uploaded_picture(content.getvalue())


def test_twenty_visitors_share_one_collection_encoder_and_index(
    collection_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    for kind, name in ((Encoder, "__init__"), (VectorIndex, "load")):
        whole = getattr(kind, name)

        def counted(*arguments: Any, _whole: Any = whole, _name: str = name, **options: Any) -> Any:
            loaded.append(_name)
            return _whole(*arguments, **options)

        monkeypatch.setattr(kind, name, counted)
    open_collection._opened.clear()
    begun = threading.Barrier(20)
    collections: list[Collection] = []

    def visit(number: int) -> None:
        begun.wait()
        collection = open_collection.open_collection(collection_dir)
        collections.append(collection)
        photo = Image.fromarray(np.full((40, 30, 3), number, np.uint8))
        assert len(collection.search(photo, 5)) == 5

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(visit, range(20)))
    assert len({id(collection) for collection in collections}) == 1
    assert sorted(loaded) == ["__init__", "load"]


# what the server's process does: every name it looks up, every address it connects to
WATCHED = """
import json, runpy, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print(json.dumps([event, repr(arguments[1:] if event == "socket.connect" else arguments)]), file=sys.stderr)
sys.addaudithook(watch)
sys.argv[0] = "app"
runpy.run_module("simsiam_retrieval.app", run_name="__main__")
"""


@pytest.fixture
def shared(collection_dir: Path, tmp_path: Path) -> Iterator[tuple[str, str, Path]]:
    """Address and password of a shared app, and the file of all that it connects to."""
    log = tmp_path / "log"
    arguments = ["--collection", str(collection_dir), "--runs", str(tmp_path), "--port", "0", "--no-browser", "--share"]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", WATCHED, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            password = next(line for line in log.read_text().splitlines() if line.startswith("password: "))
            yield address, password.removeprefix("password: "), log
        finally:
            process.terminate()
            process.communicate(timeout=30)


def test_a_shared_app_is_open_to_all_addresses_and_connects_to_nobody(shared: tuple[str, str, Path]) -> None:
    import httpx2 as httpx  # the Hub client's own

    address, password, log = shared
    port = int(address.rsplit(":", 1)[1])
    socket.create_connection(("127.0.0.2", port), timeout=30).close()  # another address of this machine
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
        for path in ("/", "/_stcore/health", "/_stcore/host-config", "/static/", "/media/x"):
            assert client.get(path).status_code == 401
        assert client.put("/_stcore/upload_file/a/b", files={"x": b"y"}).status_code == 401
        assert client.post("/login", data={"password": password}).status_code == 303
        assert client.get("/_stcore/health").text == "ok"
        # a foreign page makes Streamlit itself ask the Internet for the machine's address
        assert client.get("/_stcore/host-config", headers={"origin": "http://evil.example"}).status_code == 403
    watched = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("[")]
    asked = [what for _, what in watched if "127.0.0.1" not in what and "192.0.2.1" not in what]
    assert not asked


# -- behind a proxy

ALBUM = {"base": "/album", "origin": "https://photos.example.org", "password": PASSWORD}


@pytest.mark.parametrize("host", ["photos.example.org", "photos.example.org:443", "127.0.0.1:8501", "app"])
def test_a_proxy_may_change_the_host_and_drop_the_port(host: str) -> None:
    """Login and the WebSocket work with what nginx and Caddy pass on, by default and as they are told to."""
    public = {"host": host, "origin": ALBUM["origin"]}
    browser = visitor("https://photos.example.org", **ALBUM)
    page = browser.get("/album/Map?a=1", headers={**HTML, "host": host})
    assert page.status_code == 401 and 'action="/album/login"' in page.text and 'value="/album/Map?a=1"' in page.text
    form = {"password": PASSWORD, "next": "/album/Map?a=1"}
    answer = browser.post("/album/login", data=form, headers=public)
    assert (answer.status_code, answer.headers["location"]) == (303, "/album/Map?a=1")
    cookie = answer.headers["set-cookie"].lower()
    assert "; path=/album/" in cookie and "secure" in cookie and "httponly" in cookie
    assert browser.get("/album/", headers={**HTML, "host": host}).text == "secret"
    with browser.websocket_connect("wss://photos.example.org/album/_stcore/stream", headers=public) as socket:
        assert socket.receive_text() == "secret"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://photos.example.org", "https://photos.example.org.evil"]
)
def test_a_proxy_lets_no_other_pages_in(origin: str) -> None:
    browser = visitor("https://photos.example.org", **ALBUM)
    form = {"password": PASSWORD}
    headers = {"host": "127.0.0.1:8501", "origin": origin}
    assert browser.post("/album/login", data=form, headers=headers).status_code == 403


@pytest.mark.parametrize("there", ["https://evil.example/", "//evil.example", "/other", "/albums", ""])
def test_after_the_password_nobody_is_led_elsewhere(there: str) -> None:
    browser = visitor("https://photos.example.org", **ALBUM)
    headers = {"origin": ALBUM["origin"]}
    answer = browser.post("/album/login", data={"password": PASSWORD, "next": there}, headers=headers)
    assert answer.headers["location"] == "/album/"


@pytest.mark.parametrize(
    ("url", "base", "origin", "path"),
    [
        ("https://photos.example.org", None, "https://photos.example.org", ""),
        ("https://photos.example.org:443/album/", None, "https://photos.example.org", "/album"),
        ("http://nas.lan:8080", "album/2024", "http://nas.lan:8080", "/album/2024"),
        ("http://[::1]/a", "/a", "http://[::1]", "/a"),
    ],
)
def test_public_addresses(url: str, base: str | None, origin: str, path: str) -> None:
    found = public.read_public(url, base)
    assert found is not None and (found.origin, found.base, found.url) == (origin, path, f"{origin}{path}/")


@pytest.mark.parametrize(
    "url", ["photos.example.org", "ftp://a", "https://", "https://a/?b", "https://a:x", "https://a/.."]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UserError, match="such as"):
        public.read_public(url)


def test_what_lives_when_the_server_starts_is_no_longer_collected() -> None:
    before = len(gc.get_objects())
    try:
        server._settle()
        assert gc.get_freeze_count() > before / 2 and len(gc.get_objects()) < before / 100
    finally:
        gc.unfreeze()
