"""Starting Streamlit: on this machine only, quiet, with the colours of the page."""

import contextlib
import errno
import os
import socket
import threading
import time
import webbrowser
from pathlib import Path

from simsiam_retrieval.errors import UserError

from . import settings as shared
from .look import THEME
from .settings import Settings

HOST = "127.0.0.1"
SCRIPT = Path(__file__).with_name("main.py")
MAX_UPLOAD = 100  # MB; no photo of a camera is larger
START_SECONDS = 60  # until the server must answer

OPTIONS: dict[str, object] = {
    "server.address": HOST,
    "server.baseUrlPath": "",
    "server.allowedHosts": [HOST, "localhost"],  # a page elsewhere cannot reach us through a name of its own
    "server.headless": True,  # we open the browser ourselves, when the server answers
    "server.fileWatcherType": "none",
    "server.maxUploadSize": MAX_UPLOAD,
    "server.showEmailPrompt": False,
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",  # a traceback belongs into the terminal, not onto the page
    "logger.hideWelcomeMessage": True,
    "logger.level": "error",
    "logger.enableRich": False,
    **THEME,
}


def serve(settings: Settings, port: int, *, open_browser: bool) -> None:
    """Serve the pages until Ctrl-C, which arrives as :class:`KeyboardInterrupt`.

    Prints the address to stdout as soon as the server answers there.

    Raises :class:`UserError` when the port cannot be had.
    """
    port = free_port(port)
    shared.use(settings)
    # the command line is Streamlit's documented way in; it lives in this process, so nothing can be orphaned
    import click
    from streamlit.web import cli as streamlit_cli

    threading.Thread(target=_announce, args=(port, open_browser), daemon=True).start()
    with contextlib.suppress(click.Abort):  # Ctrl-C before the server had its own handler
        streamlit_cli.main(["run", str(SCRIPT), *as_flags({**OPTIONS, "server.port": port})], standalone_mode=False)
    raise KeyboardInterrupt  # the server ends only when it is told to


def as_flags(options: dict[str, object]) -> list[str]:
    """Streamlit options as command line flags."""
    flags = []
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            flags.append(f"--{name}={str(one).lower() if isinstance(one, bool) else one}")
    return flags


def free_port(port: int) -> int:
    """``port``, or any free one for 0; raises :class:`UserError` when it cannot be had."""
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: ports go from 1 to 65535")
    with socket.socket() as probe:
        if os.name == "posix":  # as the server does: a port that was just given back counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise UserError(f"--port {port}: no permission to use it; choose one above 1023") from None
            raise UserError(f"port {port} is in use; choose another with --port, or --port 0 for any") from None
        return probe.getsockname()[1]


def _announce(port: int, open_browser: bool) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
            continue
        address = f"http://{HOST}:{port}"
        print(address, flush=True)
        if open_browser:
            webbrowser.open(address)
        return
