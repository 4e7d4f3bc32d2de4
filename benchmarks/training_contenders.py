"""The training loops that ``train_throughput.py`` compares: ours, PyTorch's convolutions, a plain loop, lightly."""

import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torchvision import transforms as T

from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.images.normalisation import IMAGENET
from simsiam_retrieval.images.worker_pool import available_cpus
from simsiam_retrieval.methods.small_map_layers import SmallMapConv2d
from simsiam_retrieval.training import augmentation
from simsiam_retrieval.training.batches import Batches
from simsiam_retrieval.training.build_model import build_model
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.data_split import make_plan
from simsiam_retrieval.training.loop import augmentation_of
from simsiam_retrieval.training.pixel_store import load_store
from simsiam_retrieval.training.recipes import recipe

CASES = {
    "resnet18-32": Config(**{**vars(recipe("cifar")), "batch_size": 128}),
    "resnet18-32-small-maps": Config(image_size=32, batch_size=256, min_scale=0.05),
    "resnet18-64": Config(image_size=64, batch_size=128),
    "resnet18-128": Config(batch_size=64),
    "resnet50-224": Config(**{**vars(recipe("imagenet")), "batch_size": 32}),
}


@dataclass
class Case:
    """What all contenders share."""

    config: Config
    files: list[Path]
    device: torch.device
    bfloat16: bool

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def sgd(self, model: nn.Module) -> torch.optim.SGD:
        lr = self.config.base_lr * self.config.batch_size / 256
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=self.config.weight_decay)


# each next() is one step; what it yields are seconds by part, where known
Step = Generator[dict[str, float], None, None]


class Clock:
    """Seconds by part of a step; waits for a GPU only when asked to split."""

    split = False

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self.since = 0.0

    def start(self) -> None:
        self.seconds, self.since = {}, self._now()

    def lap(self, part: str) -> None:
        now = self._now()
        self.seconds[part] = now - self.since
        self.since = now

    def laps(self) -> dict[str, float]:
        return dict(self.seconds)

    def _now(self) -> float:
        if Clock.split and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def ours(case: Case, *, fast: bool = True) -> Step:
    """The loop of ``training/loop.py`` with a clock between its parts."""
    config, device = case.config, case.device
    listing = [file for file in list_images(case.files).images]
    store = load_store(listing, config.store_side)
    plan = make_plan(Config(**{**vars(config), "epochs": 1_000_000}), len(store))
    settings = augmentation_of(config)
    model = build_model(config).to(device).to(memory_format=torch.channels_last).train()
    if device.type == "cpu":
        SmallMapConv2d.replace(model, fast=fast)
    optimizer = torch.optim.SGD(
        model.parameter_groups(), lr=0.01, momentum=0.9, weight_decay=config.weight_decay, fused=device.type == "cuda"
    )
    clock = Clock(device)
    clock.start()
    for batch in Batches(store, plan, [settings] * 2, device).after(0):
        clock.lap("data")
        x = [augmentation.apply(settings, batch.pixels, drawn) for drawn in batch.views]
        clock.lap("augment")
        with case.autocast():
            output = model(*x)
        clock.lap("forward")
        optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        clock.lap("backward")
        optimizer.step()
        clock.lap("optimizer")
        yield clock.laps()
        clock.start()


def before(case: Case) -> Step:
    """Ours with PyTorch's own convolutions."""
    return ours(case, fast=False)


def pil_views(config: Config) -> Callable[[Image.Image], list[torch.Tensor]]:
    """MoCo v2's augmentation as everybody writes it."""
    steps = [
        T.RandomResizedCrop(config.image_size, scale=(config.min_scale, 1.0)),
        T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        T.RandomGrayscale(p=0.2),
        T.RandomHorizontalFlip(),
        T.ToTensor(),
        T.Normalize(*IMAGENET),
    ]
    if config.blur:
        # a kernel of a tenth of the image's side, as is usual
        kernel = max(3, config.image_size // 10 // 2 * 2 + 1)
        blur = T.GaussianBlur(kernel, sigma=augmentation_of(config).blur_sigma)
        steps.insert(3, T.RandomApply([blur], p=config.blur))
    transform = T.Compose(steps)
    return lambda image: [transform(image), transform(image)]  # type: ignore[list-item]


class PilFiles(torch.utils.data.Dataset):
    """Decode and transform at each access."""

    def __init__(self, files: list[Path], config: Config) -> None:
        self.files, self.config = files, config
        self.views: Callable[[Image.Image], list[torch.Tensor]] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        if self.views is None:
            torch.set_num_threads(1)
            self.views = pil_views(self.config)
        with Image.open(self.files[index]) as image:
            return self.views(image.convert("RGB"))


def plain(case: Case) -> Step:
    """PIL transforms in DataLoader workers."""
    loader = torch.utils.data.DataLoader(
        PilFiles(case.files, case.config),
        batch_size=case.config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=available_cpus(),
        pin_memory=case.device.type == "cuda",
        persistent_workers=True,
    )
    model = build_model(case.config).to(case.device).train()
    optimizer = case.sgd(model)
    while True:
        for views in loader:
            x1, x2 = (view.to(case.device, non_blocking=True) for view in views)
            with case.autocast():
                loss = model(x1, x2).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield {}


def lightly(case: Case) -> Step:
    """After lightly's own SimSiam example, with its heads as wide as ours."""
    from lightly.data.dataset import LightlyDataset  # pyright: ignore[reportMissingImports]
    from lightly.loss.negative_cosine_similarity import NegativeCosineSimilarity  # pyright: ignore[reportMissingImports]
    from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead  # pyright: ignore[reportMissingImports]
    from lightly.transforms.simsiam_transform import SimSiamTransform  # pyright: ignore[reportMissingImports]

    config = case.config

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = build_model(config).backbone
            width = int(self.backbone.feature_dim)  # type: ignore[arg-type]
            dim = config.projector_dim
            self.projection_head = SimSiamProjectionHead(width, dim, dim)
            self.prediction_head = SimSiamPredictionHead(dim, config.predictor_dim, dim)

        def forward(self, x):
            z = self.projection_head(self.backbone(x).flatten(start_dim=1))
            return z.detach(), self.prediction_head(z)

    transform = SimSiamTransform(
        input_size=config.image_size, min_scale=config.min_scale, gaussian_blur=config.blur, cj_prob=0.8
    )
    root = Path(os.path.commonpath(case.files))
    names = [str(file.relative_to(root)) for file in case.files]
    loader = torch.utils.data.DataLoader(
        LightlyDataset(str(root), transform=transform, filenames=names),  # type: ignore[arg-type]
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=available_cpus(),
        pin_memory=case.device.type == "cuda",
        persistent_workers=True,
    )
    model = Model().to(case.device).train()
    criterion, optimizer = NegativeCosineSimilarity(), case.sgd(model)
    while True:
        for batch in loader:
            x0, x1 = (view.to(case.device, non_blocking=True) for view in batch[0])
            with case.autocast():
                z0, p0 = model(x0)
                z1, p1 = model(x1)
                loss = 0.5 * (criterion(z0, p1) + criterion(z1, p0))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield {}


CONTENDERS: dict[str, Callable[[Case], Step]] = {"ours": ours, "before": before, "plain": plain, "lightly": lightly}
