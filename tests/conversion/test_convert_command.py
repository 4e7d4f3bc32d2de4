"""The command ``convert``."""

import sys
import zipfile
from pathlib import Path

import pytest
import torch

from simsiam_retrieval import pretrain as pretrain_command
from simsiam_retrieval.conversion.write_run import convert
from simsiam_retrieval.core.errors import UserError
from tests.support.commands import Command
from tests.support.other_programs import SoloLearn, assert_same_features, bare, converted, saved, trained_looking


def test_the_command(run: Command, tmp_path: Path) -> None:
    source = trained_looking(SoloLearn(cifar=True))
    saved({"state_dict": source.state_dict(), "optimizer_states": [torch.zeros(2)]}, tmp_path / "solo.ckpt")
    done = run("convert", "solo.ckpt", "runs/solo", "--mean", 0.4914, 0.4822, 0.4465, "--licence", "MIT")
    assert (done.returncode, done.stdout) == (0, "runs/solo\n")
    for expected in (
        "solo-learn layout: ResNet-18, cifar-pad2 stem, images at 32 px",
        "classifier.weight (10, 512): classifier",
        "beside the network, not read: optimizer_states (1 tensors)",
        "python -m simsiam_retrieval.export runs/solo",
    ):
        assert expected in done.stderr
    assert_same_features(tmp_path / "runs" / "solo", source.features)
    (tmp_path / "page.pth").write_text("<html>")
    page = run("convert", "page.pth", "runs/page")
    assert page.returncode == 2 and page.stderr.startswith("error: page.pth: a web page") and page.stdout == ""
    assert not (tmp_path / "runs" / "page").exists()


def test_the_command_refuses_to_resume_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted(bare(), tmp_path)
    monkeypatch.setattr(sys, "argv", ["pretrain", "--resume", str(tmp_path / "run")])
    with pytest.raises(UserError, match="converted weights") as refused:
        pretrain_command.main()
    assert "\n" not in str(refused.value) and f"--init {tmp_path / 'run'}" in str(refused.value)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint.pt", "config.json"]


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("photo.jpg", b"123")
    with pytest.raises(UserError, match="not a checkpoint"):
        convert(tmp_path / "w.pt", tmp_path / "run")
