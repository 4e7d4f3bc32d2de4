"""``python -m simsiam_retrieval.app``."""

from dataclasses import dataclass
from pathlib import Path

from simsiam_retrieval.core import cli

EXAMPLES = """examples:
  app                                                    on this machine
  app --share                                            for the network that you are in
  app --public-url https://photos.example.org/album      behind a proxy"""


@dataclass(frozen=True)
class Arguments:
    """Open the web page: find similar images in a collection, watch training runs.

    Only this machine can open it (127.0.0.1), unless it is shared. It fetches nothing from a network. Ctrl-C ends it.
    """

    collection: Path | None = None
    """Name or folder of the collection. Default: the one used last."""
    runs: Path = Path("runs")
    """Folder whose training runs are shown."""
    port: int = 8501
    """Port of the page; 0 takes any free one."""
    browser: bool = True
    """Open the page in the browser."""
    share: bool = False
    """Let other machines in the network in, with a password: it is asked for, or generated if there is no terminal."""
    proxy: str | None = None
    """IP address of a proxy in front of the page, which is believed about its visitors' addresses."""
    public_url: str | None = None
    """Public address of the page behind a proxy on this machine, such as https://photos.example.org/album.
    Asks for a password, too (docs/app.md)."""
    base_path: str | None = None
    """Path below which the page is served, such as /album."""


def main() -> None:
    """Start the app for the options on the command line."""
    arguments = cli.parse(Arguments, "app", examples=EXAMPLES)
    # imported here, so that --help is fast
    from simsiam_retrieval.collection import Collection
    from simsiam_retrieval.core.known_collections import find_collection

    from .public import read_base, read_public
    from .server import check_proxy, serve
    from .settings import Settings
    from .sharing import ask_password, say_what_opens

    if arguments.proxy is not None:
        check_proxy(arguments.proxy)
    public, base = read_public(arguments.public_url, arguments.base_path), read_base(arguments.base_path or "")
    folder = find_collection(arguments.collection)
    cli.remark_collection(arguments.collection, folder)
    with Collection.open(folder) as collection:  # bad input is told here, before a server starts
        own = not arguments.share and public is None and arguments.proxy is None
        settings = Settings(collection.folder, arguments.runs.expanduser().absolute(), own)
        password = None
        if arguments.share or public is not None:
            say_what_opens(collection, settings.runs, shared=arguments.share, public=public and public.url)
            password = ask_password()
    serve(
        settings,
        arguments.port,
        open_browser=arguments.browser,
        password=password,
        everywhere=arguments.share,
        public=public,
        base=base,
        proxy=arguments.proxy,
    )


if __name__ == "__main__":
    cli.run(main)
