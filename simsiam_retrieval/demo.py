"""``python -m simsiam_retrieval.demo``: the main job on the example photos."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .core import cli

QUERIES = ("windmills/kinderdijk-windmills.jpg", "fish/clownfish.jpg", "planets/mars.jpg")


EXAMPLES = """examples:
  demo                index the example photos, search them, and open the app
  demo --no-app       without the app"""


@dataclass(frozen=True)
class Arguments:
    """Index the example photos, search them, draw a contact sheet, and open the app."""

    app: bool = True
    """Open the app in a browser at the end."""
    sheet: Path = Path("simsiam-demo.png")
    """File to draw the contact sheet into."""


def main() -> int:
    """Run the command.

    Returns:
        The exit code.
    """
    arguments = cli.parse(Arguments, "demo", examples=EXAMPLES)
    from .collection import Collection
    from .collection.search.contact_sheet import draw_sheet
    from .collection.update.index_folders import index_folders
    from .core.example_photos import example_photos
    from .core.paths import home
    from .core.progress import bar

    photos, folder = example_photos(), home() / "collections" / "demo"
    cli.remark(f"1. index {photos}")
    started = time.perf_counter()
    with bar("indexing", 0) as shown:
        update = index_folders([photos], folder, on_start=shown.of, on_progress=shown.advance)
    seconds = time.perf_counter() - started
    print(f"{update.images} photos in {folder} ({update.added} new, {seconds:.1f} s)")

    with Collection.open(folder) as collection:
        cli.remark(f"2. search for what looks like {', '.join(QUERIES)}")
        results = [(photos / name, collection.search(photos / name, k=6)) for name in QUERIES]
        for query, hits in results:
            print(query.relative_to(photos))
            for hit in hits:
                print(f"{hit.rank:4d}  {hit.score:6.3f}  {hit.path.relative_to(photos)}")
        draw_sheet(collection, results, arguments.sheet)
        cli.remark(f"3. drew {arguments.sheet}")

    if not arguments.app:
        return cli.DONE
    cli.remark("4. open the app; Ctrl-C ends it")
    # the app is started as a command, because nothing may import it
    command = [sys.executable, "-m", "simsiam_retrieval.app", "--collection", str(folder)]
    with subprocess.Popen(command) as app:
        try:
            return app.wait()
        except KeyboardInterrupt:
            app.wait()  # it got the same Ctrl-C and is ending
            return cli.DONE


if __name__ == "__main__":
    cli.run(main)
