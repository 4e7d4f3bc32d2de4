"""What can be wrong with a run that is to continue: damaged files, other images, other settings, two writers."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.training import training_images
from simsiam_retrieval.training.run_folder import Run
from tests.support.small_runs import FAST, FAST_OPTIONS, Command, contents, refused, train

pytestmark = pytest.mark.usefixtures("rows_by_epoch")


def resuming_is_refused(command: Command, run: Path, *words: str) -> None:
    before = contents(run)
    refused(command("--resume", run, "--device", "cpu", "--workers", "0"), *words)
    assert contents(run) == before


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"[]", b"null", b'"text"', b"{}", b'{"config": null}', b'{"config": []}'],
    ids=repr,
)
def test_a_damaged_config(command, stopped, content):
    (stopped / "config.json").write_bytes(content)
    resuming_is_refused(command, stopped, "config.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", "large"),
        ("image_size", None),
        ("image_size", 16.5),
        ("image_size", 1),
        ("backbone", "resnet99"),
        ("stem", 3),
        ("epochs", [1]),
        ("invented_by_a_newer_version", 1),
    ],
)
def test_a_config_with_a_value_that_cannot_be(command, stopped, name, value):
    described = json.loads((stopped / "config.json").read_text())
    described["config"][name] = value
    (stopped / "config.json").write_text(json.dumps(described))
    resuming_is_refused(command, stopped)


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "half", "flipped", "zeros", "list", "keys", "folder"])
def test_a_damaged_checkpoint(command, stopped, damage):
    file = stopped / "checkpoint.pt"
    whole = file.read_bytes()
    file.unlink()
    match damage:
        case "empty":
            file.write_bytes(b"")
        case "text":
            file.write_text("a checkpoint, once")
        case "half":
            file.write_bytes(whole[: len(whole) // 2])
        case "flipped":  # the pickle's opcodes, which come first in the archive
            place = whole.index(b"data.pkl") + 100
            file.write_bytes(
                whole[:place] + bytes(255 - byte for byte in whole[place : place + 64]) + whole[place + 64 :]
            )
        case "zeros":
            file.write_bytes(bytes(10_000))
        case "list":
            torch.save([1, 2, 3], file)
        case "keys":
            torch.save({"step": 3}, file)
        case "folder":
            file.mkdir()
            with pytest.raises(UserError):
                Run(stopped).load_checkpoint()
            return
    resuming_is_refused(command, stopped, "checkpoint.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_random_bytes_are_never_more_than_a_damaged_checkpoint(tmp_path):
    """Corrupted archives and streams of pickle opcodes: UserError or a value, nothing else."""
    run = Run(tmp_path)
    torch.save({"step": 3, "model": {"weight": torch.arange(20.0)}}, run.checkpoint_file)
    zipped = run.checkpoint_file.read_bytes()
    torch.save({"step": 3, "model": torch.arange(20.0)}, run.checkpoint_file, _use_new_zipfile_serialization=False)
    legacy = run.checkpoint_file.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(200):
        for whole in (zipped, legacy):
            data = bytearray(whole)
            for place in random.integers(0, len(data), random.integers(1, 8)):
                data[place] = random.integers(0, 256)
            run.checkpoint_file.write_bytes(
                data[: random.integers(1, len(data) + 1)] if random.random() < 0.3 else data
            )
            try:
                run.load_checkpoint()
            except UserError as error:
                assert "\n" not in str(error)


def test_a_checkpoint_never_runs_code(tmp_path):
    """A pickle that would make a folder when loaded is refused instead."""

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made-by-a-checkpoint"),)

    run = Run(tmp_path)
    torch.save({"step": Malicious()}, run.checkpoint_file)
    with pytest.raises(UserError):
        run.load_checkpoint()
    assert not (tmp_path / "made-by-a-checkpoint").exists()


@pytest.mark.parametrize("other", [{"backbone": "resnet34"}, {"projector_dim": 24}, {"stem": "cifar"}])
def test_a_checkpoint_of_another_configuration(command, stopped, other):
    described = json.loads((stopped / "config.json").read_text())
    described["config"].update(other)
    (stopped / "config.json").write_text(json.dumps(described))
    resuming_is_refused(command, stopped, "checkpoint.pt", "another run")


def test_images_that_have_changed(command, few_photos, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(few_photos / "birds", data)
    Image.new("RGB", (40, 40)).save(data / "black.png")
    run = train(dataclasses.replace(FAST, epochs=1), data, tmp_path / "run").path
    Image.new("RGB", (40, 40), "red").save(data / "black.png")
    resuming_is_refused(command, run, "have changed")
    shutil.rmtree(data)
    resuming_is_refused(command, run, str(data))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "2"], ["--epochs", "larger"]),
        (["--base-lr", "0.1", "--seed=3"], ["--base-lr", "--seed"]),
        (["--out", "elsewhere"], ["--out"]),
    ],
)
def test_resume_goes_on_under_the_run_s_own_settings(command, stopped, arguments, words):
    before = contents(stopped)
    refused(command("--resume", stopped, *arguments, "--device", "cpu"), *words)
    assert contents(stopped) == before and list(Path.cwd().iterdir()) == []


def test_resume_with_the_same_settings_spelt_out(command, stopped):
    assert command("--resume", stopped, *FAST_OPTIONS, "--device", "cpu", "--workers", "0").code == 0


def test_a_run_that_another_process_writes_to(command, stopped):
    with FileLock(stopped / ".lock"):
        resuming_is_refused(command, stopped, "another process")
    assert command("--resume", stopped, "--device", "cpu", "--workers", "0").code == 0


def test_two_new_runs_on_one_folder_at_once(command, few_photos, tmp_path, finished, monkeypatch):
    """The other run appears, and ends, while this one still decodes: it must not be overwritten."""
    out = tmp_path / "out"
    load = training_images.load_store

    def slowly(*args, **options):
        shutil.copytree(finished.path, out)
        return load(*args, **options)

    monkeypatch.setattr(training_images, "load_store", slowly)
    outcome = command(few_photos, "--out", out, "--device", "cpu", "--workers", "0", *FAST_OPTIONS, "--seed", "5")
    refused(outcome, str(out))
    assert contents(out) == contents(finished.path)
