"""A ResNet in torchvision's Faster R-CNN or Mask R-CNN."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from ..evaluation.extractors import normalisation_of
from ..images.normalisation import Normalisation
from .detection_settings import Settings

ANCHORS = (32, 64, 128, 256, 512)  # pixels, for a short side of 800
ASPECTS = (0.5, 1.0, 2.0)
FPN_CHANNELS = 256
MASK_CHANNELS = 256
CANONICAL = 224  # pixels, for a short side of 800: a region of that size is pooled from the fourth stage
STAGES = {"layer1": "0", "layer2": "1", "layer3": "2", "layer4": "3"}


def build_detector(backbone: nn.Module, classes: int, settings: Settings, *, bfloat16: bool = False) -> GeneralizedRCNN:
    """Build a detector from the layers of a backbone. New layers are initialised from torch's global generator.

    In training it takes images (float32 (3, h, w) in [0, 1]) and targets, and returns losses. In evaluation it returns
    boxes, labels (1 is the first class), scores and optionally masks, in the pixels of the given images.

    As in MoCo's detection code, which the paper uses, all layers are trained, and BN uses the statistics of the batch.
    BN also follows the new convolutions: the fifth stage of "c4", the pyramid of "fpn".

    Args:
        backbone: From ``build_backbone``; its layers are moved into the detector.
        classes: Number of classes, without the background.
        settings: The settings.
        bfloat16: Whether the convolutions of the backbone and of the head's last stage compute in bfloat16.

    Returns:
        The detector.
    """
    stride = 4 if backbone.stem == "imagenet" else 1  # stride of the first stage
    strides = [stride, 2 * stride, 4 * stride, 8 * stride]
    dim = int(backbone.feature_dim)  # type: ignore[arg-type]
    normalisation = normalisation_of(backbone)
    common: dict[str, Any] = {
        "rpn_pre_nms_top_n_train": 12 * settings.proposals,
        "rpn_pre_nms_top_n_test": 6 * settings.proposals,
        "rpn_post_nms_top_n_train": 2 * settings.proposals,
        "rpn_post_nms_top_n_test": settings.proposals,
        "box_batch_size_per_image": settings.rois,
    }
    build = _c4 if settings.head == "c4" else _fpn
    detector = build(backbone, dim, classes + 1, strides, settings, bfloat16, common)
    detector.transform = Resize(settings.short_sides, settings.largest, normalisation)
    return detector


def _c4(
    backbone: nn.Module,
    dim: int,
    outputs: int,
    strides: list[int],
    settings: Settings,
    bfloat16: bool,
    common: dict[str, Any],
) -> GeneralizedRCNN:
    """RPN and regions on the fourth stage (torchvision's layer3); the fifth stage is part of the head."""
    stage = FifthStage(backbone.layer4, dim, bfloat16)  # type: ignore[arg-type]
    body = Body(IntermediateLayerGetter(backbone, {"layer3": "0"}), dim // 2, bfloat16)
    sizes = tuple(max(1, round(size * settings.scale)) for size in ANCHORS)
    parts = {
        "rpn_anchor_generator": AnchorGenerator((sizes,), (ASPECTS,)),
        "box_roi_pool": _pool(["0"], [strides[2]], settings.roi_size, settings),
        "box_head": nn.Sequential(stage, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "box_predictor": FastRCNNPredictor(dim, outputs),
    }
    if not settings.masks:
        return FasterRCNN(body, **parts, **common)
    return MaskRCNN(
        body,
        **parts,
        mask_roi_pool=_pool(["0"], [strides[2]], settings.roi_size, settings),
        mask_head=stage,  # shares the box head's weights, as in Detectron2
        mask_predictor=MaskRCNNPredictor(dim, MASK_CHANNELS, outputs),
        **common,
    )


def _fpn(
    backbone: nn.Module,
    dim: int,
    outputs: int,
    strides: list[int],
    settings: Settings,
    bfloat16: bool,
    common: dict[str, Any],
) -> GeneralizedRCNN:
    """RPN and regions on a pyramid over all stages, with torchvision's heads."""
    widths = [dim // 8, dim // 4, dim // 2, dim]
    pyramid = BackboneWithFPN(backbone, STAGES, widths, FPN_CHANNELS, norm_layer=nn.BatchNorm2d)
    sizes = tuple((max(1, round(size * settings.scale)),) for size in ANCHORS)
    parts = {
        "rpn_anchor_generator": AnchorGenerator(sizes, (ASPECTS,) * len(sizes)),
        "box_roi_pool": _pool(list("0123"), strides, 7, settings),
    }
    body = Body(pyramid, FPN_CHANNELS, bfloat16)
    if not settings.masks:
        return FasterRCNN(body, outputs, **parts, **common)
    return MaskRCNN(body, outputs, **parts, mask_roi_pool=_pool(list("0123"), strides, 14, settings), **common)


def _pool(maps: list[str], strides: list[int], size: int, settings: Settings) -> MultiScaleRoIAlign:
    level = (4 * strides[0] if len(strides) > 1 else strides[0]).bit_length() - 1  # level of the fourth stage
    pool = MultiScaleRoIAlign(
        maps, size, sampling_ratio=2, canonical_scale=max(1, round(CANONICAL * settings.scale)), canonical_level=level
    )
    # otherwise torchvision derives the scales from the first batch, wrongly if small images have wide padding
    pool.scales = [1 / stride for stride in strides]
    lowest, highest = strides[0].bit_length() - 1, strides[-1].bit_length() - 1
    pool.map_levels = initLevelMapper(lowest, highest, pool.canonical_scale, pool.canonical_level)
    return pool


class Body(nn.Module):
    """A network that returns feature maps by name, always in float32, because anchors and NMS need it."""

    def __init__(self, maps: nn.Module, out_channels: int, bfloat16: bool) -> None:
        super().__init__()
        self.maps, self.out_channels, self.in_bfloat16 = maps, out_channels, bfloat16

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the feature maps.

        Args:
            x: float32 (n, 3, h, w).

        Returns:
            Name -> map, float32.
        """
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            found = self.maps(x)
        return {name: value.float() for name, value in found.items()}


class FifthStage(nn.Module):
    """The last stage of a ResNet on pooled regions, followed by BN."""

    def __init__(self, layer4: nn.Module, dim: int, bfloat16: bool) -> None:
        super().__init__()
        self.layer4, self.norm, self.dim, self.in_bfloat16 = layer4, nn.BatchNorm2d(dim), dim, bfloat16

    def forward(self, x: Tensor) -> Tensor:
        """Compute the stage.

        Args:
            x: Pooled regions (n, dim / 2, s, s).

        Returns:
            float32 (n, dim, s / 2, s / 2).
        """
        if not len(x):  # without objects the mask head gets no regions, and BN has no statistics
            return x.new_zeros(0, self.dim, -(-x.shape[2] // 2), -(-x.shape[3] // 2))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            found = self.norm(self.layer4(x))
        return found.float()


class Resize(GeneralizedRCNNTransform):
    """torchvision's transform with an antialiasing filter, as used everywhere in this package.

    Args:
        short_sides: Short sides in pixels; training draws one, a test uses the last.
        largest: Longest side in pixels.
        normalisation: Normalisation of the backbone.
    """

    def __init__(self, short_sides: tuple[int, ...], largest: int, normalisation: Normalisation) -> None:
        super().__init__(short_sides[-1], largest, list(normalisation.mean), list(normalisation.std))
        self.short_sides = list(short_sides)

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Resize an image and its target.

        Args:
            image: float32 (3, h, w).
            target: Boxes and optionally masks, or None.

        Returns:
            The resized image and target.
        """
        height, width = image.shape[-2:]
        short = self.torch_choice(self.short_sides) if self.training else self.short_sides[-1]
        factor = min(short / min(height, width), self.max_size / max(height, width))
        size = [max(1, round(height * factor)), max(1, round(width * factor))]
        image = F.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]
        if target is None:
            return image, None
        target["boxes"] = resize_boxes(target["boxes"], [height, width], size)
        if "masks" in target:
            target["masks"] = F.interpolate(target["masks"][:, None].float(), size=size)[:, 0].byte()
        return image, target
