"""Weights to start from: another run's, or those of an exported encoder."""

from pathlib import Path
from typing import Any

import onnx
from torch import nn

from ..core import cli
from ..core.errors import UserError
from ..encoder.find_encoder import find_encoder
from ..encoder.hub import PREFIX
from ..images.normalisation import Normalisation
from ..methods.backbone import whole_network, with_stages_of
from ..methods.bn_folding import backbone_from_onnx
from ..methods.feature_description import METADATA_KEY, WHOLE, Features, described
from .config import Config
from .run_folder import Run, load_backbone

SHIPPED = "default"  # name of the encoder that is installed with the package


def initial_backbone(init: str, config: Config) -> nn.Module:
    """Load a backbone to start from.

    If it is the same ResNet with more stages, its first stages are used. Stages that it lacks start with random
    weights; a message says so.

    Args:
        init: A run folder, an ``.onnx`` encoder of this package, ``hf://…``, or "default" for the encoder of the
            package.
        config: Settings of the run.

    Returns:
        The backbone.

    Raises:
        UserError: It is missing, damaged, or not the backbone that ``config`` requires.
    """
    path = _path(init)
    backbone = load_backbone(path)[0] if (path / "checkpoint.pt").exists() else backbone_from_onnx(find_encoder(path))
    wanted = (config.backbone, config.stem)
    found = (str(backbone.name), str(backbone.stem))
    if (whole_network(found[0]), found[1]) != (whole_network(wanted[0]), wanted[1]):
        raise UserError(
            f"--init {init}: contains a {found[0]} with the {found[1]} stem, not {wanted[0]} with {wanted[1]}; "
            f"add --backbone {found[0]} --stem {found[1]}"
        )
    normalisation: Normalisation = backbone.normalisation  # type: ignore[assignment]
    if normalisation != config.normalisation:
        mean, std = (" ".join(map(str, values)) for values in normalisation)
        raise UserError(f"--init {init}: needs another normalisation of the pixels; add --mean {mean} --std {std}")
    held = _stages(backbone) - set(getattr(backbone, "missing", ()))
    backbone = with_stages_of(backbone, config.backbone)
    fresh = sorted(_stages(backbone) - held)
    if fresh:
        cli.remark(f"--init {init}: has no weights of {', '.join(fresh)}, which start with random weights")
    return backbone


def _stages(backbone: nn.Module) -> set[str]:
    """Names of the stages that have weights, such as layer1."""
    return {name.partition(".")[0] for name, _ in backbone.named_parameters() if name.startswith("layer")}


def initial_facts(init: str, config: Config) -> dict[str, Any]:
    """Read what a run stores about the weights that it starts from, for its own export.

    Args:
        init: See ``initial_backbone``.
        config: Settings of the run.

    Returns:
        "features": the feature description, if there is one. "embed_at": the side in pixels at which ``init`` sees
        images, if the run's views are smaller; features of a grid need the maps of that size.
    """
    path = _path(init)
    if (path / "checkpoint.pt").exists():
        stored = Run(path).read()
        kept, size = stored.get("features"), stored.get("embed_at", 0)
        if kept is not None or not (path / "encoder.onnx").exists():
            return _kept(kept, size, config)
    metadata = {entry.key: entry.value for entry in onnx.load(find_encoder(path)).metadata_props}
    found = None if metadata.get(METADATA_KEY, WHOLE) == WHOLE else described(metadata)
    return _kept(None if found is None else str(found), int(metadata.get("image_size", 0)), config)


def _kept(features: str | None, size: int, config: Config) -> dict[str, Any]:
    if features is None:
        return {}
    Features.parse(features)
    return {"features": features} | ({"embed_at": size} if size > config.image_size else {})


def _path(init: str) -> Path:
    if init.startswith(PREFIX):
        return find_encoder(init)
    return find_encoder(None) if init == SHIPPED else Path(init).expanduser()
