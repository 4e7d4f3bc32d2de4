"""The command ``pretrain``: what it prints, and what it refuses in one line."""

import os
import shutil
from pathlib import Path

import pytest

from simsiam_retrieval.training.run_folder import Run
from tests.support.small_runs import FAST_OPTIONS, refused, same, state

pytestmark = pytest.mark.usefixtures("rows_by_epoch")


def test_the_command_trains_and_prints_the_run_folder(command, few_photos, tmp_path, finished):
    outcome = command(few_photos, "--out", tmp_path / "run", "--device", "cpu", "--workers", "0", *FAST_OPTIONS)
    assert outcome.code == 0
    assert outcome.out == f"{tmp_path / 'run'}\n"
    assert f"python -m simsiam_retrieval.export {tmp_path / 'run'}" in outcome.err
    assert same(state(tmp_path / "run"), state(finished))


def test_without_out_a_new_folder_under_runs(command, few_photos):
    outcome = command(few_photos, "--device", "cpu", "--workers", "0", *FAST_OPTIONS, "--epochs", "0")
    assert outcome.code == 0
    folder = Path(outcome.out.strip())
    assert folder.parent == Path("runs") and (folder / "config.json").is_file()


def test_options_override_a_recipe(command, few_photos, tmp_path):
    options = [*FAST_OPTIONS, "--recipe", "cifar", "--epochs", "0", "--device", "cpu", "--workers", "0"]
    assert command(few_photos, "--out", tmp_path / "run", *options).code == 0
    written = Run(tmp_path / "run").config()
    assert (written.recipe, written.stem, written.base_lr, written.weight_decay) == ("cifar", "cifar", 0.03, 5e-4)
    assert (written.epochs, written.image_size, written.projector_dim) == (0, 20, 16)


def test_broken_images_are_named_and_left_out(command, photos, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(photos / "birds", data)
    (data / "broken.jpg").write_bytes(b"no picture")
    outcome = command(data, "--out", tmp_path / "run", "--device", "cpu", "--workers", "0", *FAST_OPTIONS)
    assert outcome.code == 0
    assert "1 files left out" in outcome.err and "broken.jpg: not an image" in outcome.err
    assert Run(tmp_path / "run").read()["data"]["rejected"] == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--epohcs", "3"], "--epochs"),
        (["--backbone", "resnet99"], "resnet50"),
        (["--epochs", "many"], "--epochs"),
        (["--method", "dino"], "simsiam"),
    ],
)
def test_misspelt_options_are_explained(command, arguments, hint):
    outcome = command(*arguments)
    assert outcome.code == 2 and outcome.out == ""
    assert hint in outcome.err and "Traceback" not in outcome.err
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "imagnet"], ["imagnet", "imagenet"]),
        (["--recipe=nothing"], ["nothing", "photos"]),
        (["--image-size", "4"], ["--image-size 4", "8 to 1024"]),
        (["--image-size", "4000"], ["--image-size 4000"]),
        (["--batch-size", "1"], ["--batch-size 1"]),
        (["--epochs", "-1"], ["--epochs -1"]),
        (["--base-lr", "nan"], ["--base-lr nan"]),
        (["--base-lr", "-0.1"], ["--base-lr"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--seed", str(2**40)], ["--seed"]),
        (["--min-scale", "0"], ["--min-scale"]),
        (["--blur", "1.5"], ["--blur 1.5"]),
        (["--projector-layers", "0"], ["--projector-layers 0"]),
        (["--predictor-dim", "0"], ["--predictor-dim 0"]),
        (["--device", "cuda:99"], ["--device cuda:99"]),
        (["--device", "toaster"], ["--device toaster"]),
        (["--device", "meta"], ["--device meta"]),
        (["no-such-folder"], ["no-such-folder", "no such file or folder"]),
        (["--resume", "no-such-run"], ["no-such-run", "not a run folder"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_the_user_can_mend(command, arguments, words):
    refused(command(*arguments), *words)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [{}, {"notes.txt": b"words"}, {"a.jpg": b"no picture", "b.png": b""}],
    ids=["empty", "other files", "broken images"],
)
def test_a_folder_without_images(command, tmp_path, content):
    data = tmp_path / "data"
    data.mkdir()
    for name, body in content.items():
        (data / name).write_bytes(body)
    refused(command(data, "--out", "run", "--workers", "0"), "image")
    refused(command(data, "--workers", "0"), "image")
    assert list(Path.cwd().iterdir()) == []


def test_one_image_is_not_enough(command, photos):
    photo = photos / "birds" / "kingfisher.jpg"
    refused(command(photo, "--out", "run", "--workers", "0", "--device", "cpu"), "one image")
    assert list(Path.cwd().iterdir()) == []


def test_a_folder_whose_name_is_not_utf8(command, photos, tmp_path):
    data = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(photos / "birds", data)
    outcome = command(data, "--out", "run", "--device", "cpu", "--workers", "0", *FAST_OPTIONS, "--epochs", "1")
    assert outcome.code == 0
    assert command("--resume", "run", "--device", "cpu", "--workers", "0").code == 0


@pytest.mark.parametrize("kind", ["run", "other folder", "file"])
def test_out_that_is_in_use(command, few_photos, tmp_path, finished, kind):
    out = tmp_path / "out"
    if kind == "run":
        shutil.copytree(finished.path, out)
    elif kind == "other folder":
        (out / "thesis").mkdir(parents=True)
    else:
        out.write_text("thesis")
    before = sorted(tmp_path.rglob("*"))
    refused(command(few_photos, "--out", out, "--workers", "0"), str(out), "--out")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_diverging_run_says_so(command, few_photos, finished):
    options = [*FAST_OPTIONS, "--epochs", "30", "--base-lr", "1000", "--momentum", "0.99", "--weight-decay", "1"]
    outcome = command(few_photos, "--out", "run", "--device", "cpu", "--workers", "0", *options)
    refused(outcome, "not a number", "--base-lr")
    # no checkpoint is written of such a run: it can start over, with other settings or with its own
    assert not Path("run/checkpoint.pt").exists()
    refused(command("--resume", "run", "--device", "cpu", "--workers", "0"), "not a number")
    assert command(few_photos, "--out", "run", "--device", "cpu", "--workers", "0", *FAST_OPTIONS).code == 0
    assert same(state(Path("run")), state(finished))
    assert Run(Path("run")).config() == finished.config()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--method", "byol", "--similarity", "cross-entropy"],
            "--similarity belongs to --method simsiam, not",
        ),
        (["--method", "moco-v2", "--no-stop-gradient"], "--no-stop-gradient belongs to --method simsiam or simclr or"),
        (["--queue-size", "9"], "--queue-size belongs to --method moco-v2, not to simsiam"),
        (["--alternation", "5", "--eta-average", "0.8"], "choose one"),
        (["--alternation", "5", "--no-stop-gradient"], "has no effect with"),
        (["--method", "moco-v2", "--batch-size", "12"], "--batch-size 16 does"),
    ],
)
def test_settings_of_another_method_are_refused(command, few_photos, tmp_path, arguments, words):
    outcome = command(few_photos, "--out", tmp_path / "run", *FAST_OPTIONS, *arguments)
    refused(outcome, words)
    assert not (tmp_path / "run").exists()
