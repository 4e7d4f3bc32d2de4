"""Two processes that can talk to each other, for tests of what they do together."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

Work = Callable[[int], dict[str, torch.Tensor]]


def in_two_processes(function: Work, tmp_path: Path) -> list[dict[str, torch.Tensor]]:
    """What ``function(rank)`` returns in each of two processes that can talk to each other."""
    mp.spawn(_joined, (function, tmp_path), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    return [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _joined(rank: int, function: Work, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.save(function(rank), folder / f"{rank}.pt")
    dist.barrier()
    # gloo's threads now and then abort a process that tears the group down; what is to be shown has been shown
    os._exit(0)
