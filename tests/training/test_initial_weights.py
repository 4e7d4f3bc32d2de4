"""``--init``: training starts from given weights."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from simsiam_retrieval.export.export_run import export_run  # pyright: ignore[reportMissingImports]

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.encoder.find_encoder import default_encoder_file
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.methods.backbone import build_backbone, with_stages_of
from simsiam_retrieval.methods.bn_folding import backbone_from_onnx
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.initial_weights import initial_backbone, initial_facts
from simsiam_retrieval.training.run_folder import load_backbone
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.trainer import pretrain
from tests.support.commands import Command

STILL = Config(image_size=32, batch_size=16, epochs=0, projector_dim=64, predictor_dim=32)


@pytest.mark.parametrize("source", ["run", "encoder", "default"])
def test_a_run_begins_with_the_given_weights(
    source: str, run_dir: Path, encoder_file: Path, few_photos: Path, tmp_path: Path
) -> None:
    init = {"run": str(run_dir), "encoder": str(encoder_file), "default": "default"}[source]
    assert pretrain(STILL, [few_photos], Options(out=tmp_path / "run", init=init, device="cpu", workers=0))
    begun, _ = load_backbone(tmp_path / "run")
    if source == "run":
        expected = load_backbone(run_dir)[0]
    else:
        expected = backbone_from_onnx(encoder_file if source == "encoder" else default_encoder_file())
    for name, value in expected.state_dict().items():
        assert torch.equal(begun.state_dict()[name], value), name
    assert json.loads((tmp_path / "run" / "config.json").read_text())["init"] == init


def test_without_init_it_begins_elsewhere(run_dir: Path, few_photos: Path, tmp_path: Path) -> None:
    assert pretrain(STILL, [few_photos], Options(out=tmp_path / "run", device="cpu", workers=0))
    begun, given = load_backbone(tmp_path / "run")[0], load_backbone(run_dir)[0]
    assert not torch.equal(begun.state_dict()["conv1.weight"], given.state_dict()["conv1.weight"])


@pytest.mark.parametrize(
    ("config", "init", "said"),
    [
        (Config(backbone="resnet34"), "default", "--backbone resnet18"),
        (Config(stem="cifar"), "default", "--stem imagenet"),
        (Config(), "nowhere.onnx", "nowhere.onnx"),
    ],
)
def test_weights_that_do_not_fit_are_refused(config: Config, init: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        initial_backbone(init, config)


def test_a_shorter_network_takes_the_first_stages_of_a_longer_one_and_back() -> None:
    whole = build_backbone("resnet18").state_dict()
    short = with_stages_of(build_backbone("resnet18"), "resnet18-3stages")
    short.load_state_dict({name: whole[name] for name in short.state_dict()})
    assert not any(name.startswith("layer4") for name in short.state_dict())
    again = with_stages_of(short, "resnet18").state_dict()
    assert again.keys() == whole.keys()
    for name, value in again.items():
        assert torch.equal(value, whole[name]) or name.startswith("layer4"), name
    fresh = with_stages_of(short, "resnet18").state_dict()
    assert all(torch.equal(again[name], fresh[name]) for name in again), "what it lacks is the same every time"
    with pytest.raises(ValueError, match="resnet34"):
        with_stages_of(short, "resnet34")


def test_init_of_a_shorter_network_from_the_shipped_encoder() -> None:
    begun = initial_backbone("default", Config(backbone="resnet18-3stages")).state_dict()
    shipped = backbone_from_onnx(default_encoder_file()).state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in begun.items())


def test_a_run_of_small_views_is_exported_at_the_size_of_what_it_began_from(few_photos: Path, tmp_path: Path) -> None:
    shipped = Encoder(default_encoder_file(), device="cpu")
    before = "default"
    for name in ("first", "second"):  # a run that begins with a run keeps it, too
        config = dataclasses.replace(STILL, backbone="resnet18-3stages")
        options = Options(out=tmp_path / name, init=before, device="cpu", workers=0)
        assert pretrain(config, [few_photos], options)
        before = str(tmp_path / name)
    export_run(tmp_path / "second", tmp_path / "own.onnx")
    own = Encoder(tmp_path / "own.onnx", device="cpu")
    assert own.image_size == shipped.image_size > STILL.image_size
    blocks = own.metadata["features"].split(",")
    assert blocks == shipped.metadata["features"].split(",")[: len(blocks)]
    export_run(tmp_path / "second", tmp_path / "small.onnx", image_size=48)
    assert Encoder(tmp_path / "small.onnx", device="cpu").image_size == 48


def test_a_run_of_views_as_large_keeps_their_size(few_photos: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(STILL, backbone="resnet18-3stages", image_size=72)
    assert "embed_at" not in initial_facts("default", config)


def test_init_and_resume_exclude_each_other(run: Command, run_dir: Path) -> None:
    done = run("pretrain", "--resume", run_dir, "--init", "default")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "--init" in done.stderr
