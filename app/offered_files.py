"""Files that a page offers for download, and the address at which they are fetched.

Streamlit's own download buttons answer 404 while a page is drawn anew, and its addresses change with every run. Here a
button keeps one address as long as its tab is open, and the file is made when it is asked for.
"""

import asyncio
import secrets
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from simsiam_retrieval.core.errors import UserError

PATH = "/files/"
KINDS = {"csv": "text/csv", "json": "application/json", "html": "text/html", "zip": "application/zip"}
STATE = "offered files"  # in a session: name of a button -> its file


@dataclass(eq=False)
class Offer:
    """A file of one visitor's page."""

    make: Callable[[], bytes]
    name: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))


_offers: WeakValueDictionary[str, Offer] = WeakValueDictionary()  # the sessions hold them, and take them along


def offer(state: MutableMapping[Any, Any], button: str, make: Callable[[], bytes], name: str) -> str:
    """Offer a file, or give a file that is offered already its newest content.

    Args:
        state: The visitor's session.
        button: Names the button within the session.
        make: Returns the file's content. It is called at each download, in another thread.
        name: Name of the file.

    Returns:
        The address, relative to any page of the app.
    """
    files: dict[str, Offer] = state.setdefault(STATE, {})
    if button not in files:
        files[button] = Offer(make, name)
    found = files[button]
    found.make, found.name = make, name
    _offers[found.token] = found
    return f".{PATH}{found.token}"


async def give(request: Request) -> Response:
    """Answer a request for an offered file.

    Args:
        request: The request; its path has the token.

    Returns:
        The file; 404 if the tab that offered it is closed, 409 if the file cannot be made.
    """
    found = _offers.get(request.path_params["token"])
    if found is None:
        return PlainTextResponse("this file is no longer offered; reload the page", 404)
    name = found.name
    try:
        content = await asyncio.to_thread(found.make)
    except (UserError, OSError) as error:
        return PlainTextResponse(str(error), 409)
    kind = KINDS.get(name.rpartition(".")[2], "application/octet-stream")
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(content, media_type=kind, headers=headers)


def route(base: str) -> Route:
    """Return the address of the files for the server.

    Args:
        base: Path below which the app is served, without a slash at its end.

    Returns:
        The route.
    """
    return Route(f"{base}{PATH}{{token}}", give)
