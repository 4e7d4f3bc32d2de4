"""The backbone's weights in a file that timm reads, and the configuration that timm needs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from ..core.errors import UserError
from ..core.example_photos import example_photos
from ..evaluation.extractors import NetworkExtractor, unit_rows
from ..images.files import list_images
from ..training.run_folder import load_backbone
from .run_facts import Facts, OnnxFile

SAME_NETWORK = 1e-4  # largest difference between unit vectors of the fp32 file and the checkpoint; export's bound
SAME_TRAINING = 0.9  # smallest cosine between vectors of an fp16 or int8 file and the fp32 file
CHECKED_PHOTOS = 8
CLASSIFIER = "fc"


def save_weights(facts: Facts, file: Path) -> None:
    """Write the backbone of a run as safetensors, with torchvision's names, which timm uses too.

    Args:
        facts: The run.
        file: The safetensors file to write.

    Raises:
        UserError: The exported encoders are not of this checkpoint, for example because training continued after the
            export.
    """
    backbone, _ = load_backbone(facts.run)
    _check(backbone, facts)
    tensors = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    save_file(tensors, file, metadata={"format": "pt"})


def timm_config(facts: Facts) -> dict[str, Any]:
    """Build the part of ``config.json`` that ``timm.create_model("hf-hub:…")`` reads.

    Args:
        facts: The run.

    Returns:
        The configuration; empty if timm lacks the network.
    """
    if not facts.timm:
        return {}
    side = facts.default.encoder.image_size
    dim = 2048 if facts.config.backbone == "resnet50" else 512
    return {
        "architecture": facts.config.backbone,
        "num_classes": 0,
        "num_features": dim,
        "global_pool": "avg",
        "pretrained_cfg": {
            "tag": "simsiam",
            "custom_load": False,
            "input_size": [3, side, side],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(facts.config.mean),
            "std": list(facts.config.std),
            "num_classes": 0,
            "pool_size": None,
            "first_conv": "conv1",
            "classifier": CLASSIFIER,
        },
    }


def _check(backbone: nn.Module, facts: Facts) -> None:
    first = facts.default
    photos = [image.path for image in list_images([example_photos()]).images]
    photos = photos[:: len(photos) // CHECKED_PHOTOS][:CHECKED_PHOTOS]
    vectors = torch.from_numpy(first.encoder.embed(photos))
    if not first.beyond_backbone:  # otherwise the checkpoint alone does not give the vectors
        network = NetworkExtractor(backbone, first.encoder.image_size, "", "")
        squares = np.stack([first.encoder.square(photo) for photo in photos])
        difference = float((unit_rows(network.embed_squares(squares)) - vectors).abs().max())
        if not difference <= SAME_NETWORK:
            raise _other_checkpoint(first, f"vectors differ by {difference:.1e}", facts.run)
    for other in facts.encoders[1:]:
        cosine = float((torch.from_numpy(other.encoder.embed(photos)) * vectors).sum(dim=1).min())
        if not cosine >= SAME_TRAINING:
            raise _other_checkpoint(other, f"cosine to the fp32 file's vectors {cosine:.3f}", facts.run)


def _other_checkpoint(file: OnnxFile, found: str, run: Path) -> UserError:
    return UserError(
        f"{file.source}: not of this run's checkpoint ({found}); "
        f"export it again: python -m simsiam_retrieval.export {run}"
    )
