"""What all commands share: parsing, exit codes, one line for what went wrong."""

import dataclasses
import datetime
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from .errors import UserError
from .text import printable

T = TypeVar("T")

DONE, USER_CAN_MEND, CTRL_C = 0, 2, 130  # 1, our fault, is what a traceback ends with
TRAIN = frozenset(("torch", "torchvision", "onnxscript", "safetensors", "matplotlib", "yaml"))  # of the extra "train"


def parse(
    arguments: type[T], prog: str, args: list[str] | None = None, default: T | None = None, examples: str = ""
) -> T:
    """Parse a command line into the dataclass ``arguments``; its docstrings are the help text.

    Prints help, with ``examples`` below it, or one complaint, and exits where argparse would.
    """
    prog = f"python -m simsiam_retrieval.{prog}"
    _let_waiting_threads_sleep()
    _say_what_optional_values_are(arguments)
    asked = sys.argv[1:] if args is None else args
    try:
        if default is None:
            return tyro.cli(arguments, prog=prog, args=args)
        return tyro.cli(arguments, prog=prog, args=args, default=default)
    except SystemExit as end:
        if examples and not end.code and {"-h", "--help"} & set(asked):
            print(f"\n{examples}")
        raise


def _let_waiting_threads_sleep() -> None:
    """Let OpenMP's threads give their core away while they wait for each other.

    By default they spin, and where other programs want the cores, what they wait for cannot run: small products of
    matrices took more than three times as long with spinning threads on two busy cores (torch 2.14, libgomp).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch and its like are imported, after this


_VALUES = {Path: "PATH", str: "TEXT", int: "N", float: "NUMBER", datetime.date: "YYYY-MM-DD"}


def _say_what_optional_values_are(arguments: type) -> None:
    """Let the help say PATH instead of {None}|PATH, and nothing of a default None."""
    hints = get_type_hints(arguments, include_extras=True)
    for field in dataclasses.fields(arguments):
        hint = hints[field.name]
        inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            _say_what_optional_values_are(inner)
        # what says more of itself, as Annotated, keeps it
        optional = field.default is None and get_origin(hint) in (UnionType, Union)
        kinds = [kind for kind in get_args(hint) if kind is not type(None)] if optional else []
        said = None
        if len(kinds) == 1 and kinds[0] in _VALUES:
            said = _VALUES[kinds[0]]
        elif len(kinds) == 1 and get_origin(kinds[0]) is Literal:
            said = "{" + ",".join(map(str, get_args(kinds[0]))) + "}"
        if said is not None:
            arguments.__annotations__[field.name] = Annotated[hint, tyro.conf.arg(metavar=said, help_behavior_hint="")]


def run(main: Callable[[], int | None]) -> None:
    """Call ``main`` and exit: 0 done, 2 the user can mend it, 1 our fault, 130 Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter is no reason to end
    try:
        code = main() or DONE
        if sys.stdout is not None:  # None where it was closed: >&-
            sys.stdout.flush()
    except UserError as error:
        remark(f"{_speaker()}error: {printable(str(error))}")
        code = USER_CAN_MEND
    except ModuleNotFoundError as error:
        if error.name not in TRAIN:
            raise
        remark(f"error: this needs {error.name}, of the training extra; run: pip install 'simsiam-retrieval[train]'")
        code = USER_CAN_MEND
    except KeyboardInterrupt:
        remark("stopped")
        code = CTRL_C
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 -- else Python complains of it at exit
        code = DONE
    except OSError as error:
        remark(f"error: {printable(str(error.filename or 'writing'))}: {error.strerror or error}")
        code = USER_CAN_MEND
    sys.exit(code)


def _speaker() -> str:
    """Who speaks, where a launcher started several processes and this is not the first."""
    rank = os.environ.get("RANK", "0") if "TORCHELASTIC_RUN_ID" in os.environ else "0"
    return "" if rank == "0" else f"[process {rank}] "


def remark(text: str) -> None:
    """Say something on stderr: progress and remarks go there, results to stdout."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def remark_collection(given: object, folder: Path) -> None:
    """Say which collection is read, where nobody named one and there are several."""
    from .known_collections import known_collections

    known = known_collections() if given is None else []
    if len(known) > 1:
        name = next((one.name for one in known if one.path == folder), folder.name)
        remark(f"collection {printable(name)} ({printable(folder)})")
