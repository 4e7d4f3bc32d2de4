"""Several processes as one: ``torchrun`` starts them; each has the whole network and a part of every batch."""

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
    """The rank of this process, and the number of processes. There is one process unless ``torchrun`` started it.

    Methods that communicate must be called by all processes in the same order.

    Attributes:
        rank: Rank of this process.
        local_rank: Rank on this machine.
        count: Number of processes.
        restarts: How often the launcher restarted all of them.
    """

    rank: int = 0
    local_rank: int = 0
    count: int = 1
    restarts: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """Return the rows of a batch that belong to this process.

        Args:
            batch: Size of the whole batch.

        Returns:
            A slice.
        """
        size = batch // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def average(self, values: Tensor) -> Tensor:
        """Compute the mean over all processes. Does not wait for a GPU.

        Args:
            values: A tensor of the same shape in each process, on the training device.

        Returns:
            The mean.
        """
        if self.count > 1:
            dist.all_reduce(values)
            values /= self.count
        return values

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average gradients, as ``together`` does in the backward pass, for steps with several backward passes.

        Args:
            parameters: The parameters.
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.count == 1 or not gradients:
            return
        flat = self.average(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def any(self, *flags: bool) -> list[bool]:
        """Combine flags of all processes.

        Args:
            *flags: This process's flags.

        Returns:
            For each flag, whether it is True in any process.
        """
        if self.count == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32)  # on the CPU, so that no GPU must be waited for
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def from_first(self, value: T) -> T:
        """Send the first process's value to all processes.

        Args:
            value: A plain value.

        Returns:
            The first process's value.
        """
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def wait(self) -> None:
        """Wait until all processes have called this."""
        self.any(False)

    @contextlib.contextmanager
    def one_by_machine(self) -> Iterator[bool]:
        """Let the first process of each machine run the block before the others.

        Yields:
            True in the first process, False in the others.
        """
        leads = self.local_rank == 0
        if not leads:
            self.wait()
        yield leads
        if leads:
            self.wait()

    def together(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Prepare a model for several processes: BN over the whole batch, gradients averaged over processes.

        Args:
            model: The model.
            device: torch device.

        Returns:
            The module to call instead of ``model``.
        """
        if self.count == 1:
            return model
        synchronise(model, device)
        # BN's running statistics are equal in all processes and need no broadcast
        return nn.parallel.DistributedDataParallel(model, forward_sync_buffers=False)


ALONE = Processes()


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, for the duration of the block.

    Yields:
        The processes; a single one without ``torchrun``.

    Raises:
        UserError: The processes cannot reach each other, or could not after a restart.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ALONE
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    one_machine = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    kept_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if kept_store and not one_machine and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        # each machine counts its own restarts, so no store name would be both new and common to all
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
            # torchrun keeps its store over restarts; the old names have the addresses of ended processes
            store = PrefixStore(f"start {restarts}", store)
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    except (RuntimeError, ValueError) as error:  # torch's network errors are RuntimeErrors
        raise UserError(f"the processes cannot reach each other: {' '.join(str(error).split())[:200]}") from None
    try:
        yield Processes(rank=rank, local_rank=local_rank, count=count, restarts=restarts)
        dist.barrier()  # gloo may abort a process that ends while another one still communicates with it
    finally:
        dist.destroy_process_group()
