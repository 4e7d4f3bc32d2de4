"""Heads and their numbers: nothing is dropped in silence; weights become float32."""

from pathlib import Path

import pytest
import torch
from torch import nn

from simsiam_retrieval.convert import left_out_lines
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.methods.simsiam import SimSiam
from simsiam_retrieval.training.run_files import read_description
from simsiam_retrieval.training.run_folder import Run
from tests.support.other_programs import (
    LightlyLike,
    Reference,
    assert_same_features,
    bare,
    converted,
    mlp,
    model_of,
    trained_looking,
)


def test_momentum_copies_and_queues_are_listed(tmp_path: Path) -> None:
    state = bare("cifar")
    online = {f"encoder_q.{name}": value for name, value in state.items()}
    copy = {f"encoder_k.{name}": torch.zeros_like(value) for name, value in state.items()}
    found = converted({**copy, **online, "queue": torch.zeros(4, 8), "temperature": torch.tensor(1.0)}, tmp_path)
    assert found.network.backbone.prefix == "encoder_q."
    assert {found.network.left_out[name] for name in copy} == {"momentum copy"}
    assert found.network.left_out["queue"] == "memory bank"
    assert found.network.left_out["temperature"] == "no part of the backbone"
    assert len(found.network.left_out) == len(copy) + 2
    lines = left_out_lines(found.network.left_out, found.shapes)
    assert lines == [
        f"encoder_k.* ({len(copy)} tensors): momentum copy",
        "queue (4, 8): memory bank",
        "temperature (): no part of the backbone",
    ]
    listed = read_description(tmp_path / "run")["converted"]["left_out"]
    assert listed == found.network.left_out


@pytest.mark.parametrize(
    ("projector", "why"),
    [
        (mlp(512, 32, 32, last_bn=True, last_bias=False, affine=True), "scale and shift"),
        (mlp(512, 24, 16, 32, last_bn=True, last_bias=False), "differ in width"),
        (mlp(64, 32, 32, last_bn=True, last_bias=False), "not (32, 512)"),
        (nn.Sequential(nn.Linear(512, 32), nn.LayerNorm(32), nn.Linear(32, 32)), "neither linear nor batch"),
        (mlp(512, *[32] * 9, last_bn=True, last_bias=False), "too many"),
    ],
)
def test_heads_of_another_shape_are_left_out_with_the_reason(
    projector: nn.Sequential, why: str, tmp_path: Path
) -> None:
    source = trained_looking(LightlyLike(18, projector))
    found = converted(source.state_dict(), tmp_path)
    heads = {name for name in source.state_dict() if "head" in name}
    assert set(found.network.left_out) == heads and found.network.heads is None
    assert all(reason.startswith("head: ") and why in reason for reason in found.network.left_out.values())
    assert_same_features(tmp_path / "run", source.features)
    assert read_description(tmp_path / "run")["converted"]["heads"].startswith("none")


def test_a_projector_without_predictor_is_left_out(tmp_path: Path) -> None:
    state = {name: value for name, value in Reference(18).state_dict().items() if "predictor" not in name}
    found = converted(state, tmp_path)
    assert set(found.network.left_out) == {name for name in state if ".fc." in name}
    assert "no predictor" in next(iter(found.network.left_out.values()))


@pytest.mark.parametrize("placement", ["none", "hidden", "all"])
def test_other_bn_placements_are_recognised(placement: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = trained_looking(
        SimSiam(build_backbone("resnet18"), 512, dim=32, projector_hidden_dim=16, predictor_hidden_dim=8, bn=placement)
    )
    found = converted(model.state_dict(), tmp_path)
    assert not found.network.left_out
    assert Run(tmp_path / "run").config().head_bn == placement
    assert read_description(tmp_path / "run")["converted"]["method"] == "unknown"
    z = torch.randn(5, 512)
    with torch.no_grad():
        assert torch.equal(model_of(tmp_path / "run").projector(z), model.projector(z))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in bare().items()}
    converted(state, tmp_path)
    written = Run(tmp_path / "run").load_checkpoint()["model"]
    for name, value in state.items():
        kept = written[f"backbone.{name}"]
        assert kept.dtype == (torch.float32 if value.is_floating_point() else torch.int64)
        assert torch.equal(kept.double(), value.double().to(torch.float32).double())


def test_files_without_batch_counters(tmp_path: Path) -> None:
    source = trained_looking(Reference(18))
    state = {name: value for name, value in source.state_dict().items() if "num_batches" not in name}
    assert not converted(state, tmp_path).network.left_out
    assert_same_features(tmp_path / "run", source.features)
    assert model_of(tmp_path / "run").projector[1].num_batches_tracked == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("layer2.0.conv1.weight", float("nan"), "layer2.0.conv1.weight contains NaN"),
        ("bn1.bias", float("inf"), "bn1.bias contains NaN or infinite"),
        ("layer4.1.bn2.running_var", -1.0, "negative variances"),
        ("layer4.1.bn2.weight", 3e38, "not finite numbers"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(name: str, value: float, said: str, tmp_path: Path) -> None:
    state = bare()
    state[name].view(-1)[:] = value
    with pytest.raises(UserError, match=said):
        converted(state, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]
