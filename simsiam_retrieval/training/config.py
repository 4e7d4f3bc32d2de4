"""All settings of a pretraining run. ``recipes.py`` has the named sets of them."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tyro

from ..core.errors import UserError
from ..images.normalisation import IMAGENET, Normalisation
from ..images.reading import AUTO, Reading
from .config_limits import BELONGS_TO, LIMITS, belongs


@dataclass(frozen=True)
class Config:
    """Settings of one run; written to ``config.json`` and read back from it."""

    recipe: str = "simsiam"
    """Named set of settings; any other option overrides it."""
    method: Literal["simsiam", "simclr", "moco-v2", "byol", "swav"] = "simsiam"
    """Learning method. Each sets its own defaults for heads, loss and momentum, which other options override."""
    backbone: Literal["resnet18", "resnet18-3stages", "resnet34", "resnet50"] = "resnet18"
    """Network whose features are kept."""
    stem: Literal["imagenet", "cifar", "cifar-pad2", "cifar-norelu"] = "imagenet"
    """First layers: imagenet (7x7/2 and max-pool), or cifar (3x3/1, for images of about 32 px).
    The other two are solo-learn's (cifar-pad2) and lightly's (cifar-norelu)."""
    mean: tuple[float, float, float] = IMAGENET.mean  # type: ignore[assignment]
    """Red, green and blue to subtract from pixels in [0, 1]; ImageNet's by default."""
    std: tuple[float, float, float] = IMAGENET.std  # type: ignore[assignment]
    """Red, green and blue to divide pixels by after that; ImageNet's by default."""
    range: str = AUTO
    """Values that become black and white, beyond 8 bits: auto (as the file declares, else as it uses), per-image,
    or LOW HIGH for all images."""
    bands: str = ""
    """Bands of TIFF files to use, in order, such as 4,3,2; the first is 1. Three bands make a colour picture."""
    channels: int = 3
    """Channels of the network's input: 3 for colour pictures, 1 for greys, or as many as TIFF files have bands."""
    channel_mean: tyro.conf.Suppress[tuple[float, ...]] = ()
    """Of each channel of the run's images in [0, 1], where channels are not 3; measured, not to be given."""
    channel_std: tyro.conf.Suppress[tuple[float, ...]] = ()
    """The same for standard deviations."""
    image_size: int = 128
    """Side of the square views, in pixels."""
    store_size: int = 0
    """Side of decoded images in memory, in pixels; 0 means 1.5 times image-size."""
    thin: bool = False
    """Leave out copies before training: equal pixels, and the same picture in another size or quality."""
    batch_size: int = 128
    """Images a step, over all processes; each gives two views, and the small and cut-out ones if there are any."""
    epochs: int = 200
    """Passes over the images."""
    steps: int = 0
    """End after this many steps, if that is before the last epoch's end; 0 for whole epochs."""
    base_lr: float = 0.05
    """Learning rate at batch size 256; scaled by batch-size / 256."""
    optimizer: Literal["sgd", "lars"] = "sgd"
    """Optimiser: sgd, or lars for batches of thousands."""
    momentum: float = 0.9
    """Momentum of the optimiser."""
    weight_decay: float = 1e-4
    """L2 penalty on all parameters."""
    projector_layers: int = 3
    """Layers of the projection MLP."""
    projector_dim: int = 2048
    """Width of the projections z, and of the projector's hidden layers unless they have their own."""
    projector_hidden_dim: int = 0
    """Width of the projector's hidden layers; 0 means projector-dim."""
    predictor_dim: int = 512
    """Width of the predictor's hidden layer."""
    predictor: Literal["mlp", "none", "fixed"] = "mlp"
    """Prediction head: mlp (trained), none, or fixed at its initialisation (the paper's table 1)."""
    predictor_lr: Literal["constant", "cosine"] = "constant"
    """Learning rate of the predictor: constant, or cosine as the encoder's (table 1)."""
    head_bn: Literal["none", "hidden", "default", "all"] = "default"
    """Batch normalisation in the heads: rows a to d of table 3."""
    similarity: Literal["cosine", "cross-entropy"] = "cosine"
    """Similarity of predictions and projections (section 4.4)."""
    symmetry: Literal["symmetric", "asymmetric", "asymmetric-2x"] = "symmetric"
    """Both terms of the loss, one, or one over two pairs of views (section 4.6)."""
    stop_gradient: bool = True
    """Stop the gradient at the projections; without it training collapses (figure 2)."""
    alternation: int = 1
    """Steps of SGD for each update of eta, the other half of the paper's alternation (section 5.1);
    0 means an epoch."""
    eta_average: float = 0
    """Momentum of a moving average of eta over each image's views (section 5.2: 0.8); 0 for none."""
    temperature: float = 0.2
    """Temperature of the softmax in the losses of simclr, moco-v2 and swav."""
    target_momentum: float = 0.996
    """Momentum of the momentum encoder of moco-v2 and byol; byol's rises to 1."""
    queue_size: int = 4096
    """Keys in the queue of moco-v2."""
    bn_groups: int = 8
    """Groups of a batch that batch normalisation sees separately in moco-v2."""
    prototypes: int = 3000
    """Number of swav's prototypes."""
    frozen_prototypes: float = 1
    """Epochs in which swav's prototypes are not trained."""
    warmup_epochs: float = 0
    """Epochs over which the learning rate rises from 0; the paper needs none."""
    min_scale: float = 0.2
    """Smallest random crop, as a fraction of the image's area."""
    small_views: int = 0
    """Number of further, smaller views of each image, which predict the two usual ones (multi-crop)."""
    small_size: int = 0
    """Side of the small views, in pixels; 0 means half of image-size."""
    small_min_scale: float = 0.05
    """Smallest crop of the small views, as a fraction of the image's area."""
    small_max_scale: float = 0.3
    """Largest crop of the small views, as a part of the image's area."""
    cutout_views: int = 0
    """Number of further views with a blank square, which predict the two usual ones."""
    cutout: float = 0.5
    """Side of the blank square, as a fraction of the view's side."""
    view_predictors: Literal["own", "shared"] = "own"
    """Predictor of further views: own for each kind, or shared; a shared one makes multi-crop unstable."""
    guided: bool = False
    """Guided stop-gradient: the view that is nearest to another image's gets the gradient."""
    held_out: int = 256
    """Images kept out of training for the monitor, at most a twentieth of all; 0 lets it use training images."""
    stop_on_collapse: bool = False
    """End the run with exit code 2 when the monitor detects collapse."""
    blur: float = 0.5
    """Probability of Gaussian blur (sigma 0.1 to 2 pixels at 224 px, in proportion below)."""
    recompress: float = 0.0
    """Probability that a picture is made smaller and compressed as JPEG before its view is cut, as copies are."""
    jitter: float = 1
    """Strength of changes of brightness, contrast, saturation and hue, relative to the paper's; 0 for none."""
    grey: float = 0.2
    """Probability that a view is grey."""
    seed: int = 0
    """Seed of weights, order of images and augmentation."""

    @property
    def store_side(self) -> int:
        """Side of decoded images in pixels; larger than the views, so that small crops have enough pixels."""
        return self.store_size or round(1.5 * self.image_size)

    @property
    def views(self) -> int:
        """Number of views per image and step that are compared in pairs."""
        return 4 if self.symmetry == "asymmetric-2x" else 2

    @property
    def small_side(self) -> int:
        """Side of the small views in pixels."""
        return self.small_size or max(8, self.image_size // 2)

    @property
    def smallest_side(self) -> int:
        """Side in pixels of the smallest view that the network sees."""
        return min(self.image_size, self.small_side) if self.small_views else self.image_size

    @property
    def further_views(self) -> list[str]:
        """Kind of each view beyond those that are compared in pairs."""
        return ["small"] * self.small_views + ["cutout"] * self.cutout_views

    @property
    def normalisation(self) -> Normalisation:
        """What is done to pixels before the network sees them; it has a value for each channel."""
        if self.channels == 3:
            return Normalisation(self.mean, self.std)
        if self.channel_mean:
            return Normalisation(self.channel_mean, self.channel_std)
        return Normalisation((0.5,) * self.channels, (0.25,) * self.channels)  # until the images are measured

    @property
    def reading(self) -> Reading:
        """How files become pixels; raises ``UserError`` where these settings do not fit each other."""
        return Reading(channels=self.channels).changed(range=self.range, bands=self.bands)

    def check(self) -> None:
        """Check all values.

        Raises:
            UserError: A value cannot work.
        """
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if not low <= number <= high:
                    option = name.replace("_", "-")
                    raise UserError(f"--{option} {number} is out of range; give {low} to {high}")
        for name, methods in BELONGS_TO.items():
            if not belongs(name, self.method) and getattr(self, name) != getattr(_UNTOUCHED, name):
                option = "--no-stop-gradient" if name == "stop_gradient" else f"--{name.replace('_', '-')}"
                raise UserError(f"{option} belongs to --method {' or '.join(methods)}, not to {self.method}")
        self._check_views()
        self._check_channels()
        if self.alternation != 1 and self.eta_average:
            raise UserError("--alternation and --eta-average are two ways to fix eta; choose one")
        if not self.stop_gradient and (self.alternation != 1 or self.eta_average):
            raise UserError("--no-stop-gradient has no effect with --alternation or --eta-average; leave one out")

    def _check_channels(self) -> None:
        _ = self.reading
        if self.channels != 3 and (self.mean, self.std) != (IMAGENET.mean, IMAGENET.std):
            raise UserError("--mean and --std are those of three channels; of others they are measured: leave them out")
        for values in (self.channel_mean, self.channel_std):
            if len(values) not in (0, self.channels) or (values and self.channels == 3):
                raise UserError(f"channel_mean and channel_std: not of {self.channels} channels")

    def _check_views(self) -> None:
        if 0 < self.small_size < 8:
            raise UserError(
                f"--small-size {self.small_size} is out of range; give 8 to 1024, or 0 for half of image-size"
            )
        if self.small_min_scale > self.small_max_scale:
            raise UserError(
                f"--small-min-scale {self.small_min_scale} is above --small-max-scale {self.small_max_scale}"
            )
        held = self.alternation != 1 or self.eta_average
        for option, given in (("--small-views", self.small_views), ("--cutout-views", self.cutout_views)):
            if given and not self.stop_gradient:
                raise UserError(f"{option} needs stop-gradient: leave out {option} or --no-stop-gradient")
            if given and self.symmetry != "symmetric":
                raise UserError(f"{option} needs --symmetry symmetric")
        if self.guided and (not self.stop_gradient or held or self.symmetry != "symmetric"):
            raise UserError(
                "--guided chooses where stop-gradient acts: leave out --no-stop-gradient, --symmetry, --alternation and"
                " --eta-average"
            )


_UNTOUCHED = Config()


def from_dict(values: dict[str, Any]) -> Config:
    """Read settings from ``config.json``.

    Args:
        values: Name -> value.

    Returns:
        The settings.

    Raises:
        UserError: A key or a value is unknown.
    """
    known = {field.name for field in dataclasses.fields(Config)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise UserError(f"unknown settings: {', '.join(unknown)}; written by a newer version of this package?")
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    config = Config(**given)
    for name, kind in get_type_hints(Config).items():
        value = getattr(config, name)
        if not _fits(value, kind):
            raise UserError(f"{name}: {value!r} is not a setting that this version knows")
    config.check()
    return config


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if parts[-1] is Ellipsis:
            return isinstance(value, tuple) and all(_fits(part, parts[0]) for part in value)
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
    return type(value) is kind or (kind is float and type(value) is int)
