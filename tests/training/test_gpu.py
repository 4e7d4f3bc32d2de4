"""Training on a GPU is training on a CPU, only faster; each check also runs on the CPU, so that it is known to work."""

import copy
import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.recipes import METHODS, recipe
from simsiam_retrieval.training.run_files import read_metrics
from simsiam_retrieval.training.run_folder import Run
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.trainer import pretrain
from tests.methods.test_methods import KINDS, step, tiny, views
from tests.support.small_runs import FAST, stop_in_step

DEVICES = [pytest.param("cpu"), pytest.param("cuda", marks=pytest.mark.gpu)]
# below 32 px a CPU trains in float32
SMALL = Config(image_size=24, store_size=36, batch_size=16, epochs=3, projector_dim=16, predictor_dim=8)


@pytest.fixture(autouse=True)
def _float32_means_float32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_step_of_each_method(name: str, device: str) -> None:
    """Loss, gradients and what the method keeps after a step, against the CPU."""
    model = tiny(name)
    there = copy.deepcopy(model).to(device)
    losses = []
    for each, where in ((model, "cpu"), (there, device)):
        output = each(*(x.to(where) for x in views()), step=step())
        output.loss.backward()
        each.after_update(step())
        losses.append(output.loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    found = dict(there.named_parameters())
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[key].grad.cpu(), parameter.grad, rtol=1e-3, atol=1e-5, msg=key)
    state = there.state_dict()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(state[key].cpu(), value, rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("device", DEVICES)
def test_a_backbone_s_features_and_gradients(device: str) -> None:
    torch.manual_seed(0)
    here = build_backbone("resnet18").train()
    there = copy.deepcopy(here).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(8, 3, 64, 64)
    y, y_there = here(x), there(x.to(device, memory_format=torch.channels_last))
    torch.testing.assert_close(y_there.cpu(), y, rtol=1e-3, atol=1e-4)
    for features in (y, y_there):
        features.square().mean().backward()
    for (key, a), b in zip(here.named_parameters(), there.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        assert (b.grad.cpu() - a.grad).norm() <= 1e-2 * a.grad.norm() + 1e-6, key


@pytest.mark.gpu
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_run_goes_on_from_its_checkpoint(method: str, few_photos: Path, tmp_path: Path) -> None:
    """Stopped in mid-epoch and resumed, against one in one go; a GPU's sums vary in their order."""
    own = {"queue_size": 40} if method == "moco-v2" else {}
    sizes = {name: getattr(SMALL, name) for name in ("image_size", "store_size", "batch_size", "projector_dim")}
    config = dataclasses.replace(recipe("photos", method), epochs=3, predictor_dim=8, **sizes, **own)
    config = dataclasses.replace(config, projector_hidden_dim=24)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert pretrain(config, [few_photos], Options(out=whole, device="cuda", workers=0))
    with pytest.MonkeyPatch.context() as patch:
        stop_in_step(patch, signal.SIGINT, 3)
        assert not pretrain(config, [few_photos], Options(out=parts, device="cuda", workers=0))
    assert Run(parts).load_checkpoint()["step"] in (3, 4)  # batches are made ahead of the loop
    assert pretrain(config, [], Options(resume=parts, device="cuda", workers=0))
    first, second = (read_metrics(path)[-1]["loss"] for path in (whole, parts))
    assert second == pytest.approx(first, rel=0.05, abs=0.02)
    assert Run(whole).read()["device"]["type"] == "cuda"


@pytest.mark.gpu
def test_a_compiled_network_learns_as_an_uncompiled_one(few_photos: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, image_size=32, store_size=48, epochs=20, base_lr=0.3)
    losses = []
    for compiled in (False, True):
        out = tmp_path / str(compiled)
        assert pretrain(config, [few_photos], Options(out=out, device="cuda", workers=0, compile=compiled))
        losses.append([row["loss"] for row in read_metrics(out)])
    assert losses[1][0] == pytest.approx(losses[0][0], abs=0.1)
    assert losses[1][-1] < losses[1][0]


@pytest.mark.gpu
def test_a_run_on_a_gpu(few_photos, tmp_path):
    config = dataclasses.replace(FAST, batch_size=38, epochs=40, base_lr=0.6, projector_dim=128, predictor_dim=32)
    assert pretrain(config, [few_photos], Options(out=tmp_path / "run", device="cuda", workers=0))
    rows = read_metrics(tmp_path / "run")
    assert rows[-1]["loss"] < -0.2 and rows[-1]["std"] > 0.9
    assert Run(tmp_path / "run").read()["device"]["type"] == "cuda"
