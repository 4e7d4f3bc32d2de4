"""What is exported and how it is checked: the options of an export, and the bounds that each precision must meet."""

from dataclasses import dataclass
from pathlib import Path

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.methods.feature_description import Features

from .held_out_images import HELD_OUT_IMAGES


@dataclass(frozen=True)
class Bound:
    """The limits that a file must meet on held-out images to be written.

    Attributes:
        largest_difference: Of a component of a unit vector.
        recall_at_10: Smallest recall@10.
    """

    largest_difference: float
    recall_at_10: float


BOUNDS = {"fp32": Bound(1e-4, 0.99), "fp16": Bound(5e-3, 0.97), "int8": Bound(2.0, 0.95)}


@dataclass(frozen=True)
class Settings:
    """What is exported, and the images that it is fitted to and checked on.

    Attributes:
        image_size: Side in pixels at which images are embedded; None for that of training.
        features: A feature description, see ``simsiam_retrieval/methods/feature_description.py``.
        layer: Layer whose features are used.
        with_projector: Whether to use the projector's output.
        dim: Numbers kept by PCA.
        whiten: Whether to whiten.
        whiten_power: Power of the whitening; None for ``power_for``.
        float_layers: Convolutions that int8 leaves in float32; None for as few as reach the bound.
        calibrate: Folder of images for calibration.
        fit: Folder of images for PCA.
        held_out: Folder of images for the check.
        images: Number of images for the check.
        licence: Licence of the weights.
        force: Whether to write a file below its bound.
    """

    image_size: int | None = None
    features: str | None = None
    layer: str | None = None
    with_projector: bool = False
    dim: int | None = None
    whiten: bool = False
    whiten_power: float | None = None
    float_layers: int | None = None
    calibrate: Path | None = None
    fit: Path | None = None
    held_out: Path | None = None
    images: int = HELD_OUT_IMAGES
    licence: str | None = None
    force: bool = False

    def check(self) -> None:
        """Check all values before anything is loaded.

        Raises:
            UserError: A value or a combination is wrong.
        """
        if self.image_size is not None and not 8 <= self.image_size <= 2048:
            raise UserError(f"--image-size {self.image_size} is out of range; give 8 to 2048")
        if self.features is not None:
            asked = Features.parse(self.features)
            if self.layer is not None or self.with_projector:
                raise UserError("--features describes the features completely; leave out --layer and --with-projector")
            if asked.dim is not None and (self.dim is not None or self.whiten):
                raise UserError(f"--features {self.features} has PCA in it; leave out --dim and --whiten")
        if self.layer is not None and self.with_projector:
            raise UserError("--layer cannot be combined with --with-projector: the projector reads the last layer")
        if self.dim is not None and self.dim < 1:
            raise UserError(f"--dim {self.dim}: give at least 1")
        if self.images < 20:
            raise UserError(f"--images {self.images}: give at least 20; recall among fewer means nothing")
        if self.float_layers is not None and self.float_layers < 0:
            raise UserError(f"--float-layers {self.float_layers}: give 0 or more")
        if self.fit is not None and not self.reduces:
            raise UserError("--fit needs --dim or --whiten")
        if self.whiten_power is not None and not 0 < self.whiten_power <= 1:
            raise UserError(f"--whiten-power {self.whiten_power:g}: give more than 0 and at most 1")
        if self.whiten_power not in (None, 1) and not self.whiten:
            raise UserError("--whiten-power needs whitening; add --whiten")

    @property
    def reduces(self) -> bool:
        """Whether there is a PCA."""
        described = self.features is not None and Features.parse(self.features).dim is not None
        return described or self.dim is not None or self.whiten
