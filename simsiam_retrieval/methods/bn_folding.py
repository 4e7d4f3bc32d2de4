"""Recovering a trainable backbone from an exported encoder.

The exporter folds each BatchNorm into the convolution before it. That makes inference faster, but a folded network
cannot be trained. The export therefore stores the BN vectors in the file's metadata. This module uses them to unfold
the convolutions.
"""

import base64
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from ..core.errors import UserError
from ..images.normalisation import IMAGENET, Normalisation
from .backbone import build_backbone

METADATA_KEY = "batch_norm"
VECTORS = ("weight", "bias", "running_mean", "running_var")
SMALLEST_SCALE = 1e-6  # a channel with a smaller BN scale was folded to about zero and cannot be unfolded


def _norms(backbone: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: module for name, module in backbone.named_modules() if isinstance(module, nn.BatchNorm2d)}


def _convolution_of(norm: str) -> str:
    """Name of the convolution before a BN layer of a torchvision ResNet."""
    return norm[:-1] + "0" if norm.endswith("downsample.1") else norm.replace("bn", "conv")


def pack_batch_norm(backbone: nn.Module) -> str:
    """Encode the BN vectors of a backbone as text for the metadata of an ONNX file.

    Args:
        backbone: A torchvision ResNet.

    Returns:
        base64 of little-endian float32: layer by layer, each in the order of ``VECTORS``.
    """
    vectors = [getattr(norm, name).detach().cpu() for norm in _norms(backbone).values() for name in VECTORS]
    return base64.b64encode(torch.cat(vectors).numpy().astype("<f4").tobytes()).decode()


def pack_normalisation(normalisation: Normalisation) -> dict[str, str]:
    """Encode a normalisation as metadata.

    Args:
        normalisation: Mean and standard deviation per channel.

    Returns:
        ``{"mean": "R G B", "std": "R G B"}``.
    """
    return {name: " ".join(map(str, channels)) for name, channels in normalisation._asdict().items()}


def stored_normalisation(metadata: dict[str, str]) -> Normalisation:
    """Read the normalisation from an encoder's metadata.

    Args:
        metadata: Metadata of an ONNX file.

    Returns:
        The stored normalisation; ImageNet's if there is none.
    """
    if "mean" not in metadata:  # old files: all encoders used ImageNet's
        return IMAGENET
    return Normalisation(*(tuple(map(float, metadata[name].split())) for name in Normalisation._fields))  # type: ignore[arg-type]


def backbone_from_onnx(file: Path) -> nn.Module:
    """Recover the trainable backbone of an exported encoder.

    Weights are recovered up to rounding (float16 files: about 3 digits). Channels with a BN scale of zero get fresh
    weights, because the file contains nothing of them. The same holds for stages that the encoder does not need: the
    file does not contain them.

    Args:
        file: An ``encoder.onnx`` that ``export`` wrote.

    Returns:
        The backbone in train mode. ``backbone.missing`` names the stages that are not in the file, for example
        ``("layer3", "layer4")``; it is empty if all weights are there.

    Raises:
        UserError: The file is not such an encoder, is damaged, or was written without its BN vectors.
    """
    try:
        model = onnx.load(file)
    except FileNotFoundError:
        raise UserError(f"{file}: no such encoder file") from None
    # protobuf's errors have no common base class except Exception
    except Exception:  # noqa: BLE001
        raise UserError(f"{file}: damaged, or not an ONNX model") from None
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in metadata or "backbone" not in metadata:
        raise UserError(f"{file}: contains no weights to train from; use an encoder or a run folder of this package")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # weights that are not in the file are at least the same every time
        normalisation = stored_normalisation(metadata)
        backbone = build_backbone(metadata["backbone"], metadata.get("stem", "imagenet"), normalisation)
    packed = torch.from_numpy(np.frombuffer(base64.b64decode(metadata[METADATA_KEY]), "<f4").copy())
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    state = backbone.state_dict()
    position = 0
    missing: dict[str, None] = {}
    for name, norm in _norms(backbone).items():
        if position == len(packed):  # a file contains the first stages: the remaining ones are missing
            missing[name.partition(".")[0]] = None
            continue
        for vector in VECTORS:
            state[f"{name}.{vector}"] = packed[position : position + norm.num_features]
            position += norm.num_features
        weight = f"{_convolution_of(name)}.weight"
        stored = tensors.get(f"backbone.{weight}") or tensors.get(f"backbone.{weight}_half")
        if stored is None:
            raise UserError(f"{file}: lacks the weights of {weight}; was it changed by another tool?")
        folded = torch.from_numpy(numpy_helper.to_array(stored).astype(np.float32))
        scale = state[f"{name}.weight"] / (state[f"{name}.running_var"] + norm.eps).sqrt()
        usable = scale.abs() > SMALLEST_SCALE
        state[weight][usable] = folded[usable] / scale[usable][:, None, None, None]
    backbone.load_state_dict(state)
    backbone.missing = tuple(missing)  # type: ignore[assignment]
    return backbone.train()


def reduction_from_onnx(file: Path) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Read the PCA that an encoder applies to its unit features.

    Args:
        file: An encoder that ``backbone_from_onnx`` or ONNX Runtime has read without error.

    Returns:
        Mean (d,) and projection (d, dim), both float32; None if the encoder has no PCA.
    """
    tensors = {tensor.name: tensor for tensor in onnx.load(file).graph.initializer}
    if "reduction_projection" not in tensors:
        return None
    mean, projection = (numpy_helper.to_array(tensors[f"reduction_{name}"]) for name in ("mean", "projection"))
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(projection.astype(np.float32))
