"""The monitor: label-free measurements on held-out images that show learning or collapse while a run trains."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..methods.base import Method
from ..metrics.spectrum import (
    alignment,
    explained_variance,
    explained_variance_auc,
    rankme,
    uniformity,
    view_retrieval,
)
from .augmentation import Augmentation, Parameters, apply, draw
from .knn_monitor import KnnCheck

EMBED_BATCH = 64  # images per batch; the same on every device
# docs/pretrain.md has measurements of runs with and without stop-gradient, on 126 and on 3,068 photos
STD_COLLAPSED = 0.3  # std of z in one training batch, times sqrt(d), below which it is a collapse
RANK_COLLAPSED = 0.06  # RankMe of held-out z, as a fraction of its maximum, below which it is a collapse
# A drop from the run's own maximum shows a collapse earlier. But RankMe can also drop in a healthy run; std then
# stays at 1.
RANK_FALLEN = 0.6  # fraction of the highest RankMe so far
STD_FALLEN = 0.95


@dataclass(frozen=True)
class Reading:
    """One measurement of the network in eval mode, with two views of each held-out image.

    Attributes:
        rankme: Effective rank of the projections z.
        rankme_features: Effective rank of the backbone's features.
        variance_auc: Of z; 1 means a single direction.
        view_retrieval: Fraction of first views whose nearest second view, by features, is their own.
        alignment: Of features: squared distance of an image's two views.
        uniformity: Of features.
        images: Number of images.
        variance_explained: Of z: share of variance in the first 1, 2, 4, 8, ... components.
        knn: Top-1 of kNN classification, if the held-out images have labels.
    """

    rankme: float
    rankme_features: float
    variance_auc: float
    view_retrieval: float
    alignment: float
    uniformity: float
    images: int
    variance_explained: tuple[float, ...] = ()
    knn: float | None = None

    def row(self) -> dict[str, Any]:
        """Return the values for ``metrics.jsonl``.

        Returns:
            Key -> rounded value.
        """
        names = ["rankme", "rankme_features", "variance_auc", "view_retrieval", "alignment", "uniformity"]
        if self.knn is not None:
            names.append("knn")
        values = {name: round(getattr(self, name), 5) for name in names}
        return {**values, "variance_explained": [round(share, 4) for share in self.variance_explained]}


class Monitor:
    """Measures a network with two fixed views of each held-out image.

    Args:
        views: The augmentation.
        pixels: uint8 (n, 3, s, s) on the CPU.
        aspect: Width / height, float (n,).
        generator: Draws the views once.
        knn: Measures kNN accuracy, or None.
    """

    def __init__(
        self,
        views: Augmentation,
        pixels: Tensor,
        aspect: Tensor,
        generator: torch.Generator,
        knn: KnnCheck | None = None,
    ) -> None:
        self._views, self._pixels, self._knn = views, pixels, knn
        self._drawn = [draw(views, aspect, generator) for _ in range(2)]

    @torch.no_grad()
    def look(self, model: Method, device: torch.device) -> Reading:
        """Measure a network. Its mode and BN statistics are not changed.

        Args:
            model: The network.
            device: torch device.

        Returns:
            The measurement.

        Raises:
            FloatingPointError: An output is not finite.
        """
        training = model.training
        model.eval()
        features: list[list[Tensor]] = [[], []]
        projections: list[Tensor] = []
        for start in range(0, len(self._pixels), EMBED_BATCH):
            part = slice(start, start + EMBED_BATCH)
            batch = self._pixels[part].to(device)
            for view, drawn in enumerate(self._drawn):
                x = apply(self._views, batch, Parameters(*(tensor[part] for tensor in drawn)))
                y = model.backbone(x)
                features[view].append(y.float().cpu())
                if view == 0:
                    projections.append(model.projector(y).float().cpu())
        knn = None if self._knn is None else self._knn.accuracy(model.backbone, device)
        model.train(training)
        first, second, z = torch.cat(features[0]), torch.cat(features[1]), torch.cat(projections)
        if not all(tensor.isfinite().all() for tensor in (first, second, z)):
            raise FloatingPointError("outputs that are not numbers")
        return Reading(
            rankme=rankme(z),
            rankme_features=rankme(first),
            variance_auc=explained_variance_auc(z),
            variance_explained=_curve(z),
            view_retrieval=view_retrieval(first, second),
            alignment=alignment(first, second),
            uniformity=uniformity(first),
            images=len(z),
            knn=knn,
        )


def _curve(z: Tensor) -> tuple[float, ...]:
    shares = explained_variance(z)
    return tuple(float(shares[2**power - 1]) for power in range(len(shares).bit_length()))


def verdict(std: float, reading: Reading | None, dim: int, best_rankme: float = 0.0) -> str | None:
    """Decide whether a run collapses.

    Args:
        std: Std of z in a training batch, times sqrt(dim).
        reading: The monitor's measurement, or None.
        dim: Width of z.
        best_rankme: Highest RankMe of z in this run so far.

    Returns:
        "collapse" if outputs are nearly the same for all images; "dimensional collapse" if outputs differ only along a
        few directions, or drop towards that from ``best_rankme``; otherwise None.
    """
    if not std >= STD_COLLAPSED:  # in this form NaN counts, too
        return "collapse"
    if reading is None:
        return None
    few = reading.rankme < RANK_COLLAPSED * min(reading.images, dim)
    falling = reading.rankme < RANK_FALLEN * best_rankme and std < STD_FALLEN
    return "dimensional collapse" if few or falling else None


def explain(
    kind: str,
    std: float,
    reading: Reading | None,
    *,
    stop_gradient: bool,
    batch_size: int,
    shared_predictor: bool = False,
) -> str:
    """Explain an alarm to the user: what was measured, what it means, what to change.

    Args:
        kind: From ``verdict``.
        std: Std of z, times sqrt(dim).
        reading: The monitor's measurement, or None.
        stop_gradient: Whether the run uses stop-gradient.
        batch_size: Images per step.
        shared_predictor: Whether several kinds of views share one predictor.

    Returns:
        One line.
    """
    if kind == "collapse":
        seen = f"every image gets nearly the same output (std {std:.2f} of 1)"
    else:
        assert reading is not None
        seen = f"outputs use about {reading.rankme:.0f} directions for {reading.images} images, std {std:.2f} of 1"
    causes = []
    if not stop_gradient:
        causes.append("stop-gradient is off: leave out --no-stop-gradient")
    if shared_predictor:
        causes.append("small views share the predictor: leave out --view-predictors shared")
    if batch_size < 32:
        causes.append(f"batches of {batch_size} are small for batch normalisation: --batch-size 64 or more")
    causes += ["a learning rate too high: halve --base-lr", "images too much alike: add others"]
    return f"{kind}: {seen}; the features will be of little use. Likely: " + "; or ".join(causes)
