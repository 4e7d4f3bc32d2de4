"""ResNet backbones: an image batch in, one feature vector per image out."""

import torch
import torchvision
from torch import nn

from ..images.normalisation import IMAGENET, Normalisation

BACKBONES = ("resnet18", "resnet18-3stages", "resnet34", "resnet50")
STEMS = ("imagenet", "cifar", "cifar-pad2", "cifar-norelu")
STAGES = 4  # of a whole ResNet: layer1 to layer4
_FEWER_STAGES = {"resnet18-3stages": ("resnet18", 3)}  # name -> whole network, stages that are kept


def build_backbone(name: str, stem: str = "imagenet", normalisation: Normalisation = IMAGENET) -> nn.Module:
    """Build a torchvision ResNet without its classifier.

    Input: float (n, c, h, w), scaled by ``normalisation``, which the caller does, and which has a value for each of c
    channels: 3 for RGB. Output: float
    (n, ``backbone.feature_dim``), after global average pooling: 512 for ResNet-18/34, 2048 for ResNet-50.

    ``resnet18-3stages`` is a ResNet-18 without ``layer4``: 256 features, a quarter of the weights. With short trainings
    on a CPU its third stage gave better neighbours than any stage of the whole network (docs/pretrain.md).

    ``stem="cifar"`` replaces the 7x7/2 convolution and the max-pool by one 3x3/1 convolution, for images of
    about 32 px (SimSiam, appendix D). ``stem="cifar-pad2"`` pads that convolution by 2 pixels, as solo-learn does,
    which gives a map 2 pixels larger; ``stem="cifar-norelu"`` has no ReLU behind its BN, as lightly's ResNet has none
    when its children stand in an ``nn.Sequential``. Residual branches start at zero (``zero_init_residual``), as in
    the paper's section 4.1 set-up, after Goyal et al. 2017.

    Raises ``ValueError`` for an unknown name or stem.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; choose from {', '.join(BACKBONES)}")
    if stem not in STEMS:
        raise ValueError(f"unknown stem {stem!r}; choose from {', '.join(STEMS)}")
    whole, stages = _FEWER_STAGES.get(name, (name, STAGES))
    network = getattr(torchvision.models, whole)(weights=None, zero_init_residual=True)
    channels = len(normalisation.mean)
    if stem == "imagenet" and channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    if stem != "imagenet":
        padding = 2 if stem == "cifar-pad2" else 1
        network.conv1 = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=padding, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    if stem == "cifar-norelu":
        network.relu = nn.Identity()
    network.feature_dim = network.fc.in_features >> (STAGES - stages)  # each stage doubles the channels
    for stage in range(stages + 1, STAGES + 1):
        setattr(network, f"layer{stage}", nn.Identity())
    network.fc = nn.Identity()
    network.name, network.stem, network.normalisation = name, stem, normalisation
    return network


def whole_network(name: str) -> str:
    """The name of the ResNet with all stages that the backbone ``name`` is, or is the beginning of."""
    return _FEWER_STAGES.get(name, (name, STAGES))[0]


def with_stages_of(backbone: nn.Module, name: str) -> nn.Module:
    """``backbone`` as the backbone ``name``, which is the same ResNet with fewer stages, or with more.

    Stages that ``backbone`` lacks get the fresh weights of seed 0. Raises ``ValueError`` where it is another ResNet.
    """
    if backbone.name == name:
        return backbone
    if whole_network(str(backbone.name)) != whole_network(name):
        raise ValueError(f"a {backbone.name} is not the beginning of a {name}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        other = build_backbone(name, str(backbone.stem), backbone.normalisation)  # type: ignore[arg-type]
    wanted = other.state_dict()
    other.load_state_dict(wanted | {key: value for key, value in backbone.state_dict().items() if key in wanted})
    return other.train(backbone.training)
