"""What all commands share: parsing, exit codes, one line for what went wrong."""

import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import tyro

from .errors import UserError
from .text import printable

if TYPE_CHECKING:
    from .encoder import Encoder

T = TypeVar("T")

DONE, USER_CAN_MEND, CTRL_C = 0, 2, 130  # 1, our fault, is what a traceback ends with


def parse(arguments: type[T], prog: str, args: list[str] | None = None, default: T | None = None) -> T:
    """Parse a command line into the dataclass ``arguments``; its docstrings are the help text.

    Prints help, or one complaint, and exits where argparse would.
    """
    prog = f"python -m simsiam_retrieval.{prog}"
    if default is None:
        return tyro.cli(arguments, prog=prog, args=args)
    return tyro.cli(arguments, prog=prog, args=args, default=default)


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


def remark_device(encoder: "Encoder", asked: str | None) -> None:
    """Say what computes, where somebody asked for it (``--device``) or a GPU is there to be taken."""
    from .encoder import gpu_present

    if asked is not None or encoder.device != "cpu" or gpu_present():
        remark(encoder.took)


def remark(text: str) -> None:
    """Say something on stderr: progress and remarks go there, results to stdout."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)
