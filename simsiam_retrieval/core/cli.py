"""Code that all commands share: parsing, exit codes, one-line error messages."""

import dataclasses
import datetime
import functools
import gc
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from .errors import UserError
from .text import printable

T = TypeVar("T")

DONE, USER_CAN_MEND, CTRL_C = 0, 2, 130  # exit codes; Python itself exits with 1 after a traceback (a bug)
TRAIN = frozenset(("torch", "torchvision", "onnxscript", "safetensors", "matplotlib", "yaml"))  # of the extra "train"


def parse(
    arguments: type[T], prog: str, args: list[str] | None = None, default: T | None = None, examples: str = ""
) -> T:
    """Parse a command line into a dataclass; its docstrings are the help text.

    Exits, like argparse, after printing help or an error message.

    Args:
        arguments: The dataclass.
        prog: Name of the command.
        args: The arguments; default ``sys.argv[1:]``.
        default: Values for options that are not given; default those of the dataclass.
        examples: Text below the help.

    Returns:
        The parsed arguments.
    """
    prog = f"python -m simsiam_retrieval.{prog}"
    _make_openmp_threads_sleep()
    # typeguard, which tyro uses, would read the metadata of every installed package to look for plug-ins
    os.environ.setdefault("TYPEGUARD_DISABLE_PLUGIN_AUTOLOAD", "1")
    _check_defaults_without_typeguard()
    _name_optional_values(arguments)
    asked = sys.argv[1:] if args is None else args
    gc.disable()  # parsing makes many small objects, none of them in a large cycle: --help is 5 % faster
    try:
        if default is None:
            return tyro.cli(arguments, prog=prog, args=args)
        return tyro.cli(arguments, prog=prog, args=args, default=default)
    except SystemExit as end:
        if examples and not end.code and {"-h", "--help"} & set(asked):
            print(f"\n{examples}")
        raise
    finally:
        gc.enable()


@functools.cache
def _check_defaults_without_typeguard() -> None:
    """Make tyro see by itself that None and () fit ``X | None`` and ``tuple[X, ...]``.

    It asks typeguard (tyro 1.0), whose import takes 55 ms: a twelfth of a search in 10,000 images.
    """
    from tyro import _resolver

    ask_typeguard = getattr(_resolver, "is_instance", None)
    if ask_typeguard is None:  # another version of tyro
        return

    def is_instance(kind: Any, value: Any) -> bool:
        if value is None and get_origin(kind) in (UnionType, Union) and type(None) in get_args(kind):
            return True
        if value == () and get_origin(kind) is tuple and get_args(kind)[1:] == (...,):
            return True
        return ask_typeguard(kind, value)

    _resolver.is_instance = is_instance


def _make_openmp_threads_sleep() -> None:
    """Make OpenMP threads sleep while they wait for each other.

    By default they spin. If other programs use the cores, the thread that they wait for cannot run: on two busy cores,
    small matrix products took more than three times as long with spinning threads (torch 2.14, libgomp).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # must be set before torch and similar libraries are imported


_VALUES = {Path: "PATH", str: "TEXT", int: "N", float: "NUMBER", datetime.date: "YYYY-MM-DD"}


def _name_optional_values(arguments: type) -> None:
    """Show PATH in the help instead of {None}|PATH, and hide a default of None."""
    hints = get_type_hints(arguments, include_extras=True)
    for field in dataclasses.fields(arguments):
        hint = hints[field.name]
        inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            _name_optional_values(inner)
        # fields with an Annotated type keep their own help
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
    """Call a command's main function and exit the process.

    Exit codes: 0 success, 2 an error that the user can fix, 1 a bug, 130 Ctrl-C.

    Args:
        main: The function; returns an exit code or None.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # never fail on a character that the terminal cannot show
    try:
        code = main() or DONE
        if sys.stdout is not None:  # None if it was closed: >&-
            sys.stdout.flush()
    except UserError as error:
        remark(f"{_process_prefix()}error: {printable(str(error))}")
        code = USER_CAN_MEND
    except ModuleNotFoundError as error:
        if error.name not in TRAIN:
            raise
        remark(f"error: this needs {error.name}, of the training extra; run: pip install 'simsiam-retrieval[train]'")
        code = USER_CAN_MEND
    except KeyboardInterrupt:
        remark("stopped")
        code = CTRL_C
    except BrokenPipeError:  # the reader, for example `head`, has closed the pipe
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 -- otherwise Python prints an error at exit
        code = DONE
    except OSError as error:
        remark(f"error: {printable(str(error.filename or 'writing'))}: {error.strerror or error}")
        code = USER_CAN_MEND
    sys.exit(code)


def _process_prefix() -> str:
    """Prefix for messages of a process other than the first, if a launcher started several."""
    rank = os.environ.get("RANK", "0") if "TORCHELASTIC_RUN_ID" in os.environ else "0"
    return "" if rank == "0" else f"[process {rank}] "


def remark(text: str) -> None:
    """Print a message on stderr. Progress and messages go there; results go to stdout.

    Args:
        text: The message.
    """
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def remark_collection(given: object, folder: Path) -> None:
    """Print which collection is read, if none was named and there are several.

    Args:
        given: The collection that the user named, or None.
        folder: The collection that is read.
    """
    from .known_collections import known_collections

    known = known_collections() if given is None else []
    if len(known) > 1:
        name = next((one.name for one in known if one.path == folder), folder.name)
        remark(f"collection {printable(name)} ({printable(folder)})")


def remember_collection(folder: Path) -> None:
    """Make a collection the one that is searched; say so where another one was.

    Args:
        folder: The collection's folder.
    """
    from .known_collections import known_collections, last_collection, remember

    last, before = last_collection(), known_collections()
    remember(folder)
    if last == folder:
        return
    for one in before:
        if one.path == last and one.present:
            remark(
                f"search and app use {printable(folder)} now; to go back: "
                f"python -m simsiam_retrieval.collections use {printable(one.name)}"
            )
