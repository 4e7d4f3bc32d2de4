"""Choosing the device and the precision of a comparison."""

import torch

from ..core.errors import UserError
from ..images.worker_pool import check_workers
from ..training.loop import pick_device
from .detection_settings import Settings
from .finetune import Machine

GPU_WORKERS = 4
SMALLEST_BFLOAT16 = 128  # pixels of an image: for smaller ones, oneDNN's bfloat16 gradients on small maps are wrong


def pick_machine(settings: Settings, device: str, workers: int | None, checkpoint_minutes: float) -> Machine:
    """Choose the device, and bfloat16 if it is faster and safe.

    Args:
        settings: The settings.
        device: Name of the device; "auto" takes a GPU that works.
        workers: Number of decoding threads; None chooses it.
        checkpoint_minutes: Minutes between checkpoints.

    Returns:
        The device and its options.

    Raises:
        UserError: The device does not exist, or a number is out of range.
    """
    check_workers(workers)
    if checkpoint_minutes < 0:
        raise UserError(f"--checkpoint-minutes {checkpoint_minutes:g}: give 0 or more")
    target = pick_device(device)
    large = settings.image_size >= SMALLEST_BFLOAT16 and settings.roi_size >= 4
    fast = target.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    if workers is None:
        workers = GPU_WORKERS if target.type == "cuda" else 0
    return Machine(target, bfloat16=large and fast, workers=workers, checkpoint_minutes=checkpoint_minutes)
