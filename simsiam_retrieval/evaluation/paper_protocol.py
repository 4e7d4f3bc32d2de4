"""The linear evaluation of the SimSiam paper: a classifier on a frozen backbone, trained by LARS on random crops."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import UserError
from ..images.files import ImageFile
from ..images.reading import AS_THEY_ARE, Reading
from ..training.augmentation import Augmentation, Parameters, apply, draw
from ..training.optimizer import LARS, cosine
from ..training.pixel_store import ImageStore, load_store
from .centre_squares import read_squares
from .extractors import normalisation_of, normalised, weights_hash

EPOCHS = 90
BATCH = 4096
BASE_LR = 0.1  # at batch 256, as in the authors' code, which gives the paper's numbers; the paper's text says 0.02
EMBED = 128  # images per call of the backbone
MIN_SCALE = 0.08  # smallest area of the random resized crop, as in supervised training


@dataclass(frozen=True)
class Trained:
    """A trained classifier over backbone features.

    Attributes:
        classifier: The linear layer.
        batch: Batch size that was used.
        lr: Learning rate that was used.
        losses: Mean loss of each epoch.
    """

    classifier: nn.Linear
    batch: int
    lr: float
    losses: list[float]


def train_classifier(
    backbone: nn.Module,
    image_size: int,
    store: ImageStore,
    labels: Tensor,
    classes: int,
    *,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    base_lr: float = BASE_LR,
    seed: int = 0,
    device: str = "cpu",
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> Trained:
    """Train a linear classifier on random crops (SimSiam, section 4 and appendix A, and the authors' code).

    Augmentation is a random resized crop (area 0.08 to 1) and flip. The backbone is in eval mode and is never changed;
    this is checked at the end. LARS with momentum 0.9, no weight decay, lr = base_lr * batch / 256, cosine schedule
    (here per step, in the authors' code per epoch), weights from N(0, 0.01^2).

    LARS moves weights by a thousandth of their length times lr. The result therefore depends on the number of images
    seen, which is 115 million in the paper. With a few thousand images, the classifier is still near its start after 90
    epochs; ``losses`` shows it.

    Args:
        backbone: The backbone.
        image_size: Side of the crops in pixels.
        store: The training images.
        labels: int64 (n,), of the store's rows.
        classes: Number of classes.
        epochs: Number of epochs.
        batch: Batch size; at most the number of images is used.
        base_lr: Learning rate at batch 256.
        seed: Seed.
        device: torch device.
        on_epoch: Called with the mean loss after each epoch.

    Returns:
        The classifier.

    Raises:
        RuntimeError: The backbone has changed.
    """
    before = weights_hash(backbone)
    backbone = backbone.eval().to(device)
    batch = min(batch, len(store))
    views = Augmentation(
        image_size,
        min_scale=MIN_SCALE,
        jitter_probability=0.0,
        grey_probability=0.0,
        blur_probability=0.0,
        normalisation=normalisation_of(backbone),
    )
    generator = torch.Generator().manual_seed(seed)
    classifier = nn.Linear(int(backbone.feature_dim), classes)  # type: ignore[arg-type]
    with torch.no_grad():
        classifier.weight.normal_(0, 0.01, generator=generator)
        classifier.bias.zero_()
    classifier.to(device)
    lr = base_lr * batch / 256
    optimizer = LARS(classifier.parameters(), lr)
    total, step, losses = epochs * -(-len(store) // batch), 0, []
    for _ in range(epochs):
        order = torch.randperm(len(store), generator=generator)
        running = 0.0
        for rows in order.split(batch):
            drawn = draw(views, torch.from_numpy(store.aspect[rows.numpy()]), generator)
            features = _view_features(backbone, views, store, rows, drawn, device)
            for group in optimizer.param_groups:
                group["lr"] = lr * cosine(step, total)
            optimizer.zero_grad()
            loss = F.cross_entropy(classifier(features), labels[rows].to(device))
            loss.backward()
            optimizer.step()
            step += 1
            running += float(loss.detach()) * len(rows) / len(store)
        losses.append(running)
        on_epoch(running)
    if weights_hash(backbone) != before:
        raise RuntimeError("the frozen backbone changed during linear evaluation")
    return Trained(classifier.cpu(), batch, lr, losses)


@torch.no_grad()
def _view_features(
    backbone: nn.Module, views: Augmentation, store: ImageStore, rows: Tensor, drawn: Parameters, device: str
) -> Tensor:
    parts = []
    for start in range(0, len(rows), EMBED):
        part = slice(start, start + EMBED)
        images = torch.from_numpy(store.take(rows[part].numpy())).to(device)
        parts.append(backbone(apply(views, images, Parameters(*(tensor[part] for tensor in drawn)))))
    return torch.cat(parts)


def paper_scores(
    backbone: nn.Module,
    image_size: int,
    train: tuple[list[ImageFile], Tensor],
    test: list[ImageFile],
    classes: int,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    workers: int | None = None,
    device: str = "cpu",
    reading: Reading = AS_THEY_ARE,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> tuple[Tensor, Trained]:
    """Train on one set of files, and compute class scores for the centre crops of another.

    Args:
        backbone: The backbone.
        image_size: Side of the crops in pixels.
        train: Training files and their labels, int64 (n,).
        test: Test files.
        classes: Number of classes.
        epochs: See ``train_classifier``.
        seed: See ``train_classifier``.
        workers: Number of worker processes; None chooses it.
        device: torch device.
        on_epoch: See ``train_classifier``.
        reading: How files become pixels.

    Returns:
        Class scores, float32 (m, classes), and the classifier.

    Raises:
        UserError: A file can no longer be read.
    """
    files, labels = train
    store = load_store(files, round(1.5 * image_size), workers=workers, reading=reading)
    if store.rejected:
        path, reason = store.rejected[0]
        raise UserError(f"{path}: {reason}; it could be read a moment ago")
    trained = train_classifier(
        backbone, image_size, store, labels, classes, epochs=epochs, seed=seed, device=device, on_epoch=on_epoch
    )
    scores = []
    position = 0
    for chunk in read_squares(test, image_size, workers=workers, reading=reading):
        for square in chunk:
            if isinstance(square, str):
                raise UserError(f"{test[position].path}: {square}; it could be read a moment ago")
            position += 1
        with torch.no_grad():
            x = normalised(np.stack(chunk), backbone).to(device)  # type: ignore[arg-type]
            scores.append(trained.classifier(backbone(x).cpu()))
    return torch.cat(scores), trained
