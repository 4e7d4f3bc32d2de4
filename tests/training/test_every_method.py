"""Each method trains and resumes, as a run."""

import dataclasses
import math
import signal
from pathlib import Path

import pytest

from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.training.recipes import METHODS, recipe
from simsiam_retrieval.training.run_files import read_metrics
from simsiam_retrieval.training.run_folder import load_backbone
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.trainer import pretrain
from tests.support.small_runs import same, state, stop_in_step, train

pytestmark = pytest.mark.usefixtures("rows_by_epoch")


METHOD_SIZES = {"projector_hidden_dim": 24, "projector_dim": 12, "predictor_dim": 8}


@pytest.mark.parametrize("method", [name for name in METHODS if name != "simsiam"])
def test_every_method_trains_and_resumes(method: str, few_photos: Path, tmp_path: Path) -> None:
    """To the bit, with the queue or prototypes that it keeps; its backbone is one like any, for all that follows."""
    config = dataclasses.replace(recipe("simsiam", method), image_size=20, store_size=20, batch_size=16, epochs=2)
    config = dataclasses.replace(config, **METHOD_SIZES, **({"queue_size": 40} if method == "moco-v2" else {}))
    whole = train(config, few_photos, tmp_path / "whole")
    first = tmp_path / "first"
    with pytest.MonkeyPatch.context() as patch:
        stop_in_step(patch, signal.SIGINT, 3)
        assert not pretrain(config, [few_photos], Options(out=first, device="cpu", workers=0))
    assert pretrain(config, [], Options(resume=first, device="cpu", workers=0))
    assert same(state(first)["model"], state(whole)["model"])
    assert math.isfinite(read_metrics(whole.path)[-1]["loss"])
    backbone, _ = load_backbone(whole.path)
    plain = build_backbone("resnet18")
    assert [type(module) for module in backbone.modules()] == [type(module) for module in plain.modules()]
