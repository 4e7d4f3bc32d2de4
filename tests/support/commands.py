"""Commands run in the tests' own process, and how they end when the user can mend it."""

import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
Command = Run


def runner(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Like ``run_command``, but in this process: it saves the second that Python needs to start."""

    def run(name: str, *args: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, args)])
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "120")
        capsys.readouterr()
        try:
            with warnings.catch_warnings(action="ignore"):  # of a module that runs for the second time
                runpy.run_module(f"simsiam_retrieval.{name}", run_name="__main__")
        except SystemExit as end:
            return subprocess.CompletedProcess(sys.argv, int(end.code or 0), *capsys.readouterr())
        raise AssertionError("no exit")

    return run


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert that a command ended as it should when the user can mend it: code 2 and one line."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def table(made: Path, query: object, k: int) -> str:
    """What ``search`` should print."""
    from simsiam_retrieval import Collection  # here: tests of training run where FAISS is not installed

    with Collection.open(made) as collection:
        hits = collection.search(Path(str(query)), k=k)
    weak = {False: "~", True: " ", None: " "}
    lines = (f"{hit.rank:4d}  {hit.score:6.3f}{weak[hit.above_noise]} {hit.path}\n" for hit in hits)
    return f"{query}\n" + "".join(lines)
