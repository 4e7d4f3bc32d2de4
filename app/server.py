"""Starting Streamlit: quiet, with the colours of the page, and for this machine only unless it is shared."""

import contextlib
import errno
import gc
import ipaddress
import logging
import os
import socket
import threading
import time
import webbrowser
from pathlib import Path

from simsiam_retrieval.core.errors import UserError

from . import settings as shared
from .public import Public
from .settings import MAX_UPLOAD, Settings
from .theme import THEME

HOST = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # every address of this machine
OWN_NAMES = frozenset({HOST, "localhost"})
SCRIPT = Path(__file__).parent / "pages" / "navigation.py"
START_SECONDS = 60  # until the server must answer

OPTIONS: dict[str, object] = {
    "server.baseUrlPath": "",
    "server.headless": True,  # we open the browser ourselves, when the server answers
    "server.fileWatcherType": "none",
    "server.maxUploadSize": MAX_UPLOAD,
    "server.enableCORS": True,
    "server.enableXsrfProtection": True,
    "server.enableStaticServing": False,
    "server.showEmailPrompt": False,
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",  # a traceback belongs into the terminal, not onto the page
    "logger.hideWelcomeMessage": True,
    "logger.level": "error",
    "logger.enableRich": False,
    **THEME,
}


def serve(
    settings: Settings,
    port: int,
    *,
    open_browser: bool,
    password: str | None = None,
    everywhere: bool | None = None,
    public: Public | None = None,
    base: str = "",
    proxy: str | None = None,
) -> None:
    """Serve the pages until Ctrl-C, which arrives as ``KeyboardInterrupt``.

    Prints the address to stdout as soon as the server answers there.

    Args:
        settings: The collection and the folder of runs that the pages show.
        port: Port; 0 for any free one.
        open_browser: Whether to open a browser.
        password: Password that visitors must know; None for none.
        everywhere: Whether other machines may reach it; None if there is a password.
        public: Address at which a proxy shows the page.
        base: Path below which it is served, without ``public``.
        proxy: Address of the proxy that is believed when it says who asks; no other is.

    Raises:
        UserError: The port is in use, or ``proxy`` is no address.
    """
    # uvicorn would believe every process of this machine, so that one could try passwords under any name
    os.environ["FORWARDED_ALLOW_IPS"] = "" if proxy is None else check_proxy(proxy)
    everywhere = password is not None if everywhere is None else everywhere
    host, names = (EVERYWHERE, None) if everywhere else (HOST, OWN_NAMES)
    options = {**OPTIONS, "server.address": host}
    if public is not None:
        base = public.base
        names = names and names | {public.host}
        options |= {"browser.serverAddress": public.host, "browser.serverPort": public.port}
    port = free_port(port, host)
    shared.use(settings)
    import streamlit
    from starlette.middleware import Middleware

    from . import offered_files
    from .auth import Guard

    for name in ("uvicorn.error", "uvicorn.access"):  # says that it starts and stops; an address is all we print
        logging.getLogger(name).addFilter(lambda record: record.levelno > logging.INFO)
    threading.Thread(target=_announce, args=(host, port, open_browser, base, public), daemon=True).start()
    origin = None if public is None else public.origin
    guard = Middleware(Guard, hosts=names, password=password, base=base, origin=origin)
    app = streamlit.App(SCRIPT, middleware=[guard], routes=[offered_files.route(base)])
    app.run(config={**options, "server.port": port, "server.baseUrlPath": base.strip("/")})
    raise KeyboardInterrupt  # the server ends only when it is told to


def check_proxy(address: str) -> str:
    """Check the value of ``--proxy``.

    Args:
        address: The value.

    Returns:
        The value.

    Raises:
        UserError: It is no IP address.
    """
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        raise UserError(f"--proxy {address}: give the proxy's IP address, such as 127.0.0.1") from None


def reachable_at(port: int) -> list[str]:
    """Return the addresses at which other machines may reach a port, as far as this machine knows them.

    Args:
        port: The port.

    Returns:
        Addresses.
    """
    names = [socket.gethostname()]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent: it only chooses the network that others are in
        names.insert(0, probe.getsockname()[0])
    return [f"http://{name}:{port}" for name in dict.fromkeys(names)]


def free_port(port: int, host: str = HOST) -> int:
    """Check that a port is free.

    Args:
        port: The port; 0 for any free one.
        host: The address to listen on.

    Returns:
        The port.

    Raises:
        UserError: It is in use.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: ports go from 1 to 65535")
    with socket.socket() as probe:
        if os.name == "posix":  # as the server does: a port that was just given back counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise UserError(f"--port {port}: no permission to use it; choose one above 1023") from None
            raise UserError(f"port {port} is in use; choose another with --port, or --port 0 for any") from None
        return probe.getsockname()[1]


def _announce(host: str, port: int, open_browser: bool, base: str, public: Public | None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
            continue
        _warm_up()
        address = f"http://{HOST}:{port}{base}"
        others = [] if host == HOST else [one + base for one in reachable_at(port)]
        for one in [address, *others, *([] if public is None else [public.url])]:
            print(one, flush=True)
        if open_browser:
            webbrowser.open(address)
        return


def _warm_up() -> None:
    """Load what every page needs, so that the first visitor need not wait for it; the runtime must be there."""
    from simsiam_retrieval.images.apart import start

    from . import open_collection
    from .pages import check_page, duplicates_page, probe_page, search_page, training_page  # noqa: F401
    from .search import filter_form

    threading.Thread(target=start, daemon=True).start()
    with contextlib.suppress(UserError):  # whoever comes is told
        collection = open_collection.open_collection(shared.first_collection())
        len(collection)
        threading.Thread(target=filter_form.read_choices, args=(collection,), daemon=True).start()
    _settle()


def _settle() -> None:
    """Take the objects that live now out of Python's garbage collection, for good.

    Streamlit collects garbage after every run of a page. That takes 0.1 s with all modules in it, and 0.001 s without.
    """
    gc.collect()
    gc.freeze()
