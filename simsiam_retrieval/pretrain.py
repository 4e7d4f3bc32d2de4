"""``python -m simsiam_retrieval.pretrain DATA``."""

import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import tyro

from .core import cli
from .images.reading import join_range
from .training.config import Config
from .training.recipes import recipe
from .training.run_options import Options

T = TypeVar("T")
ON_FROM_SHIPPED = "own-folder"  # recipe that starts with the shipped encoder's weights, unless --init is given
BEGAN = time.monotonic()  # --minutes counts from here


EXAMPLES = """examples:
  pretrain ./photos --out runs/photos         learn from a folder; Ctrl-C keeps a checkpoint
  pretrain ./photos --minutes 60              as many epochs as fit into an hour
  pretrain --resume runs/photos               go on"""


@dataclass(frozen=True)
class Arguments(Config, Options):
    """Pretrain an encoder on a folder of unlabelled images, with SimSiam or a related method.

    Ctrl-C stops after the current step and writes a checkpoint; --resume continues from it.
    """

    data: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of images, nested or flat, and .tar archives; no labels needed.
    Default: a trial on the example photos."""


def main() -> int:
    """Run the command.

    Returns:
        The exit code.
    """
    argv = join_range(sys.argv[1:])
    arguments = cli.parse(Arguments, "pretrain", argv, default=_defaults(argv), examples=EXAMPLES)
    # imported here, because torch takes seconds and --help must be fast
    from .training.trainer import pretrain

    finished = pretrain(_part(arguments, Config), arguments.data, _part(arguments, Options), began=BEGAN)
    return cli.DONE if finished else cli.CTRL_C


def _part(arguments: Arguments, kind: type[T]) -> T:
    """The fields of ``arguments`` that belong to the dataclass ``kind``."""
    return kind(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


def _defaults(argv: list[str]) -> Arguments:
    """The recipe's settings, or a resumed run's, so that help shows them and options override them."""
    from .training.run_files import stored_config

    given = _value_of(argv, "--resume")
    name = _value_of(argv, "--recipe") or "photos"
    settings = recipe(name, _value_of(argv, "--method")) if given is None else stored_config(Path(given))
    init = "default" if given is None and name == ON_FROM_SHIPPED else None
    return Arguments(**dataclasses.asdict(settings), init=init)


def _value_of(argv: list[str], option: str) -> str | None:
    """The last one given, as the parser has it."""
    found = None
    for index, word in enumerate(argv):
        if word == option and index + 1 < len(argv):
            found = argv[index + 1]
        elif word.startswith(option + "="):
            found = word.partition("=")[2]
    return found


if __name__ == "__main__":
    cli.run(main)
