"""Worker processes end without a word, however early."""

import multiprocessing
import time
from pathlib import Path

import pytest

from simsiam_retrieval.images import worker_pool
from simsiam_retrieval.images.worker_pool import Workers

SECONDS = 60


class LateStart:
    """Arguments of a worker. Of all workers, only the first gets them at once; the others wait for a file ``go``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return arrive, (self.folder,)


def arrive(folder: Path) -> Path:
    """Unpickle the arguments, in a worker; its locks come after them."""
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        wait_for(folder / "go")
    return folder


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def note(folder: Path) -> None:
    """Tell that a worker has started: the file ``go`` shows whether it is a late one."""
    if (folder / "go").exists():
        (folder / "started").touch()


def doubled(numbers: list[int]) -> list[int]:
    return [2 * number for number in numbers]


def test_a_worker_that_is_still_starting_when_the_work_is_done_ends_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ended: list[int | None] = []
    end = worker_pool._Process.terminate

    def terminate(process: worker_pool._Process) -> None:
        """Let the late worker go on before anybody is ended."""
        (tmp_path / "go").touch()
        deadline = time.monotonic() + SECONDS
        while not (tmp_path / "started").exists() and multiprocessing.active_children():  # the first may end by itself
            assert time.monotonic() < deadline
            time.sleep(0.01)
        ended.append(process.pid)
        end(process)

    monkeypatch.setattr(worker_pool._Process, "terminate", terminate)
    with Workers(2, initializer=note, initargs=(LateStart(tmp_path),)) as workers:
        assert list(workers.map_chunks(doubled, [1, 2], lost=lambda item, reason: -1)) == [[2, 4]]
    assert len(ended) == 2 and (tmp_path / "started").exists()
    assert capfd.readouterr() == ("", "")
