"""``python -m simsiam_retrieval.app``."""

from dataclasses import dataclass
from pathlib import Path

from simsiam_retrieval import cli


@dataclass(frozen=True)
class Arguments:
    """Open the web page: find similar images in a collection, watch training runs.

    It is served to this machine only, at 127.0.0.1, and fetches nothing from a network. Ctrl-C ends it.
    """

    collection: Path | None = None
    """Collection folder; by default the one indexed last."""
    runs: Path = Path("runs")
    """Folder whose training runs are shown."""
    port: int = 8501
    """Port of the page; 0 takes any free one."""
    browser: bool = True
    """Open the page in the browser."""


def main() -> None:
    arguments = cli.parse(Arguments, "app")
    # imported here so that --help answers at once
    from simsiam_retrieval.collection import Collection
    from simsiam_retrieval.home import find_collection

    from .server import serve
    from .settings import Settings

    folder = find_collection(arguments.collection)
    with Collection.open(folder) as collection:  # bad input is told here, before a server starts
        settings = Settings(collection.folder, arguments.runs.expanduser().absolute())
    serve(settings, arguments.port, open_browser=arguments.browser)


if __name__ == "__main__":
    cli.run(main)
