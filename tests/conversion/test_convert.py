"""``convert``: files in the layouts of other programs, built here, against the modules that they were saved from."""

import argparse
import json
import os
import pickle
import re
import stat
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from safetensors.torch import save_file
from simsiam_retrieval.export.export_run import export_run  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

from simsiam_retrieval import pretrain as pretrain_command
from simsiam_retrieval.conversion.write_run import Conversion, convert
from simsiam_retrieval.convert import left_out_lines
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.images.normalisation import IMAGENET, Normalisation
from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.methods.base import Method
from simsiam_retrieval.methods.simsiam import SimSiam
from simsiam_retrieval.training.build_model import build_model
from simsiam_retrieval.training.config import Config, from_dict
from simsiam_retrieval.training.initial_weights import initial_backbone
from simsiam_retrieval.training.run_files import read_description
from simsiam_retrieval.training.run_folder import Run, load_backbone
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.trainer import pretrain
from tests.support.commands import Command

CIFAR10 = Normalisation((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
State = dict[str, Tensor]
N = TypeVar("N", bound=nn.Module)


# -- the other programs' networks, written after their documentation


def mlp(*widths: int, last_bn: bool, last_bias: bool, affine: bool = False) -> nn.Sequential:
    """Linear, BN, ReLU, ...; behind the last linear layer BN, or nothing."""
    layers: list[nn.Module] = []
    for index, (inner, outer) in enumerate(pairwise(widths)):
        if index < len(widths) - 2:
            layers += [nn.Linear(inner, outer, bias=False), nn.BatchNorm1d(outer), nn.ReLU()]
        else:
            layers.append(nn.Linear(inner, outer, bias=last_bias))
            layers += [nn.BatchNorm1d(outer, affine=affine)] if last_bn else []
    return nn.Sequential(*layers)


class Source(nn.Module):
    """What all have: features, projections z, predictions p."""

    def features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def heads(self) -> tuple[nn.Module, nn.Module]:
        raise NotImplementedError


class Reference(Source):
    """The projector takes the place of ``fc``; its last linear layer has a frozen bias in front of BN."""

    def __init__(self, depth: int, dim: int = 48, pred_dim: int = 24) -> None:
        super().__init__()
        self.encoder = getattr(torchvision.models, f"resnet{depth}")(num_classes=dim, zero_init_residual=True)
        width = self.encoder.fc.in_features
        self.encoder.fc = mlp(width, width, width, dim, last_bn=True, last_bias=True)
        self.predictor = mlp(dim, pred_dim, dim, last_bn=False, last_bias=True)

    def features(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        hook = self.encoder.avgpool.register_forward_hook(lambda module, inputs, output: found.append(output))
        self.encoder(x)
        hook.remove()
        return found[0].flatten(1)

    def heads(self) -> tuple[nn.Module, nn.Module]:
        return self.encoder.fc, self.predictor


class SoloLearn(Source):
    """A torchvision backbone, for CIFAR with a 3x3 convolution padded by 2 pixels; an online classifier."""

    def __init__(self, cifar: bool) -> None:
        super().__init__()
        self.backbone = torchvision.models.resnet18(zero_init_residual=True)
        self.backbone.fc = nn.Identity()  # type: ignore[assignment]
        if cifar:
            self.backbone.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2, bias=False)
            self.backbone.maxpool = nn.Identity()  # type: ignore[assignment]
        self.classifier = nn.Linear(512, 10)
        self.projector = mlp(512, 40, 40, 32, last_bn=True, last_bias=True)
        self.predictor = mlp(32, 8, 32, last_bn=False, last_bias=True)

    def features(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def heads(self) -> tuple[nn.Module, nn.Module]:
        return self.projector, self.predictor


class Layered(nn.Module):
    """lightly's heads keep their layers one level below."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class LightlyLike(Source):
    """The children of a torchvision ResNet in an ``nn.Sequential``."""

    def __init__(self, depth: int, projector: nn.Sequential | None = None) -> None:
        super().__init__()
        resnet = getattr(torchvision.models, f"resnet{depth}")()
        self.backbone = nn.Sequential(*list(resnet.children())[:-1])
        width = resnet.fc.in_features
        self.projection_head = Layered(projector or mlp(width, 32, 32, last_bn=True, last_bias=False))
        self.prediction_head = Layered(mlp(32, 8, 32, last_bn=False, last_bias=True))

    def features(self, x: Tensor) -> Tensor:
        return self.backbone(x).flatten(1)

    def heads(self) -> tuple[nn.Module, nn.Module]:
        return self.projection_head, self.prediction_head


class Torchvision(Source):
    """The bare network with its classifier; its names carry no prefix."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.network = getattr(torchvision.models, f"resnet{depth}")()

    def features(self, x: Tensor) -> Tensor:
        classifier, self.network.fc = self.network.fc, nn.Identity()
        found = self.network(x)
        self.network.fc = classifier
        return found


def trained_looking(network: N) -> N:
    """Batch normalisation far from its initial state, in eval mode."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(std=0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            if module.affine:
                nn.init.uniform_(module.weight, 0.3, 1.2, generator=generator)
                nn.init.normal_(module.bias, std=0.2, generator=generator)
    return network.eval()


@cache
def _bare(stem: str) -> State:
    torch.manual_seed(0)
    return trained_looking(build_backbone("resnet18", stem)).state_dict()


def bare(stem: str = "imagenet") -> State:
    """The state_dict of a plain ResNet-18 without classifier."""
    return {name: value.clone() for name, value in _bare(stem).items()}


def saved(content: Any, file: Path) -> Path:
    torch.save(content, file)
    return file


def converted(content: Any, tmp_path: Path, **options: Any) -> Conversion:
    """Save ``content``, convert it to ``tmp_path / "run"``."""
    return convert(saved(content, tmp_path / "weights.pt"), tmp_path / "run", **options)


def pictures(n: int = 4, side: int = 48) -> Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(5))


def model_of(run: Path) -> Method:
    """The whole network of a run, heads and all."""
    model = build_model(Run(run).config())
    model.load_state_dict(Run(run).load_checkpoint()["model"])
    return model.eval()


def assert_same_features(run: Path, features: Callable[[Tensor], Tensor]) -> None:
    with torch.no_grad():
        x = pictures()
        expected = features(x)
        assert expected.std() > 1e-3
        assert torch.equal(load_backbone(run)[0](x), expected)


# -- layouts


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_reference_checkpoints(depth: int, tmp_path: Path) -> None:
    source = trained_looking(Reference(depth))
    optimizer = torch.optim.SGD(source.parameters(), 0.1, momentum=0.9)
    torch.stack([parameter.sum() for parameter in source.predictor.parameters()]).sum().backward()
    optimizer.step()
    state = {f"module.{name}": value for name, value in source.state_dict().items()}
    content = {"epoch": 100, "arch": f"resnet{depth}", "state_dict": state, "optimizer": optimizer.state_dict()}
    found = converted(content, tmp_path)
    assert (found.network.layout, found.network.left_out) == ("reference", {})
    assert found.beside == {"optimizer": len(list(source.predictor.parameters()))}
    assert_same_features(tmp_path / "run", source.features)
    config = Run(tmp_path / "run").config()
    width = 2048 if depth == 50 else 512
    assert (config.backbone, config.stem, config.image_size) == (f"resnet{depth}", "imagenet", 224)
    assert (config.projector_layers, config.projector_hidden_dim, config.projector_dim) == (3, width, 48)
    assert (config.predictor_dim, config.head_bn) == (24, "default")


@pytest.mark.parametrize(
    ("make", "layout", "left_out"),
    [
        (lambda: Reference(18), "reference", set()),
        (lambda: LightlyLike(18), "lightly", set()),
        (lambda: SoloLearn(cifar=False), "solo-learn", {"classifier.weight", "classifier.bias"}),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_heads_compute_what_the_sources_do(
    make: Callable[[], Source], layout: str, left_out: set[str], training: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    source = trained_looking(make())
    found = converted({"state_dict": source.state_dict()}, tmp_path)
    assert (found.network.layout, set(found.network.left_out)) == (layout, left_out)
    features = torch.randn(16, 512, generator=torch.Generator().manual_seed(6))
    model = model_of(tmp_path / "run").train(training)
    first, second = (head.train(training) for head in source.heads())
    with torch.no_grad():
        z = first(features)
        p = second(z)
        ours = model.projector(features)
        torch.testing.assert_close(ours, z, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.predictor(ours), p, rtol=1e-5, atol=1e-5)
    assert z.abs().mean() > 0.1 and (z - z[0]).abs().max() > 0.1


@pytest.mark.parametrize("cifar", [False, True])
def test_solo_learn_checkpoints(cifar: bool, tmp_path: Path) -> None:
    source = trained_looking(SoloLearn(cifar))
    content = {"epoch": 3, "pytorch-lightning_version": "2.0", "state_dict": source.state_dict(), "loops": {}}
    found = converted(content, tmp_path)
    assert found.network.stem == ("cifar-pad2" if cifar else "imagenet")
    assert found.image_size == (32 if cifar else 224)
    assert_same_features(tmp_path / "run", source.features)


@pytest.mark.parametrize("depth", [18, 50])
def test_lightly_like_checkpoints(depth: int, tmp_path: Path) -> None:
    source = trained_looking(LightlyLike(depth))
    found = converted({"state_dict": source.state_dict()}, tmp_path)
    assert (found.network.layout, found.network.stem, found.network.left_out) == ("lightly", "imagenet", {})
    assert_same_features(tmp_path / "run", source.features)


@pytest.mark.parametrize(
    ("name", "numbered"), [("resnet-18", True), ("resnet-18", False), ("resnet-34", True), ("resnet-50", False)]
)
def test_checkpoints_of_lightly_itself(name: str, numbered: bool, tmp_path: Path) -> None:
    models = pytest.importorskip("lightly.models", reason="compares with lightly, where that is installed")
    heads = pytest.importorskip("lightly.models.modules.heads")
    torch.manual_seed(0)
    resnet = models.ResNetGenerator(name)
    width = resnet.linear.in_features

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # as in lightly's benchmarks: in a Sequential the network's own forward, and its first ReLU, are gone
            self.backbone = (
                nn.Sequential(*list(resnet.children())[:-1], nn.AdaptiveAvgPool2d(1)) if numbered else resnet
            )
            self.projection_head = heads.SimSiamProjectionHead(width, 64, 64)
            self.prediction_head = heads.SimSiamPredictionHead(64, 16, 64)

    source = trained_looking(Model())
    if not numbered:
        resnet.linear = nn.Identity()
    found = converted({"state_dict": source.state_dict()}, tmp_path)
    assert (found.network.layout, found.network.left_out) == ("lightly", {})
    assert found.network.stem == ("cifar-norelu" if numbered else "cifar")
    side = 32  # its forward pools 4x4 pixels
    with torch.no_grad():
        x = pictures(side=side)
        expected = source.backbone(x).flatten(1)
        # the mean over the map is taken in another order where its forward pools by itself
        torch.testing.assert_close(load_backbone(tmp_path / "run")[0](x), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(model_of(tmp_path / "run").projector(expected), source.projection_head(expected))


@pytest.mark.parametrize(("depth", "kind"), [(18, "torch"), (34, "safetensors"), (50, "torch"), (50, "safetensors")])
def test_bare_resnets(depth: int, kind: str, tmp_path: Path) -> None:
    source = trained_looking(Torchvision(depth))
    state = source.network.state_dict()
    file = tmp_path / ("weights.pth" if kind == "torch" else "model.safetensors")
    if kind == "torch":
        torch.save(state, file)
    else:
        save_file(state, file)
    found = convert(file, tmp_path / "run")
    assert found.network.layout == "resnet" and found.network.heads is None
    assert found.network.left_out == {"fc.weight": "classifier", "fc.bias": "classifier"}
    assert_same_features(tmp_path / "run", source.features)
    assert all(name.startswith("backbone.") for name in Run(tmp_path / "run").load_checkpoint()["model"])


def test_safetensors_by_any_name(tmp_path: Path) -> None:
    save_file(bare(), tmp_path / "weights.bin")
    assert convert(tmp_path / "weights.bin", tmp_path / "run").network.backbone.name == "resnet18"


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: f"backbone._orig_mod.{name}",
        lambda name: f"model.backbone.body.{name}",
        lambda name: f"encoder_q.{name}",
        lambda name: name.replace("downsample", "shortcut"),
    ],
)
def test_wrappers_are_seen_through(wrapped: Callable[[str], str], tmp_path: Path) -> None:
    state = bare("cifar")
    content = {wrapped(name): value for name, value in state.items()}
    found = converted(content, tmp_path)
    assert not found.network.left_out and found.network.stem == "cifar"
    written = Run(tmp_path / "run").load_checkpoint()["model"]
    assert {name.removeprefix("backbone.") for name in written} == set(state)
    assert all(torch.equal(written[f"backbone.{name}"], value) for name, value in state.items())


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_the_network_is_found_beside_other_things(key: str, tmp_path: Path) -> None:
    content = {"best_acc1": torch.tensor(71.3), "names": ["a"], key: bare(), "ema": {"shadow": bare()}, "epoch": 3}
    found = converted(content, tmp_path)
    assert not found.network.left_out and found.beside == {"best_acc1": 1, "ema": len(bare())}


@pytest.mark.parametrize(
    ("numbers", "stem"),
    [((0, 1, 4, 5, 6, 7), "cifar"), ((0, 1, 3, 4, 5, 6), "cifar"), ((0, 1, 2, 3, 4, 5), "cifar-norelu")],
)
def test_gaps_between_numbered_layers_show_the_stem(numbers: tuple[int, ...], stem: str, tmp_path: Path) -> None:
    names: list[str] = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]
    children = dict(zip(names, numbers, strict=True))
    state = bare("cifar")
    renamed = {f"{children[name.split('.')[0]]}.{name.partition('.')[2]}": value for name, value in state.items()}
    assert converted(renamed, tmp_path).network.stem == stem
    # the same by running it: children that hold nothing are ReLUs here
    source = build_backbone("resnet18", "cifar")
    source.load_state_dict(state)
    layers = [nn.Identity() for _ in range(numbers[-1] + 1)]
    for name, number in children.items():
        layers[number] = getattr(source, name)
    if numbers[2] > 2:
        layers[2] = nn.ReLU()  # type: ignore[assignment]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert_same_features(tmp_path / "run", network)


def test_layouts_can_be_asked_for(tmp_path: Path) -> None:
    state = trained_looking(SoloLearn(cifar=True)).state_dict()
    bare_one = converted(state, tmp_path, layout="resnet", stem="cifar")
    assert bare_one.network.heads is None and bare_one.network.stem == "cifar"
    left = bare_one.network.left_out
    assert len(left) == len(state) - len(bare_one.network.backbone.state)
    assert all(name.split(".")[0] in ("projector", "predictor", "classifier") for name in left)
    with pytest.raises(UserError, match="not in the reference layout"):
        convert(tmp_path / "weights.pt", tmp_path / "other", layout="reference")
    backbone = {name: value for name, value in state.items() if name.startswith("backbone.")}
    only = convert(saved(backbone, tmp_path / "b.pt"), tmp_path / "solo", layout="solo-learn")
    assert (only.network.stem, only.network.heads) == ("cifar-pad2", None)


# -- nothing is dropped in silence


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


# -- numbers


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


# -- what is not such a file


def without(name: str) -> State:
    return {key: value for key, value in bare().items() if key != name}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "no network's weights"),
        ({"state_dict": {}}, "no network's weights"),
        ({"epoch": 3, "optimizer": {"state": {}}}, "it contains: epoch, optimizer"),
        ([torch.zeros(3)], "contains a list"),
        (torch.zeros(3), "contains a Tensor"),
        ({"a": torch.zeros(3)}, "no ResNet in it"),
        ({"cls_token": torch.zeros(1, 1, 8), "blocks.0.attn.qkv.weight": torch.zeros(24, 8)}, "a transformer"),
        (without("layer3.0.downsample.0.weight"), "it lacks layer3.0.downsample.0.weight"),
        (without("conv1.weight"), "without its first convolution"),
        (bare() | {"layer1.0.se.fc1.weight": torch.zeros(4, 64, 1, 1)}, "it also has layer1.0.se.fc1.weight"),
        (bare() | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, r"first convolution is \(64, 1, 7, 7\)"),
        (bare() | {"conv1.0.weight": torch.zeros(32, 3, 3, 3)}, "deep stem"),
        (bare() | {"layer2.0.conv1.weight": torch.zeros(9, 64, 3, 3)}, r"is \(9, 64, 3, 3\), not \(128, 64, 3, 3\)"),
        (bare() | {"bn1.weight": torch.ones(64, dtype=torch.int8)}, "bn1.weight contains int8"),
        ({name: value for name, value in bare().items() if "layer4.1" not in name}, "2, 2, 2, 1 basic blocks"),
        ({f"{side}.{name}": value for side in "ab" for name, value in bare().items()}, r"2 ResNets \(a., b.\)"),
        (bare() | {f"module.{name}": value for name, value in bare().items()}, "the same weights twice"),
        ({f"{'012356'['cbl'.index(k[0]) if k[0] != 'l' else int(k[5]) + 1]}.{k.partition('.')[2]}": v
          for k, v in bare().items()}, "no known program"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_other_networks_are_refused_in_one_line(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as refused:
        converted(content, tmp_path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400
    assert "weights.pt" in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]


@pytest.mark.parametrize(
    ("make", "said"), [("resnet101", "a ResNet-101"), ("wide_resnet50_2", "not a plain ResNet-50")]
)
def test_other_resnets_are_refused_by_name(make: str, said: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = getattr(torchvision.models, make)().state_dict()
    state = {name: torch.zeros(()).expand(value.shape) for name, value in shapes.items()}  # no memory behind them
    with pytest.raises(UserError, match=said):
        converted(state, tmp_path)


def scripted() -> bytes:
    import io

    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), stream)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("w.pth", b"", "empty"),
        ("w.pth", b"\n<!DOCTYPE html><html><body>403</body></html>", "a web page"),
        ("w.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("w.pth", b"not a checkpoint at all", "not a checkpoint"),
        ("w.pth", os.urandom(1000), "not a checkpoint"),
        ("w.safetensors", b"\x00" * 40, "not a safetensors file"),
        ("w.safetensors", b"\xff" * 8 + b'{"a":', "not a safetensors file"),
        ("w.pth", scripted, "TorchScript"),
        ("photo.pth", lambda: b"\xff\xd8\xff\xe0" + b"0" * 99, "not a checkpoint"),
    ],
)
def test_other_files_are_refused_in_one_line(name: str, content: Any, said: str, tmp_path: Path) -> None:
    made: bytes = content() if callable(content) else content  # type: ignore[assignment]
    (tmp_path / name).write_bytes(made)
    with pytest.raises(UserError, match=said) as refused:
        convert(tmp_path / name, tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_files_cut_short_are_refused(part: float, kind: str, tmp_path: Path) -> None:
    file = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file(bare(), file)
    else:
        torch.save(bare(), file, _use_new_zipfile_serialization=kind == "zip")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(UserError, match=r"cut short|damaged"):
        convert(file, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_old_torch_files_are_read(tmp_path: Path) -> None:
    torch.save(bare(), tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert convert(tmp_path / "w.pt", tmp_path / "run").network.backbone.name == "resnet18"


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.trace),))


@pytest.mark.parametrize("new", [True, False])
def test_nothing_in_a_file_is_executed(new: bool, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"state_dict": bare(), "hook": Bomb(trace)}, tmp_path / "w.pt", _use_new_zipfile_serialization=new)
    with pytest.raises(UserError, match="refused") as refused:
        convert(tmp_path / "w.pt", tmp_path / "run")
    assert not trace.exists() and not (tmp_path / "run").exists()
    assert f"{os.mkdir.__module__}.mkdir" in str(refused.value)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(UserError):
        convert(tmp_path / "plain.pkl", tmp_path / "run")
    assert not trace.exists()


class Settings:
    """A class that only its program knows, as Lightning's hyper_parameters often hold."""


def test_unknown_classes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Python objects \(.*Settings\).*torch.save\(model.state_dict"):
        converted({"state_dict": bare(), "hyper_parameters": {"cfg": Settings()}}, tmp_path)
    with pytest.raises(UserError, match=r"torchvision.models.resnet.ResNet"):
        converted(torchvision.models.resnet18(), tmp_path)


def test_settings_and_numpy_numbers_beside_the_weights_do_no_harm(tmp_path: Path) -> None:
    args = argparse.Namespace(lr=0.05, nested=argparse.Namespace(a=1))
    content = {"state_dict": bare(), "args": args, "best": np.float64(71.3), "n": np.int64(3), "b": np.float32(1)}
    assert converted(content, tmp_path).beside == {}


# -- the run folder


def test_the_run_says_where_it_is_from_and_no_more(tmp_path: Path) -> None:
    import hashlib

    converted(trained_looking(Torchvision(18)).network.state_dict(), tmp_path, licence="CC-BY-NC 4.0", image_size=96)
    described = read_description(tmp_path / "run")
    facts = described["converted"]
    assert facts["file"] == "weights.pt" and str(tmp_path) not in json.dumps(described)
    assert facts["sha256"] == hashlib.sha256((tmp_path / "weights.pt").read_bytes()).hexdigest()
    assert (facts["layout"], facts["licence"], facts["method"]) == ("resnet", "CC-BY-NC 4.0", "unknown")
    assert facts["heads"].startswith("none") and facts["training"].startswith("unknown")
    known = {"recipe", "backbone", "stem", "image_size", "mean", "std"}
    assert set(described["config"]) == known and described["config"]["image_size"] == 96
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint.pt", "config.json"]


def test_an_existing_run_is_left_alone(run_dir: Path, tmp_path: Path) -> None:
    file = saved(bare(), tmp_path / "w.pt")
    before = {path: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    with pytest.raises(UserError, match="exists already"):
        convert(file, run_dir)
    assert before == {path: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    with pytest.raises(UserError, match="already a run folder"):
        convert(run_dir, tmp_path / "run")
    with pytest.raises(UserError, match="this is a folder; name"):
        convert(tmp_path, tmp_path / "run")
    with pytest.raises(UserError, match="exists already"):
        convert(file, file)
    (tmp_path / "empty").mkdir()
    convert(file, tmp_path / "empty")
    convert(file, tmp_path / "new" / "below")
    usual = tmp_path / "usual"
    usual.mkdir()
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    for options, said in (
        ({"image_size": 5000}, "--image-size 5000"),
        ({"image_size": 0}, "--image-size 0"),
        ({"normalisation": Normalisation((123.7, 116.3, 103.5), IMAGENET.std)}, "--mean 123.7"),
        ({"normalisation": Normalisation(std=(0.2, 0.0, 0.2))}, "--std 0.0"),
        ({"stem": "cifar"}, "leave out --stem"),
    ):
        with pytest.raises(UserError, match=said):
            converted(bare(), tmp_path, **options)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mean", [0.5, [0.5, 0.5], [0.5, 0.5, "0.5"], [0.5, 0.5, 1.5], None])
def test_a_damaged_normalisation_is_refused(mean: Any) -> None:
    assert from_dict({"mean": [0.5, 0.25, 0.125]}).normalisation.mean == (0.5, 0.25, 0.125)
    with pytest.raises(UserError, match="mean"):
        from_dict({"mean": mean})


# -- what accepts it


@pytest.mark.parametrize("stem", ["cifar-pad2", "cifar-norelu"])
def test_an_export_gives_the_sources_vectors(stem: str, photos: Path, tmp_path: Path) -> None:
    source = build_backbone("resnet18", stem)
    source.load_state_dict(bare(stem))
    source.eval()
    converted(source.state_dict(), tmp_path, normalisation=CIFAR10, licence="MIT", stem=stem)
    export_run(tmp_path / "run", tmp_path / "run" / "encoder.onnx")
    encoder = Encoder(tmp_path / "run" / "encoder.onnx", device="cpu")
    squares = np.stack(
        [np.asarray(Image.open(file).convert("RGB").resize((32, 32))) for file in sorted(photos.glob("*/*.jpg"))[::20]]
    )
    # by torch and the source's own recipe, border and all
    x = torch.from_numpy((squares / 255 - np.array(CIFAR10.mean)) / np.array(CIFAR10.std)).float()
    with torch.no_grad():
        expected = F.normalize(source(x.permute(0, 3, 1, 2).contiguous()), dim=1).numpy()
        other = torch.from_numpy((squares / 255 - np.array(IMAGENET.mean)) / np.array(IMAGENET.std)).float()
        wrong = F.normalize(source(other.permute(0, 3, 1, 2).contiguous()), dim=1).numpy()
    found = encoder.embed_pixels(squares)
    assert np.abs(found - expected).max() < 1e-5 < np.abs(wrong - expected).max() / 10
    facts = encoder.metadata
    assert (facts["stem"], facts["licence"], facts["method"], facts["trained_at"]) == (
        stem,
        "MIT",
        "unknown",
        "unknown",
    )
    assert facts["converted_from"].startswith("weights.pt (sha256 ")
    # and the exported file can be trained on, with what it asks for
    config = Config(stem=stem, mean=CIFAR10.mean, std=CIFAR10.std)  # type: ignore[arg-type]
    restored = initial_backbone(str(tmp_path / "run" / "encoder.onnx"), config)
    with torch.no_grad():
        again = restored.eval()(x.permute(0, 3, 1, 2).contiguous())
        torch.testing.assert_close(F.normalize(again, dim=1).numpy(), expected, rtol=1e-3, atol=1e-4)


def test_pretraining_starts_from_it_but_does_not_go_on_with_it(few_photos: Path, tmp_path: Path) -> None:
    state = bare()
    converted(state, tmp_path, normalisation=CIFAR10)
    run = tmp_path / "run"
    still = Config(image_size=32, batch_size=16, epochs=0, projector_dim=64, predictor_dim=32)
    with pytest.raises(UserError, match=re.escape("--mean 0.4914 0.4822 0.4465 --std 0.247 0.2435 0.2616")):
        pretrain(still, [few_photos], Options(out=tmp_path / "next", init=str(run), device="cpu", workers=0))
    fitting = from_dict({"image_size": 32, "batch_size": 16, "epochs": 1, "projector_dim": 64, **CIFAR10._asdict()})
    assert pretrain(fitting, [few_photos], Options(out=tmp_path / "next", init=str(run), device="cpu", workers=0))
    begun = load_backbone(tmp_path / "next")[0]
    distance = (begun.get_parameter("conv1.weight") - state["conv1.weight"]).norm() / state["conv1.weight"].norm()
    assert 0 < distance < 0.2  # one epoch away
    assert begun.normalisation == CIFAR10
    with pytest.raises(UserError, match=f"--init {run}"):
        pretrain(Run(run).config(), [few_photos], Options(resume=run, device="cpu", workers=0))


def test_views_are_normalised_as_the_run_says() -> None:
    from simsiam_retrieval.training.augmentation import Augmentation, apply, draw

    images = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    drawn = draw(Augmentation(16), torch.ones(3), torch.Generator().manual_seed(1))
    usual = apply(Augmentation(16), images, drawn)
    other = apply(Augmentation(16, normalisation=CIFAR10), images, drawn)
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    pixels = usual * std + mean
    mean, std = (torch.tensor(values)[:, None, None] for values in CIFAR10)
    torch.testing.assert_close(other * std + mean, pixels, rtol=0, atol=1e-6)


# -- the command


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
