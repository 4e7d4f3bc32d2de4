"""What a probe measures; no torch, so that a slip of the keyboard shows at once."""

from dataclasses import dataclass

from ..core.errors import UserError


@dataclass(frozen=True)
class Options:
    """What to measure beside kNN, the linear probe, retrieval and the spectrum."""

    k: int = 200
    shots: tuple[int, ...] = ()  # images per class, for few-shot accuracy
    views: int = 0  # test images whose random views are compared
    duplicates: int = 0  # test images that near-duplicates are made of
    paper: bool = False  # the paper's linear evaluation, which trains on random crops
    epochs: int = 90  # of that
    seed: int = 0

    def check(self) -> None:
        """Raise :class:`UserError` for values that cannot work."""
        limits = {"knn-k": (self.k, 1), "epochs": (self.epochs, 1), "views": (self.views, 0), "seed": (self.seed, 0)}
        limits["duplicates"] = (self.duplicates, 0)
        for name, (value, low) in limits.items():
            if value < low:
                raise UserError(f"--{name} {value} is out of range; give {low} or more")
        for name in ("views", "duplicates"):
            if getattr(self, name) == 1:
                raise UserError(f"--{name} 1: one image has nothing to be told from; give 2 or more")
        if any(number < 1 for number in self.shots):
            raise UserError(f"--shots {min(self.shots)} is out of range; give 1 or more")
