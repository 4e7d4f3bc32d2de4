"""Runtime options that do not change the result, in contrast to ``Config``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import UserError


@dataclass(frozen=True)
class Options:
    """Options of one call. They may be different each time a run is resumed."""

    out: Path | None = None
    """Run folder to create; by default a new one under runs/."""
    resume: Path | None = None
    """Run folder to continue, with its own settings."""
    init: str | None = None
    """Weights to start from: a run folder, an .onnx encoder of this package, hf://OWNER/NAME, or default."""
    minutes: float | None = None
    """Time for the whole command; a short trial measures the speed, and the number of epochs follows."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    workers: int | None = None
    """Processes that decode images at the start; default: one per core."""
    cache: Path | None = None
    """Folder that keeps decoded images for later runs; default: memory, if they fit."""
    labels: bool = False
    """Folder names are classes: the monitor also measures kNN accuracy. Training does not see them."""
    tracker: Literal["tensorboard", "wandb", "trackio"] | None = None
    """Also send the metrics there; install the extra of the same name."""
    checkpoint_minutes: float = 5
    """Minutes between checkpoints; 0 for one after every step."""
    checkpoint_epochs: int = 0
    """Also write a checkpoint after every so many epochs."""
    bfloat16: bool = True
    """Compute in bfloat16 if the device is faster with it; --no-bfloat16 always uses float32."""
    compile: bool = False
    """Compile the network with torch.compile: a minute to start, and slower on the CPUs that were tried."""
    fast_convolutions: bool = True
    """On a CPU, compute convolutions on small maps as matrix products; equal up to rounding, and faster."""

    def check(self) -> None:
        """Check all values.

        Raises:
            UserError: A value cannot work.
        """
        if self.minutes is not None and not 0 < self.minutes <= 1_000_000:
            raise UserError(f"--minutes {self.minutes:g} is out of range; give more than 0")


USUAL = Options()
