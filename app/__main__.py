"""``python -m simsiam_retrieval.app``."""

from dataclasses import dataclass
from pathlib import Path

from simsiam_retrieval import cli


@dataclass(frozen=True)
class Arguments:
    """Open the web page: find similar images in a collection, watch training runs.

    It is served to this machine only, at 127.0.0.1, unless it is shared, and fetches nothing from a network. Ctrl-C
    ends it.
    """

    collection: Path | None = None
    """Collection folder; by default the one indexed last."""
    runs: Path = Path("runs")
    """Folder whose training runs are shown."""
    port: int = 8501
    """Port of the page; 0 takes any free one."""
    browser: bool = True
    """Open the page in the browser."""
    share: bool = False
    """Let other machines in the network in, with a password: it is asked for, or made up where nobody can be asked."""
    proxy: str | None = None
    """IP address of a proxy in front of the page, which is believed when it says who asks."""


def main() -> None:
    arguments = cli.parse(Arguments, "app")
    # imported here so that --help answers at once
    from simsiam_retrieval.collection import Collection
    from simsiam_retrieval.home import find_collection

    from .server import check_proxy, serve
    from .settings import Settings
    from .sharing import ask_password, say_what_opens

    if arguments.proxy is not None:
        check_proxy(arguments.proxy)
    folder = find_collection(arguments.collection)
    with Collection.open(folder) as collection:  # bad input is told here, before a server starts
        settings = Settings(collection.folder, arguments.runs.expanduser().absolute())
        password = None
        if arguments.share:
            say_what_opens(collection, settings.runs)
            password = ask_password()
    serve(settings, arguments.port, open_browser=arguments.browser, password=password, proxy=arguments.proxy)


if __name__ == "__main__":
    cli.run(main)
