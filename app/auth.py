"""Who may come in: every request and every WebSocket passes here before Streamlit sees it."""

import hashlib
import hmac
import html
import secrets
import time
from collections import deque
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOGIN = "/login"
MAX_FORM = 4096  # bytes of a password form
TRIES, TRIES_SECONDS = 10, 60  # wrong passwords from one address, and how long they count
ALL_TRIES = 100  # from all addresses together: who has many of them has no more
MAX_ADDRESSES = 1000  # whose wrong passwords are remembered
MAX_VISITORS, VISIT_SECONDS = 1000, 12 * 3600  # who are remembered, and how long

# the browser itself keeps to it: nothing is loaded from, or sent to, anywhere else
HEADERS = {
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",  # with less, browsers say nothing of where a form came from
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",  # another page cannot find out by its picture that it is here
    "cross-origin-opener-policy": "same-origin",
}

FORM = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>simsiam-retrieval</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font-family: system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0 1rem; }}
form {{ display: grid; gap: 0.75rem; width: min(22rem, 100%); }}
h1 {{ font-size: 1.4rem; margin: 0; }}
p {{ margin: 0; }}
input, button {{ font: inherit; padding: 0.6rem 0.75rem; border-radius: 8px; border: 1px solid #8886; }}
button {{ background: #0f766e; color: #fff; border-color: #0f766e; cursor: pointer; }}
</style>
<form method="post" action="{action}">
<h1>simsiam-retrieval</h1>
<p role="{role}">{text}</p>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>
<input name="next" type="hidden" value="{next}">
<button>Open</button>
</form></html>"""


class Guard:
    """ASGI middleware that turns strangers away.

    Other sites' pages may not use the app (Origin must be the Host asked for; a link may lead to it), nor may
    names that somebody else made point here (``hosts``). With a ``password`` nothing is answered before it was typed:
    no page, no picture, no upload, no WebSocket. Passwords are compared in constant time; ten wrong ones a minute from
    one address, a hundred from all. Who is in stays in. The address is the connection's own, unless the server was told
    of a proxy.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str] | None = None,
        password: str | None = None,
        base: str = "",
        origin: str | None = None,
    ) -> None:
        """``hosts``: names that a request may ask for; None for any. ``base``: path that all addresses begin with.

        ``origin``: the scheme, host and port that visitors see where a proxy stands in front, which may put other
        ones into the requests that it passes on.
        """
        self._app, self._hosts = app, hosts
        self._base, self._origin = base, origin
        self._login = base + LOGIN
        self._password = None if password is None else _digest(password)
        self._visitors: dict[str, float] = {}  # token of a cookie -> when it was given
        self._wrong: dict[str, deque[float]] = {}  # address -> when
        self._all_wrong: deque[float] = deque(maxlen=ALL_TRIES)  # when, from anywhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = await self._answer(scope, receive)
        if answer is None:
            await self._app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)
        elif scope["type"] == "http":
            answer.headers.update(HEADERS)
            await answer(scope, receive, send)
        else:
            await receive()  # the request to connect
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: HTTP 403

    async def _answer(self, scope: Scope, receive: Receive) -> Response | None:
        """What to say in the app's place; None lets it through."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return PlainTextResponse("this address is not served here", 403)
        origin = headers.get("origin")
        # Streamlit would ask a service on the Internet for our own address before it turns a foreign page away
        if origin is not None and _place(origin) != host and origin != self._origin:
            return PlainTextResponse("not from another page", 403)
        # pictures, scripts and frames of another page come without an Origin; a link to the app is a navigation
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign and origin is None and headers.get("sec-fetch-mode") != "navigate":
            return PlainTextResponse("not from another page", 403)
        if self._password is None:
            return None
        connection = HTTPConnection(scope)
        if self._knows(connection):
            return RedirectResponse(self._base + "/", 303) if scope["path"] == self._login else None
        if scope["type"] == "websocket":
            return PlainTextResponse("", 403)
        if scope["path"] == self._login and scope["method"] == "POST":
            return await self._log_in(Request(scope, receive))
        if "text/html" in headers.get("accept", "") and scope["method"] == "GET":
            query = scope["query_string"].decode("latin-1")
            there = scope["path"] + ("?" + query if query else "")
            there = self._base + "/" if scope["path"] == self._login else there
            return self._form("Ask whoever shares this page for it.", there)
        return PlainTextResponse("a password is needed", 401)

    async def _log_in(self, request: Request) -> Response:
        address = request.client.host if request.client else ""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM:
                return PlainTextResponse("too long", 413)
        fields = parse_qs(body.decode("utf-8", "replace"))
        there = _inside(fields.get("next", [""])[0], self._base)
        if self._tried_too_often(address):
            return self._form("Too many wrong passwords. Wait a minute, then try again.", there, 429)
        given = _digest(fields.get("password", [""])[0])
        if self._password is None or not hmac.compare_digest(given, self._password):
            self._note_wrong(address)
            return self._form("That is not the password.", there, 401)
        token = secrets.token_urlsafe(32)
        while len(self._visitors) >= MAX_VISITORS:
            del self._visitors[next(iter(self._visitors))]
        self._visitors[token] = time.monotonic()
        answer = RedirectResponse(there, 303)
        answer.set_cookie(
            self._cookie(request),
            token,
            max_age=VISIT_SECONDS,
            httponly=True,
            samesite="strict",
            secure=self._origin is not None and self._origin.startswith("https:"),
            path=self._base + "/",
        )
        return answer

    def _knows(self, connection: HTTPConnection) -> bool:
        given = self._visitors.get(connection.cookies.get(self._cookie(connection), ""))
        return given is not None and time.monotonic() - given < VISIT_SECONDS

    def _cookie(self, connection: HTTPConnection) -> str:
        # cookies do not know ports: two apps on one machine keep theirs apart by name; a proxy may change the port
        return f"simsiam-retrieval-{'public' if self._origin is not None else connection.url.port or 80}"

    def _form(self, text: str, there: str, status: int = 401) -> HTMLResponse:
        page = FORM.format(
            action=self._login,
            role="status" if status == 401 else "alert",
            text=html.escape(text),
            next=html.escape(there),
        )
        return HTMLResponse(page, status, {"cache-control": "no-store"})

    def _tried_too_often(self, address: str) -> bool:
        tries = self._wrong.get(address, deque())
        for found in (tries, self._all_wrong):
            while found and time.monotonic() - found[0] > TRIES_SECONDS:
                found.popleft()
        return len(tries) >= TRIES or len(self._all_wrong) >= ALL_TRIES

    def _note_wrong(self, address: str) -> None:
        while address not in self._wrong and len(self._wrong) >= MAX_ADDRESSES:
            del self._wrong[next(iter(self._wrong))]
        self._wrong.setdefault(address, deque()).append(time.monotonic())
        self._all_wrong.append(time.monotonic())


def _digest(password: str) -> bytes:
    """Of equal length for all passwords: comparing then takes equal time."""
    return hashlib.sha256(password.encode("utf-8", "replace")).digest()


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message["headers"] = [*message.get("headers", ()), *added]
        await send(message)

    return sending


def _name(host: str) -> str:
    """A Host header without its port; empty for nonsense."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str | None:
    """Host and port of an Origin header; None for nonsense."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _inside(there: str, base: str) -> str:
    """An address of this site, or its first page: a link may not lead elsewhere after the password."""
    ours = there.startswith(base + "/") and not there.startswith(("//", "/\\")) and there.isprintable()
    return there if ours else base + "/"
