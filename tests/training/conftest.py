"""Runs and the command that the tests of training share."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from simsiam_retrieval import pretrain as command_module
from simsiam_retrieval.core import cli
from simsiam_retrieval.training import training_report
from simsiam_retrieval.training.run_folder import Run
from tests.conftest import MadeOnce
from tests.support.small_runs import FAST, Command, Outcome, train


@pytest.fixture
def rows_by_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine would add rows in mid-epoch; no test cuts the power, so none waits for the disk."""
    monkeypatch.setattr(training_report, "ROW_SECONDS", 1e9)
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(scope="session")
def finished(few_photos: Path, made_once: MadeOnce) -> Run:
    """An undisturbed run of ``FAST``; read only."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training_report, "ROW_SECONDS", 1e9)
            train(FAST, few_photos, folder)

    return Run(made_once("pretrain/finished", make))


@pytest.fixture
def stopped(finished: Run, tmp_path: Path) -> Path:
    """A copy of a run, to be spoilt."""
    return Path(shutil.copytree(finished.path, tmp_path / "stopped"))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``python -m simsiam_retrieval.pretrain`` with these arguments, in this process and an empty folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["pretrain", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.run(command_module.main)
        out, err = capsys.readouterr()
        assert isinstance(exit_.value.code, int)
        return Outcome(exit_.value.code, out, err)

    return call
