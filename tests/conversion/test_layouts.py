"""Each layout of other programs, against the modules that the file was saved from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from simsiam_retrieval.conversion.write_run import convert
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.training.run_folder import Run, load_backbone
from tests.support.other_programs import (
    LightlyLike,
    Reference,
    SoloLearn,
    Source,
    Torchvision,
    assert_same_features,
    bare,
    converted,
    model_of,
    pictures,
    saved,
    trained_looking,
)


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
