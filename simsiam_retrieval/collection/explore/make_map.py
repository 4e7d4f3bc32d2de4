"""Computing and storing the map of a collection, in this process or in a separate one.

openTSNE holds Python's global lock for many seconds at a time. A server that computed maps itself could not answer
during that time.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from ...core.errors import UserError
from ..collection import Collection
from .projection import OnProgress, Projection, project, save


def make_map(folder: Path, on_progress: OnProgress = lambda done: None) -> None:
    """Compute the map of a collection, and store it next to the catalog.

    Args:
        folder: The collection's folder.
        on_progress: Called with the finished fraction.

    Raises:
        UserError: It is no collection, it cannot be written, or openTSNE is not installed.
    """
    with Collection.open(folder) as collection:
        while True:
            generation = collection.generation
            ids, vectors = collection.vectors()
            if collection.generation == generation:  # else an update came between
                break
        found = Projection(ids, project(vectors, on_progress))
        if not save(collection.folder, generation, collection.encoder_identity, found):
            raise UserError(f"{folder}: the map cannot be stored there (no permission to write, or the disk is full)")


def make_map_apart(folder: Path, on_progress: OnProgress) -> None:
    """Run ``make_map`` in a separate process.

    Args:
        folder: The collection's folder.
        on_progress: Called with the finished fraction; an exception that it raises ends the process.

    Raises:
        UserError: As in ``make_map``.
    """
    command = [sys.executable, "-m", __name__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            for line in process.stdout:
                with contextlib.suppress(ValueError):
                    on_progress(float(line))
        except BaseException:
            process.terminate()
            raise
        complaints = process.stderr.read().decode(errors="replace").strip()
    if process.returncode == 2 and complaints:
        raise UserError(complaints.splitlines()[-1])
    if process.returncode:
        raise RuntimeError(f"making the map ended with {process.returncode}: {complaints[-2000:]}")


def main() -> None:
    """Compute the map of the folder on the command line, and print the progress; if the reader goes away, stop."""
    if hasattr(os, "nice"):
        os.nice(5)  # the server that shows pages has priority

    def tell(done: float) -> None:
        print(f"{done:.4f}", flush=True)

    try:
        make_map(Path(sys.argv[1]), tell)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stdout = None  # prevents an error at exit
        sys.exit(1)


if __name__ == "__main__":
    main()
