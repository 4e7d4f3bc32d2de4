"""``--init``: training starts from given weights."""

import json
from pathlib import Path

import pytest
import torch
from commands import Command

from simsiam_retrieval.encoder import default_encoder_file
from simsiam_retrieval.errors import UserError
from simsiam_retrieval.siamese.folded import backbone_from_onnx
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.initial import initial_backbone
from simsiam_retrieval.training.options import Options
from simsiam_retrieval.training.pretraining import pretrain
from simsiam_retrieval.training.run import load_backbone

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


def test_init_and_resume_exclude_each_other(run: Command, run_dir: Path) -> None:
    done = run("pretrain", "--resume", run_dir, "--init", "default")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "--init" in done.stderr
