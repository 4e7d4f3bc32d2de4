"""Making and storing the map of a collection, here or in a process of its own.

openTSNE holds Python's lock for many seconds at a time; a server that made maps itself would answer nobody meanwhile.
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
    """Lay out all images of a collection in the plane and store that beside its catalog.

    Raises :class:`UserError` where it is no collection, it cannot be written, or openTSNE is not installed.
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
    """:func:`make_map` in a process of its own, which an exception from ``on_progress`` ends."""
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
    """Told a folder, tell the progress line by line; a reader that goes away ends the work."""
    if hasattr(os, "nice"):
        os.nice(5)  # those who look at pages come first

    def tell(done: float) -> None:
        print(f"{done:.4f}", flush=True)

    try:
        make_map(Path(sys.argv[1]), tell)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stdout = None  # nothing left to tell at exit
        sys.exit(1)


if __name__ == "__main__":
    main()
