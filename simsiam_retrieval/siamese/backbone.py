"""ResNet backbones: an image batch in, one feature vector per image out."""

import torchvision
from torch import nn

from ..normalisation import IMAGENET, Normalisation

BACKBONES = ("resnet18", "resnet34", "resnet50")
STEMS = ("imagenet", "cifar", "cifar-pad2", "cifar-norelu")


def build_backbone(name: str, stem: str = "imagenet", normalisation: Normalisation = IMAGENET) -> nn.Module:
    """Build a torchvision ResNet without its classifier.

    Input: float (n, 3, h, w), scaled by ``normalisation``, which the caller does. Output: float
    (n, ``feature_dim(backbone)``), after global average pooling: 512 for ResNet-18/34, 2048 for ResNet-50.

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
    network = getattr(torchvision.models, name)(weights=None, zero_init_residual=True)
    if stem != "imagenet":
        padding = 2 if stem == "cifar-pad2" else 1
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=padding, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    if stem == "cifar-norelu":
        network.relu = nn.Identity()
    network.feature_dim = network.fc.in_features
    network.fc = nn.Identity()
    network.name, network.stem, network.normalisation = name, stem, normalisation
    return network
