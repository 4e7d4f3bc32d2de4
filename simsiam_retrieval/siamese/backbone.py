"""ResNet backbones: an image batch in, one feature vector per image out."""

import torchvision
from torch import nn

BACKBONES = ("resnet18", "resnet34", "resnet50")
STEMS = ("imagenet", "cifar")


def build_backbone(name: str, stem: str = "imagenet") -> nn.Module:
    """Build a torchvision ResNet without its classifier.

    Input: float (n, 3, h, w), normalised. Output: float (n, ``feature_dim(backbone)``), after global average
    pooling: 512 for ResNet-18/34, 2048 for ResNet-50.

    ``stem="cifar"`` replaces the 7x7/2 convolution and the max-pool by one 3x3/1 convolution, for images of
    about 32 px (SimSiam, appendix D). Residual branches start at zero (``zero_init_residual``), as in
    the paper's section 4.1 set-up, after Goyal et al. 2017.

    Raises ``ValueError`` for an unknown name or stem.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; choose from {', '.join(BACKBONES)}")
    if stem not in STEMS:
        raise ValueError(f"unknown stem {stem!r}; choose from {', '.join(STEMS)}")
    network = getattr(torchvision.models, name)(weights=None, zero_init_residual=True)
    if stem == "cifar":
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    network.feature_dim = network.fc.in_features
    network.fc = nn.Identity()
    network.name, network.stem = name, stem
    return network
