"""Dividing the images into training and held-out ones, and into the steps of a run."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.randomness import generator
from .config import Config

MONITOR_IMAGES_AT_LEAST = 32  # if fewer can be held out, the monitor uses training images


@dataclass(frozen=True)
class Plan:
    """The steps of a run. They depend only on its settings and the number of images.

    Attributes:
        batch_size: Images per step in all processes together.
        steps_per_epoch: Steps per epoch.
        total_steps: Steps of the run.
        training: int64, rows of the store for training.
        held_out: int64, rows of the store for the monitor; training rows if there are too few images.
        seed: Seed of the run.
    """

    batch_size: int
    steps_per_epoch: int
    total_steps: int
    training: Tensor
    held_out: Tensor
    seed: int

    def order(self, epoch: int) -> Tensor:
        """Return the training rows in the order of an epoch.

        Args:
            epoch: Number of the epoch.

        Returns:
            int64.
        """
        return self.training[torch.randperm(len(self.training), generator=generator(self.seed, epoch, 0))]


def make_plan(config: Config, images: int, processes: int = 1) -> Plan:
    """Divide images into training and held-out ones, and compute the steps.

    Args:
        config: Settings of the run.
        images: Number of images.
        processes: Number of processes.

    Returns:
        The plan.

    Raises:
        UserError: There are fewer than two images, or the batch cannot be divided among the processes.
    """
    order = torch.randperm(images, generator=generator(config.seed, 0, 1))
    spared = min(config.held_out, images // 20)
    if spared < MONITOR_IMAGES_AT_LEAST:
        training, held_out = order.sort().values, order[: min(images, 256)]
    else:
        training, held_out = order[spared:].sort().values, order[:spared]
    batch_size = min(config.batch_size, len(training))
    if batch_size < 2:
        raise UserError("one image is not enough to train on: batch normalisation needs at least two")
    if batch_size % processes:
        raise UserError(
            f"a batch of {batch_size} images does not divide among {processes} processes; "
            f"--batch-size {max(1, batch_size // processes) * processes} does"
        )
    if config.method == "moco-v2":
        _check_groups(config, batch_size, processes)
    steps_per_epoch = len(training) // batch_size
    total_steps = config.epochs * steps_per_epoch
    if config.steps:
        total_steps = min(config.steps, total_steps)
    return Plan(batch_size, steps_per_epoch, total_steps, training, held_out, config.seed)


def _check_groups(config: Config, batch_size: int, processes: int) -> None:
    groups = config.bn_groups
    if groups % processes:
        raise UserError(
            f"{groups} groups of batch normalisation do not divide among {processes} processes; --bn-groups"
        )
    if batch_size % groups or batch_size < 2 * groups:
        fits = max(2, batch_size // groups) * groups
        raise UserError(
            f"a batch of {batch_size} images does not fall into {groups} groups for batch normalisation; "
            f"--batch-size {fits} does, or choose --bn-groups"
        )
