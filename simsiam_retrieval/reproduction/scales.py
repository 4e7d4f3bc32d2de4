"""The scales of a reproduction: the paper's own setting, a few hours on one GPU, and a few steps on a CPU."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import UserError
from ..training.config import Config
from ..training.recipes import recipe
from .table_rows import Row

Settings = Mapping[str, Any]
WIDTHS = ("projector_dim", "projector_hidden_dim", "predictor_dim")


@dataclass(frozen=True)
class Protocol:
    """How the features of a finished run are measured.

    Attributes:
        linear: "quick" is a grid on features of centre crops, "paper" is LARS on random crops, or "off".
        k: Neighbours of kNN at most, as in Wu et al. 2018 and lightly's benchmarks.
        steps: Steps of the quick linear classifiers.
        epochs: Epochs of the paper's linear classifier.
    """

    linear: str = "quick"
    k: int = 200
    steps: int = 500
    epochs: int = 90


@dataclass(frozen=True)
class Scale:
    """Base settings of all rows.

    Attributes:
        name: Name on the command line.
        about: One line that describes it.
        recipe: Name of the recipe.
        changes: Changes to the recipe.
        methods: Method -> settings, or a function of the number of epochs that returns them.
        protocol: How to measure.
        batches: The paper's batch size -> batch size at this scale.
        divide_widths: Divisor of the paper's widths.
    """

    name: str
    about: str
    recipe: str
    changes: Settings = field(default_factory=dict)
    methods: Mapping[str, Settings | Callable[[int], Settings]] = field(default_factory=dict)
    protocol: Protocol = Protocol()
    batches: Mapping[int, int] = field(default_factory=dict)
    divide_widths: int = 1

    def settings_of(self, row: Row) -> dict[str, Any]:
        """Return the settings of a row at this scale.

        Args:
            row: The row.

        Returns:
            Name -> value.
        """
        values = {**row.settings, **row.at.get(self.name, {})}
        for name in WIDTHS:
            if name in values:
                values[name] = max(1, values[name] // self.divide_widths)
        if "batch_size" in values:
            values["batch_size"] = self.batches.get(values["batch_size"], values["batch_size"])
        return values


def _byol(epochs: int) -> Settings:
    # SimSiam, footnote 6: one recipe for 100, one for 200 and 400, one for 800 epochs
    lr, decay, momentum = (0.45, 1e-6, 0.99) if epochs <= 100 else (0.3, 1e-6, 0.99)
    if epochs > 400:
        lr, decay, momentum = 0.2, 1.5e-6, 0.996
    return {"base_lr": lr, "weight_decay": decay, "target_momentum": momentum}


# The settings of lightly's cifar10_benchmark.py and imagenette_benchmark.py, whose results table-4 shows, too. One
# optimiser for all methods (as in appendix D for SimSiam and SimCLR). BYOL's loss is four times SimSiam's here, but
# halved twice there. lightly's SwAV uses Adam; here it uses the optimiser of the others.
def _one_gpu(lr: float, prototypes: int) -> dict[str, Settings]:
    return {
        "simclr": {"temperature": 0.5},
        "moco-v2": {"temperature": 0.1, "target_momentum": 0.99},
        "byol": {"target_momentum": 0.99, "base_lr": lr / 4},
        "swav": {"prototypes": prototypes},
    }


# very small heads for the smoke scale
_TINY = {"projector_dim": 16, "projector_hidden_dim": 32, "predictor_dim": 8}

SCALES = {
    scale.name: scale
    for scale in (
        Scale(
            "smoke",
            "a few steps at 32 px on the example photos: shows that every row runs, and nothing else",
            "photos",
            {
                "image_size": 32, "store_size": 48, "batch_size": 12, "epochs": 1, "projector_dim": 32,
                "projector_hidden_dim": 32, "predictor_dim": 8,
            },
            {
                "simclr": _TINY,
                "moco-v2": {**_TINY, "batch_size": 8, "queue_size": 16, "bn_groups": 2},
                "byol": _TINY,
                "swav": {**_TINY, "prototypes": 8, "frozen_prototypes": 0.5},
            },
            Protocol(k=20, steps=10),
            batches={64: 4, 128: 6, 256: 8, 512: 12, 1024: 16, 2048: 20, 4096: 24},
            divide_widths=64,
        ),
        Scale(
            "cifar",
            "CIFAR-10, ResNet-18 at 32 px: the paper's appendix D with 200 epochs in place of 800, on one GPU",
            "cifar",
            {"epochs": 200},
            _one_gpu(0.03, 512),
        ),
        Scale(
            "imagenette",
            "Imagenette (160 px): ResNet-18 at 128 px, 200 epochs, on one GPU",
            "photos",
            # SimSiam's settings in lightly's imagenette_benchmark.py, whose results table-4 shows, too
            {"image_size": 128, "batch_size": 256, "base_lr": 0.06, "weight_decay": 5e-4, "epochs": 200},
            _one_gpu(0.06, 3000),
        ),
        Scale(
            "imagenet",
            "ImageNet: the paper's own, ResNet-50 at 224 px, 100 epochs; machines with many GPUs",
            "imagenet",
            methods={"byol": _byol},  # the recipe has the settings of the other methods, with table 4's batch sizes
            protocol=Protocol(linear="paper"),
        ),
    )
}  # fmt: skip


def config_of(scale: Scale, row: Row, seed: int, given: Settings | None = None) -> Config:
    """Combine the settings of a run: the scale's, those from the command line, the row's.

    Args:
        scale: The scale.
        row: The row.
        seed: The seed.
        given: Settings from the command line.

    Returns:
        All settings.

    Raises:
        UserError: A value cannot work.
    """
    values: dict[str, Any] = {**scale.changes, **(given or {})}
    base = recipe(scale.recipe, row.method)
    own = scale.methods.get(row.method, {})
    epochs = values.get("epochs", base.epochs)
    values = {**scale.changes, **(own(epochs) if callable(own) else own), **(given or {}), **scale.settings_of(row)}
    if row.warmup:
        values["warmup_epochs"] = row.warmup * epochs
    config = dataclasses.replace(base, **values, seed=seed)
    try:
        config.check()
    except UserError as error:
        raise UserError(f"row {row.key}: {error}") from None
    return config
