"""Weights to start from: another run's, or those inside an exported encoder."""

from pathlib import Path

import onnx
from torch import nn

from ..core import cli
from ..core.errors import UserError
from ..encoder.hub import PREFIX
from ..encoder.onnx_encoder import find_encoder
from ..images.normalisation import Normalisation
from ..methods.backbone import whole_network, with_stages_of
from ..methods.bn_folding import backbone_from_onnx
from ..methods.feature_description import METADATA_KEY, WHOLE, Features, described
from .config import Config
from .run_folder import Run, load_backbone

SHIPPED = "default"  # the word for the encoder that comes with the package


def initial_backbone(init: str, config: Config) -> nn.Module:
    """The backbone of ``init``: a run folder, an ``.onnx`` encoder of this package, one on the Hub (``hf://…``), or
    "default" for the shipped one.

    Of the same ResNet with more stages the first ones are taken; stages that it lacks start from random weights, and a
    remark says so.

    Raises :class:`UserError` when it is not there, damaged, or not the backbone that ``config`` asks for.
    """
    path = _path(init)
    backbone = load_backbone(path)[0] if (path / "checkpoint.pt").exists() else backbone_from_onnx(find_encoder(path))
    wanted = (config.backbone, config.stem)
    found = (str(backbone.name), str(backbone.stem))
    if (whole_network(found[0]), found[1]) != (whole_network(wanted[0]), wanted[1]):
        raise UserError(
            f"--init {init}: holds a {found[0]} with the {found[1]} stem, not {wanted[0]} with {wanted[1]}; "
            f"add --backbone {found[0]} --stem {found[1]}"
        )
    normalisation: Normalisation = backbone.normalisation  # type: ignore[assignment]
    if normalisation != config.normalisation:
        mean, std = (" ".join(map(str, values)) for values in normalisation)
        raise UserError(f"--init {init}: takes pixels normalised in its own way; add --mean {mean} --std {std}")
    held = _stages(backbone) - set(getattr(backbone, "missing", ()))
    backbone = with_stages_of(backbone, config.backbone)
    fresh = sorted(_stages(backbone) - held)
    if fresh:
        cli.remark(f"--init {init}: holds no weights of {', '.join(fresh)}, which start as initialised")
    return backbone


def _stages(backbone: nn.Module) -> set[str]:
    """Names of the stages that have weights, such as layer1."""
    return {name.partition(".")[0] for name, _ in backbone.named_parameters() if name.startswith("layer")}


def initial_features(init: str) -> Features | None:
    """The feature description of ``init``, for a run that begins with its weights; None where there is none."""
    path = _path(init)
    if (path / "checkpoint.pt").exists():
        kept = Run(path).read().get("features")
        if kept is not None or not (path / "encoder.onnx").exists():
            return None if kept is None else Features.parse(kept)
    metadata = {entry.key: entry.value for entry in onnx.load(find_encoder(path)).metadata_props}
    return None if metadata.get(METADATA_KEY, WHOLE) == WHOLE else described(metadata)


def _path(init: str) -> Path:
    if init.startswith(PREFIX):
        return find_encoder(init)
    return find_encoder(None) if init == SHIPPED else Path(init).expanduser()
