"""Runtime options that do not change the result, in contrast to ``Config``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import UserError


@dataclass(frozen=True)
class Options:
    """Options of one call. They may be different each time a run is resumed."""

    out: Path | None = None
    """Run folder to create. Default: a new one under runs/."""
    resume: Path | None = None
    """Continue this run folder, with its own settings."""
    init: str | None = None
    """Weights to start from: a run folder, an .onnx encoder, hf://OWNER/NAME, or default (the shipped encoder).
    None means random weights. Default: random weights; with --recipe own-folder the shipped encoder."""
    minutes: float | None = None
    """Train for this many minutes, decoding included; a trial measures the speed and sets the number of epochs."""
    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:N."""
    workers: int | None = None
    """Number of processes that decode images at the start. Default: one a core."""
    cache: Path | None = None
    """Folder that keeps decoded images for later runs. Default: memory, if they fit into half of what is free."""
    labels: bool = False
    """Use folder names as classes, to measure kNN accuracy in the monitor. Training does not see them."""
    tracker: Literal["tensorboard", "wandb", "trackio"] | None = None
    """Also send metrics to this tracker; install the extra of the same name."""
    checkpoint_minutes: float = 5
    """Minutes between checkpoints; 0 writes one after every step."""
    checkpoint_epochs: int = 0
    """Also write a checkpoint after every N epochs; 0 for none."""
    bfloat16: bool = True
    """Compute in bfloat16 where the device is faster with it; --no-bfloat16 uses float32."""
    compile: bool = False
    """Compile the network with torch.compile: a minute to start, and slower on the CPUs that were tried."""
    fast_convolutions: bool = True
    """On a CPU, compute convolutions on small maps as matrix products: equal up to rounding, and faster."""

    def check(self) -> None:
        """Check all values.

        Raises:
            UserError: A value cannot work.
        """
        if self.minutes is not None and not 0 < self.minutes <= 1_000_000:
            raise UserError(f"--minutes {self.minutes:g} is out of range; give more than 0")


USUAL = Options()
