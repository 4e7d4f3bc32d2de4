"""How a cluster embeds, and the callbacks for progress."""

from collections.abc import Callable
from dataclasses import dataclass

from .pieces import SHARD_IMAGES


@dataclass(frozen=True)
class Options:
    """How a cluster embeds.

    Attributes:
        address: Address of a Ray cluster; None starts one on this machine.
        workers: Number of decoding processes on all machines together; None is one per CPU.
        device: Device of the encoder.
        num_gpus: GPUs of each actor; None is one if the cluster has any and ``device`` allows it.
        image_column: Column of tables that contains images.
        prune: Whether to forget the images of sources that are missing or empty.
        shard_images: Images per shard at most.
    """

    address: str | None = None
    workers: int | None = None
    device: str = "auto"
    num_gpus: float | None = None
    image_column: str | None = None
    prune: bool = False
    shard_images: int = SHARD_IMAGES


@dataclass(frozen=True)
class Hooks:
    """Callbacks for progress.

    Attributes:
        on_wait: Called with a message while another process holds the lock.
        on_start: Called with the number of images to embed.
        on_progress: Called with the number of embedded images.
        on_stage: Called with stage, done and total while building.
        on_remark: Called with messages.
    """

    on_wait: Callable[[str], None] | None = None
    on_start: Callable[[int], None] = lambda total: None
    on_progress: Callable[[int], None] = lambda done: None
    on_stage: Callable[[str, int, int], None] = lambda stage, done, total: None
    on_remark: Callable[[str], None] = lambda remark: None
