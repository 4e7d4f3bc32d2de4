"""Building the network of a run from its settings."""

from typing import Any

from ..methods.backbone import build_backbone
from ..methods.base import Method
from ..methods.byol import BYOL
from ..methods.moco_v2 import MoCoV2
from ..methods.simclr import SimCLR
from ..methods.simsiam import SimSiam
from ..methods.simsiam_alternating import Alternating, AveragedEta
from ..methods.swav import SwAV
from .config import Config


def build_model(config: Config) -> Method:
    """Build the network of a run, initialised from torch's global generator.

    Args:
        config: Settings of the run.

    Returns:
        The method with its network.
    """
    backbone = build_backbone(config.backbone, config.stem, config.normalisation)
    kind, own = _kind(config)
    return kind(
        backbone,
        backbone.feature_dim,  # type: ignore[arg-type]
        dim=config.projector_dim,
        projector_hidden_dim=config.projector_hidden_dim or config.projector_dim,
        projector_layers=config.projector_layers,
        predictor_hidden_dim=config.predictor_dim,
        predictor_kind=config.predictor,
        predictor_decays=config.predictor_lr == "cosine",
        bn=config.head_bn,
        kinds=tuple(dict.fromkeys(config.further_views)) if config.view_predictors == "own" else (),
        **own,
    )


def _kind(config: Config) -> tuple[type[Method], dict[str, Any]]:
    """A method's class, and its settings apart from the heads."""
    symmetric = config.symmetry == "symmetric"
    match config.method:
        case "simclr":
            return SimCLR, {"temperature": config.temperature, "stop_gradient": config.stop_gradient}
        case "moco-v2":
            return MoCoV2, {
                "momentum": config.target_momentum,
                "temperature": config.temperature,
                "queue_size": config.queue_size,
                "groups": config.bn_groups,
                "symmetric": symmetric,
            }
        case "byol":
            return BYOL, {"momentum": config.target_momentum, "symmetric": symmetric}
        case "swav":
            return SwAV, {
                "prototypes": config.prototypes,
                "temperature": config.temperature,
                "frozen_epochs": config.frozen_prototypes,
                "stop_gradient": config.stop_gradient,
            }
    own: dict[str, Any] = {
        "similarity": config.similarity,
        "symmetric": symmetric,
        "stop_gradient": config.stop_gradient,
        "guided": config.guided,
    }
    if config.eta_average:
        return AveragedEta, {**own, "average": config.eta_average}
    if config.alternation != 1:
        return Alternating, {**own, "steps": config.alternation}
    return SimSiam, own
