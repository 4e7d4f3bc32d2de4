"""The exported network: features of a run's network, and the steps from them to a unit vector."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.metrics.whitening import Whitening
from simsiam_retrieval.training.run_folder import load_projector


class UnitVectors(nn.Module):
    """A backbone with normalisation before it and scaling to unit length after it.

    Input: float (n, 3, s, s) in [0, 255]. Output: (n, dim). Maps (n, c, h, w) of an intermediate ``layer`` are averaged
    over the image. Then ``projector`` and ``reduction`` follow, if there are any. A reduction is applied to unit
    vectors, like the probe's whitening.

    Args:
        backbone: A whole backbone, or its ``PooledStages`` (``methods/pooling.py``).
        layer: Name of an intermediate layer, or None.
        projector: Projector, or None.
        reduction: PCA, or None.
    """

    trainable: nn.Module | None
    pixel_mean: Tensor
    pixel_std: Tensor
    reduction_mean: Tensor
    reduction_projection: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        *,
        layer: str | None = None,
        projector: nn.Module | None = None,
        reduction: Whitening | None = None,
    ) -> None:
        super().__init__()
        self.normalisation = backbone.normalisation
        # the part that can be trained again from the file; object.__setattr__ avoids a second registration
        object.__setattr__(self, "trainable", backbone if layer is None else None)
        self.backbone = backbone if layer is None else _up_to(backbone, layer)
        self.projector = projector
        mean, std = (255 * torch.tensor(values)[:, None, None] for values in backbone.normalisation)  # type: ignore[union-attr]
        self.register_buffer("pixel_mean", mean)
        self.register_buffer("pixel_std", std)
        self.reduced = reduction is not None
        if reduction is not None:
            self.register_buffer("reduction_mean", reduction.mean)
            self.register_buffer("reduction_projection", reduction.projection)
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute unit vectors.

        Args:
            pixels: float (n, 3, s, s) in [0, 255].

        Returns:
            float (n, dim).
        """
        features = self.backbone((pixels - self.pixel_mean) / self.pixel_std)
        if isinstance(features, dict):  # the output of a feature extractor
            features = features["features"]
        if features.ndim == 4:
            features = features.mean(dim=(2, 3))
        if self.projector is not None:
            features = self.projector(features)
        vectors = F.normalize(features, dim=1)
        if self.reduced:
            vectors = F.normalize((vectors - self.reduction_mean) @ self.reduction_projection, dim=1)
        return vectors


def with_projector(run: Path) -> nn.Module:
    """Load the trained projector of a run.

    Args:
        run: The run folder.

    Returns:
        The projector, in eval mode.

    Raises:
        UserError: The run has none.
    """
    projector = load_projector(run)
    if projector is None:
        raise UserError(f"{run}: it contains only a backbone, no projector; leave out --with-projector")
    return projector


def _up_to(backbone: nn.Module, layer: str) -> nn.Module:
    names = get_graph_node_names(backbone)[1][1:-1]  # without the input and the removed classifier
    # the name of a module means its last operation, as in create_feature_extractor
    if not any(name == layer or name.startswith(f"{layer}.") for name in names):
        stages = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
        raise UserError(f"--layer {layer}: not in this network, which has {stages} (and parts such as layer3.0)")
    return create_feature_extractor(backbone, {layer: "features"}).eval()
