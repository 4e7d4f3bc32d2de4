"""All settings of a fine-tuning, and the named recipes. Imports no torch, so that ``--help`` is fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..core.errors import UserError


@dataclass(frozen=True)
class Settings:
    """The settings that all fine-tunings of a comparison share."""

    recipe: Literal["small", "voc", "coco"] = "small"
    """Named set of settings: small (a few hundred images on a CPU), or the paper's for VOC and COCO.
    Options override it."""
    head: Literal["c4", "fpn"] = "c4"
    """RoI head: c4 (on the fourth stage, with the fifth as its network; the paper's), or fpn (a feature pyramid)."""
    masks: bool = False
    """Train Mask R-CNN, for COCO files with segmentations."""
    image_size: int = 240
    """Short side of the images in testing, in pixels; anchors are in proportion to it."""
    smallest: float = 0.8
    """Smallest short side in training, as a part of image-size."""
    batch_size: int = 4
    """Images a step."""
    steps: int = 600
    """Steps of SGD."""
    warmup_steps: int = 50
    """Steps over which the learning rate rises."""
    decay: tuple[float, float] = (0.75, 11 / 12)
    """Parts of the steps after which the learning rate falls to a tenth, and to a hundredth."""
    weight_decay: float = 1e-4
    """L2 penalty on weights, not on BN."""
    roi_size: int = 8
    """Side of the pooled regions of the c4 head, which its strided stage halves; 14 in the paper."""
    rois: int = 32
    """Regions of each image that the head is trained on; 512 in the paper."""
    proposals: int = 150
    """Regions of each image that the head uses in testing; twice as many in training. 1000 in the paper."""
    bn_batches: int = 20
    """Training batches over which BN's statistics are measured at the end; 200 in the paper."""

    def check(self) -> None:
        """Check all values.

        Raises:
            UserError: A value is out of range.
        """
        limits = {
            "image_size": (32, 2048),
            "smallest": (0.1, 1),
            "batch_size": (2, 1024),  # BN needs more than one image
            "steps": (1, 10_000_000),
            "warmup_steps": (0, 10_000_000),
            "decay": (0, 1),
            "weight_decay": (0, 1),
            "roi_size": (4, 56),
            "rois": (4, 4096),
            "proposals": (1, 10_000),
            "bn_batches": (1, 10_000),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if not low <= number <= high:
                    raise UserError(f"--{name.replace('_', '-')} {number} is out of range; give {low} to {high}")

    @property
    def largest(self) -> int:
        """Longest side of an image in pixels: 1333 for a short side of 800."""
        return self.image_size * 5 // 3

    @property
    def scale(self) -> float:
        """Factor of all lengths, relative to the paper's short side of 800 pixels."""
        return self.image_size / 800

    @property
    def short_sides(self) -> tuple[int, ...]:
        """Short sides in pixels to draw from in training; a test uses the last one. Steps of 32 px at 800 px."""
        count = max(1, round((1 - self.smallest) / 0.04) + 1)
        parts = [1 - (1 - self.smallest) * index / max(1, count - 1) for index in reversed(range(count))]
        return tuple(round(self.image_size * part) for part in parts)

    def lr_factor(self, step: int) -> float:
        """Compute the factor of the learning rate: linear warm-up, then two drops to a tenth.

        Args:
            step: The step.

        Returns:
            The factor, in (0, 1].
        """
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        return rise * 0.1 ** sum(step >= part * self.steps for part in self.decay)


RECIPES: dict[str, Settings] = {
    "small": Settings(),
    # as in MoCo's code, with which the paper's table 5 was made: VOC 07+12, 24k steps, lr 0.02
    "voc": Settings(
        recipe="voc", image_size=800, smallest=0.6, batch_size=16, steps=24_000, warmup_steps=100,
        roi_size=14, rois=512, proposals=1000, bn_batches=200,
    ),
    # the same for COCO, 1x schedule
    "coco": Settings(
        recipe="coco", masks=True, image_size=800, smallest=0.8, batch_size=16, steps=90_000, warmup_steps=100,
        decay=(2 / 3, 8 / 9), roi_size=14, rois=512, proposals=1000, bn_batches=200,
    ),
}  # fmt: skip


def recipe(name: str) -> Settings:
    """Return the settings of a recipe.

    Args:
        name: Name of the recipe.

    Returns:
        The settings.

    Raises:
        UserError: The name is unknown.
    """
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}; choose from {', '.join(RECIPES)}")
    return RECIPES[name]


def seeds_from(first: int, count: int) -> tuple[int, ...]:
    """Return consecutive seeds.

    Args:
        first: The first seed.
        count: Number of seeds.

    Returns:
        The seeds.

    Raises:
        UserError: A number is out of range.
    """
    if not 1 <= count <= 1000:
        raise UserError(f"--seeds {count} is out of range; give 1 to 1000")
    if not 0 <= first < 2**31 - 1000:
        raise UserError(f"--seed {first} is out of range; give 0 or more")
    return tuple(range(first, first + count))


def check_lrs(lrs: Sequence[float]) -> tuple[float, ...]:
    """Check learning rates.

    Args:
        lrs: The learning rates.

    Returns:
        The learning rates, each once.

    Raises:
        UserError: There is none, or one is out of range.
    """
    if not lrs:
        raise UserError("--lr needs a learning rate")
    for lr in lrs:
        if not 0 < lr <= 10:
            raise UserError(f"--lr {lr:g} is out of range; give more than 0, and 10 at most")
    return tuple(dict.fromkeys(lrs))
