"""Several processes as one: ``torchrun`` starts them, each holds the whole network and a part of every batch."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from ..core.errors import UserError
from .sync_batch_norm import synchronise

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is; alone unless ``torchrun`` started it.

    Methods that talk to the other processes must be called by all of them, in the same order.
    """

    rank: int = 0
    local_rank: int = 0  # on this machine
    count: int = 1
    restarts: int = 0  # how often the launcher started all of them anew

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """Which rows of a batch are this process's."""
        size = batch // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def average(self, values: Tensor) -> Tensor:
        """Mean over all processes of equally shaped tensors on the training device; does not wait for a GPU."""
        if self.count > 1:
            dist.all_reduce(values)
            values /= self.count
        return values

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """What :meth:`together` does in the backward pass, for steps of several such passes."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.count == 1 or not gradients:
            return
        flat = self.average(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether any process raised it."""
        if self.count == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32)  # on the CPU: no GPU has to be waited for
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def from_first(self, value: T) -> T:
        """The first process's value, a plain one, for all."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def wait(self) -> None:
        """Until all processes are here."""
        self.any(False)

    @contextlib.contextmanager
    def one_by_machine(self) -> Iterator[bool]:
        """The first process of each machine enters at once (True), the others (False) when it has finished."""
        leads = self.local_rank == 0
        if not leads:
            self.wait()
        yield leads
        if leads:
            self.wait()

    def together(self, model: nn.Module, device: torch.device) -> nn.Module:
        """A module to call instead of ``model``: BN over the whole batch, gradients averaged over processes."""
        if self.count == 1:
            return model
        synchronise(model, device)
        # BN's running statistics are equal everywhere, they need no broadcast
        return nn.parallel.DistributedDataParallel(model, forward_sync_buffers=False)


ALONE = Processes()


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, for the time of the block; alone without it.

    Raises :class:`UserError` when they cannot reach each other, or could not after a restart.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ALONE
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    one_machine = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    kept_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if kept_store and not one_machine and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        # machines count their restarts apart, no name would be both new and common
        raise UserError(
            "restarts on several machines need TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment of every"
            " torchrun (or --max-restarts 0)"
        )
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    try:
        store, rank, count = next(iter(rendezvous("env://")))
        if one_machine:
            # torchrun keeps one store over its restarts; under the old names lie addresses of processes that are gone
            store = PrefixStore(f"start {restarts}", store)
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    except (RuntimeError, ValueError) as error:  # torch's network errors are RuntimeErrors
        raise UserError(f"the processes cannot reach each other: {' '.join(str(error).split())[:200]}") from None
    try:
        yield Processes(rank=rank, local_rank=local_rank, count=count, restarts=restarts)
        dist.barrier()  # gloo: a process that tears down while its peer still talks may be aborted
    finally:
        dist.destroy_process_group()
