"""``python -m simsiam_retrieval.open FOLDER``: index a folder and look at it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .core import cli
from .core.errors import UserError

EXAMPLES = """examples:
  open ./photos        index the folder, or only what is new in it, and open the app"""


@dataclass(frozen=True)
class Arguments:
    """Index folders of images, or bring their index up to date, and open the app. Ctrl-C ends it."""

    folders: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="FOLDER ...")]] = ()
    """Folders to index. The app shows them together with those that were indexed before."""
    collection: Path | None = None
    """Name or folder of the collection. Default: one in your data directory."""
    encoder: str | None = None
    """Encoder: a run folder, an .onnx file or hf://OWNER/NAME. Default: the shipped one."""
    port: int = 8501
    """Port of the page; 0 takes any free one."""
    browser: bool = True
    """Open the page in the browser."""


def main() -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        UserError: An option or an input cannot work.
    """
    arguments = cli.parse(Arguments, "open", examples=EXAMPLES)
    if not arguments.folders:
        raise UserError("name a folder of images; to open only the app: python -m simsiam_retrieval.app")
    which = [] if arguments.collection is None else ["--collection", str(arguments.collection)]
    encoder = [] if arguments.encoder is None else ["--encoder", arguments.encoder]
    indexed = _run("index", *arguments.folders, *which, *encoder)
    if indexed != cli.DONE:
        return indexed
    browser = "--browser" if arguments.browser else "--no-browser"
    return _run("app", *which, "--port", str(arguments.port), browser)


def _run(command: str, *options: str) -> int:
    # both are started as commands, because nothing may import the app
    with subprocess.Popen([sys.executable, "-m", f"simsiam_retrieval.{command}", *options]) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.wait()  # it got the same Ctrl-C and is ending
            return cli.DONE if command == "app" else cli.CTRL_C


if __name__ == "__main__":
    cli.run(main)
