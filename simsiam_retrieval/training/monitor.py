"""Is it learning, or collapsing? Measured on held-out images, without labels, while a run trains."""

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

EMBED_BATCH = 64  # images at once; the same on every device

# What runs with and without stop-gradient read, on 126 and on 3,068 photos, is in docs/pretrain.md.
STD_COLLAPSED = 0.3  # of z in one training batch, times sqrt(d)
RANK_COLLAPSED = 0.06  # RankMe of held-out z, as a part of what these images allow
# a fall from the run's own best is seen earlier, but a healthy run's RankMe falls too: not while std stays at 1
RANK_FALLEN = 0.6  # of the highest so far
STD_FALLEN = 0.95


@dataclass(frozen=True)
class Reading:
    """One look at the network in eval mode, on both views of the held-out images."""

    rankme: float  # effective rank of the projections z
    rankme_features: float  # and of the backbone's features
    variance_auc: float  # of z: 1 is a single direction
    view_retrieval: float  # part of first views that find their own second view among all, by features
    alignment: float  # of features: squared distance of an image's two views
    uniformity: float  # of features
    images: int
    variance_explained: tuple[float, ...] = ()  # of z: share of variance in the first 1, 2, 4, 8, ... components
    knn: float | None = None  # top-1 of kNN classification of held-out images, where they have labels

    def row(self) -> dict[str, Any]:
        """The values as they go into ``metrics.jsonl``."""
        names = ["rankme", "rankme_features", "variance_auc", "view_retrieval", "alignment", "uniformity"]
        if self.knn is not None:
            names.append("knn")
        values = {name: round(getattr(self, name), 5) for name in names}
        return {**values, "variance_explained": [round(share, 4) for share in self.variance_explained]}


class Monitor:
    """Looks at a network through two fixed views of each held-out image."""

    def __init__(
        self,
        views: Augmentation,
        pixels: Tensor,
        aspect: Tensor,
        generator: torch.Generator,
        knn: KnnCheck | None = None,
    ) -> None:
        """``pixels``: uint8 (n, c, s, s) on the CPU; ``aspect``: (n,). The views are drawn once, from ``generator``."""
        self._views, self._pixels, self._knn = views, pixels, knn
        self._drawn = [draw(views, aspect, generator) for _ in range(2)]

    @torch.no_grad()
    def look(self, model: Method, device: torch.device) -> Reading:
        """Measure ``model``; its mode and its BN statistics are left as they were.

        Raises ``FloatingPointError`` when its outputs are not finite.
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
    """What is wrong, in a word, or None.

    "collapse": outputs are nearly the same for all images (``std``, of a training batch, times sqrt(dim)).
    "dimensional collapse": outputs differ, but only along a few directions, or fall towards that from
    ``best_rankme``, the highest RankMe of z in this run so far.
    """
    if not std >= STD_COLLAPSED:  # catches not-a-number too
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
    """The alarm for people: what is seen, what it means, what to change.

    ``shared_predictor``: several kinds of views go through one predictor.
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
