"""The options of a probe. Imports no torch, so that a wrong value is reported at once."""

from dataclasses import dataclass

from ..core.errors import UserError


@dataclass(frozen=True)
class Options:
    """What to measure beside kNN, the linear probe, retrieval and the spectrum.

    Attributes:
        k: Neighbours of the kNN classifier.
        shots: Images per class, for few-shot accuracy.
        views: Number of test images whose random views are compared.
        duplicates: Number of test images of which near-duplicates are made.
        paper: Whether to run the paper's linear evaluation, which trains on random crops.
        epochs: Epochs of the paper's linear evaluation.
        seed: Seed of all random draws.
    """

    k: int = 200
    shots: tuple[int, ...] = ()
    views: int = 0
    duplicates: int = 0
    paper: bool = False
    epochs: int = 90
    seed: int = 0

    def check(self) -> None:
        """Check all values.

        Raises:
            UserError: A value cannot work.
        """
        limits = {"knn-k": (self.k, 1), "epochs": (self.epochs, 1), "views": (self.views, 0), "seed": (self.seed, 0)}
        limits["duplicates"] = (self.duplicates, 0)
        for name, (value, low) in limits.items():
            if value < low:
                raise UserError(f"--{name} {value} is out of range; give {low} or more")
        for name in ("views", "duplicates"):
            if getattr(self, name) == 1:
                raise UserError(f"--{name} 1: one image cannot be compared with others; give 2 or more")
        if any(number < 1 for number in self.shots):
            raise UserError(f"--shots {min(self.shots)} is out of range; give 1 or more")
