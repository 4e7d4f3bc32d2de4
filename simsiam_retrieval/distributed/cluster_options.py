"""What an update on a cluster is asked for."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Fixed, Suppress

from ..collection.update.update_options import IndexOptions


@dataclass(frozen=True)
class Options(IndexOptions):
    """Options of an update on a cluster.

    Raises:
        UserError: A value cannot work.
    """

    address: str | None = None
    """With --engine ray: the cluster's HOST:PORT, or auto. Default: start a cluster on this machine for this run."""
    num_gpus: float | None = None
    """With --engine ray: GPUs of each process that embeds; 0 for none. Default: 1 if the cluster has any."""
    image_column: str | None = None
    """With --engine ray: the column of a Parquet file that holds the images. Default: the only one."""
    shard_images: Suppress[Annotated[int | None, Fixed]] = None
    """Images per shard at most. Default: ``SHARD_IMAGES``."""
