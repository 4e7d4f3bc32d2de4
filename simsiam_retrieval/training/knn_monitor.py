"""kNN accuracy during training, if images have labels. Training itself never uses the labels."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..metrics.knn import knn_scores
from .augmentation import Augmentation, Parameters, apply, centre
from .data_split import Plan
from .pixel_store import ImageStore

GALLERY = 2048  # largest number of training images whose labels vote
NEIGHBOURS = 20
EMBED_BATCH = 64


class KnnCheck:
    """kNN accuracy of held-out images among training images, with backbone features of centre crops.

    Args:
        settings: The augmentation.
        store: The images.
        plan: The steps of the run.
        labels: int64 (n,), one per image of the store; -1 for none.

    Raises:
        ValueError: ``can_check`` returns False.
    """

    def __init__(self, settings: Augmentation, store: ImageStore, plan: Plan, labels: Tensor) -> None:
        if not can_check(plan, labels):
            raise ValueError("no labels to check with")
        self._settings = settings
        gallery = plan.training[labels[plan.training] >= 0]
        # evenly spaced in a list sorted by path, so that every folder is included
        gallery = gallery[torch.linspace(0, len(gallery) - 1, min(GALLERY, len(gallery))).round().long()]
        queries = plan.held_out[labels[plan.held_out] >= 0]
        self._labels, self._truth = labels[gallery], labels[queries]
        self._classes = int(labels.max()) + 1
        rows = torch.cat([gallery, queries])
        self._pixels = torch.from_numpy(store.take(rows.numpy()))
        self._parameters = centre(torch.from_numpy(store.aspect)[rows])

    def accuracy(self, backbone: nn.Module, device: torch.device) -> float:
        """Measure the accuracy.

        Args:
            backbone: The backbone, in eval mode.
            device: torch device.

        Returns:
            Top-1 of the weighted kNN classifier, in [0, 1].

        Raises:
            FloatingPointError: A feature is not finite.
        """
        features = []
        for start in range(0, len(self._pixels), EMBED_BATCH):
            part = slice(start, start + EMBED_BATCH)
            drawn = Parameters(*(tensor[part] for tensor in self._parameters))
            x = apply(self._settings, self._pixels[part].to(device), drawn)
            features.append(F.normalize(backbone(x).float(), dim=1).cpu())
        vectors = torch.cat(features)
        if not vectors.isfinite().all():
            raise FloatingPointError("outputs that are not numbers")
        gallery, queries = vectors[: len(self._labels)], vectors[len(self._labels) :]
        scores = knn_scores(gallery, self._labels, queries, self._classes, k=NEIGHBOURS)
        return float((scores.argmax(dim=1) == self._truth).float().mean())


def can_check(plan: Plan, labels: Tensor) -> bool:
    """Return whether kNN accuracy can be measured: there are two classes and held-out images with labels.

    Args:
        plan: The steps of the run.
        labels: int64 (n,), -1 for none.

    Returns:
        True if it can.
    """
    apart = not torch.isin(plan.held_out, plan.training).any()
    return bool(apart and len(labels[labels >= 0].unique()) > 1 and (labels[plan.held_out] >= 0).any())


def folder_labels(paths: Sequence[Path], roots: Sequence[Path]) -> Tensor:
    """Derive labels from folders: the class is the folder directly below the root.

    Classes are numbered in the order of their names. Equal names below several roots are one class.

    Args:
        paths: Paths of the images.
        roots: Folders that were searched.

    Returns:
        int64 (n,); -1 for an image outside such folders.
    """
    names = []
    for path in paths:
        root = next((root for root in roots if path.is_relative_to(root)), path)
        below = path.relative_to(root).parts
        names.append(below[0] if len(below) > 1 else None)
    numbers = {name: number for number, name in enumerate(sorted({name for name in names if name is not None}))}
    return torch.tensor([-1 if name is None else numbers[name] for name in names], dtype=torch.int64)
