"""ResNet backbones: a batch of images in, one feature vector per image out."""

import torch
import torchvision
from torch import nn

from ..images.normalisation import IMAGENET, Normalisation

BACKBONES = ("resnet18", "resnet18-3stages", "resnet34", "resnet50")
STEMS = ("imagenet", "cifar", "cifar-pad2", "cifar-norelu")
STAGES = 4  # residual stages of a whole ResNet: layer1 to layer4
_FEWER_STAGES = {"resnet18-3stages": ("resnet18", 3)}  # name -> (whole network, number of stages that are kept)


def build_backbone(name: str, stem: str = "imagenet", normalisation: Normalisation = IMAGENET) -> nn.Module:
    """Build a torchvision ResNet without its classifier.

    The network takes float (n, c, h, w). The caller normalises the pixels with ``normalisation``, which has a value for
    each of c channels, 3 for RGB. The network returns float (n, ``backbone.feature_dim``) after global average pooling:
    512 features for ResNet-18 and ResNet-34, 2048 for ResNet-50.

    ``resnet18-3stages`` is a ResNet-18 without ``layer4``. It has 256 features and a quarter of the weights. After
    short trainings on a CPU, the features of its third stage gave better neighbours than any stage of the whole network
    (docs/pretrain.md).

    Residual branches start at zero (``zero_init_residual``), as in the set-up of SimSiam, section 4.1 (after Goyal et
    al. 2017).

    The stems:

    - ``imagenet``: torchvision's 7x7 convolution with stride 2, and a max-pool.
    - ``cifar``: one 3x3 convolution with stride 1 and no max-pool, for images of about 32 px (SimSiam, appendix D).
    - ``cifar-pad2``: like ``cifar``, but padded by 2 pixels, as solo-learn does. The map is 2 pixels larger.
    - ``cifar-norelu``: like ``cifar``, but without the ReLU after the first BN. lightly's ResNet has none when its
      children are put into an ``nn.Sequential``.

    Args:
        name: One of ``BACKBONES``.
        stem: One of ``STEMS``.
        normalisation: Mean and standard deviation per channel that the weights expect; stored with the network.

    Returns:
        The network in train mode, with fresh weights and the attributes ``name``, ``stem``, ``normalisation`` and
        ``feature_dim``.

    Raises:
        ValueError: The name or the stem is unknown.
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
    """Return the name of the ResNet with all four stages that a backbone is built from.

    Args:
        name: One of ``BACKBONES``, for example "resnet18-3stages".

    Returns:
        The name of the whole network, for example "resnet18". A whole network's name is returned unchanged.
    """
    return _FEWER_STAGES.get(name, (name, STAGES))[0]


def with_stages_of(backbone: nn.Module, name: str) -> nn.Module:
    """Convert a backbone to the same ResNet with fewer or more stages.

    Args:
        backbone: A network from ``build_backbone``.
        name: The backbone that is wanted, one of ``BACKBONES``.

    Returns:
        A network with the weights of ``backbone``. Stages that ``backbone`` lacks get fresh weights from seed 0. If
        ``backbone`` has this name already, it is returned itself.

    Raises:
        ValueError: ``name`` is a different ResNet.
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
