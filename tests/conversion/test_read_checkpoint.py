"""Files that are no such checkpoint: refused in one line, and nothing in them is executed."""

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from simsiam_retrieval.conversion.write_run import convert
from simsiam_retrieval.core.errors import UserError
from tests.support.other_programs import (
    State,
    bare,
    converted,
)


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
