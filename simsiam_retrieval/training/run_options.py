"""What decides how a run is carried out, and not what comes out of it; beside ``Config``, which does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import UserError


@dataclass(frozen=True)
class Options:
    """Options of one call; they may differ each time that a run is resumed."""

    out: Path | None = None
    """Run folder to create; by default a new one under runs/."""
    resume: Path | None = None
    """Run folder to go on with, under its own settings."""
    init: str | None = None
    """Weights to start from: a run folder, an .onnx encoder of this package, hf://OWNER/NAME, default for the shipped
    one, or None for random weights. The recipe own-folder takes default."""
    minutes: float | None = None
    """Time for the whole command; a short trial measures the speed, and the number of epochs follows."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    workers: int | None = None
    """Processes that decode images at the start; by default one per core."""
    cache: Path | None = None
    """Folder that keeps decoded images for later runs; by default they are kept in memory where they fit."""
    labels: bool = False
    """Folder names are classes: the monitor also measures kNN accuracy. Training does not see them."""
    tracker: Literal["tensorboard", "wandb", "trackio"] | None = None
    """Also send the metrics there; install the extra of the same name."""
    checkpoint_minutes: float = 5
    """Minutes between checkpoints; 0 for one after every step."""
    checkpoint_epochs: int = 0
    """Also write a checkpoint after every so many epochs."""
    bfloat16: bool = True
    """Compute in bfloat16 where the device is faster in it; --no-bfloat16 keeps to float32."""
    compile: bool = False
    """Compile the network with torch.compile: a minute to start, and slower on the CPUs that were tried."""
    fast_convolutions: bool = True
    """On a CPU, compute convolutions on small maps as matrix products; equal up to rounding, and faster."""

    def check(self) -> None:
        """Raise :class:`UserError` for values that cannot work."""
        if self.minutes is not None and not 0 < self.minutes <= 1_000_000:
            raise UserError(f"--minutes {self.minutes:g} is out of range; give more than 0")


USUAL = Options()
