"""Checkpoints of other programs, built here after their documentation, and what a converted run is compared with."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
import torchvision
from torch import Tensor, nn

from simsiam_retrieval.conversion.write_run import Conversion, convert
from simsiam_retrieval.images.normalisation import Normalisation
from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.methods.base import Method
from simsiam_retrieval.training.build_model import build_model
from simsiam_retrieval.training.run_folder import Run, load_backbone

CIFAR10 = Normalisation((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
State = dict[str, Tensor]
N = TypeVar("N", bound=nn.Module)


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
