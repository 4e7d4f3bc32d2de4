"""The named recipes of pretraining, and the settings of each method, from the papers."""

import dataclasses
from typing import Any

from ..core.errors import UserError
from .config import Config

_CIFAR: dict[str, Any] = {
    "stem": "cifar", "image_size": 32, "store_size": 32, "batch_size": 512, "epochs": 800, "base_lr": 0.03,
    "weight_decay": 5e-4, "projector_layers": 2, "blur": 0.0,
}  # fmt: skip

# Heads and losses of the methods, from their papers. The projectors of SimCLR and SwAV have three layers, as in the
# SimSiam paper's reproduction (table 4).
METHODS: dict[str, dict[str, Any]] = {
    "simsiam": {},
    "simclr": {
        "projector_layers": 3, "projector_dim": 128, "projector_hidden_dim": 2048, "predictor": "none",
        "predictor_lr": "cosine", "stop_gradient": False, "temperature": 0.1,
    },
    "moco-v2": {
        "projector_layers": 2, "projector_dim": 128, "projector_hidden_dim": 2048, "head_bn": "none",
        "predictor": "none", "predictor_lr": "cosine", "temperature": 0.2, "target_momentum": 0.999,
    },
    "byol": {
        "projector_layers": 2, "projector_dim": 256, "projector_hidden_dim": 4096, "predictor_dim": 4096,
        "head_bn": "hidden", "predictor_lr": "cosine", "target_momentum": 0.996,
    },
    "swav": {
        "projector_layers": 3, "projector_dim": 128, "projector_hidden_dim": 2048, "head_bn": "hidden",
        "predictor": "none", "predictor_lr": "cosine", "temperature": 0.1,
    },
}  # fmt: skip

# What learned most in equal time on a CPU (benchmarks/recipe_study.py, docs/pretrain.md): small views, a network
# without its last stage, SimCLR's loss; and views of compressed pictures, for copies.
_SMALL_VIEWS: dict[str, Any] = {
    **METHODS["simclr"],
    "method": "simclr", "backbone": "resnet18-3stages", "image_size": 32, "store_size": 72, "min_scale": 0.05,
    "weight_decay": 5e-4, "temperature": 0.2, "projector_layers": 2, "projector_hidden_dim": 1024,
    "recompress": 0.5,
}  # fmt: skip

RECIPES: dict[str, Config] = {
    # the default, for a person's own photos
    "photos": Config(recipe="photos", **_SMALL_VIEWS, batch_size=512, base_lr=0.1),
    # on from the shipped encoder, on one's own images: as that was trained, at a lower learning rate
    "own-folder": Config(
        recipe="own-folder", **_SMALL_VIEWS, batch_size=256, epochs=40, base_lr=0.03, warmup_epochs=0.5
    ),
    # the paper's method for photos of 128 px
    "simsiam": Config(),
    # the same for a few thousand photos; the best settings of docs/pretraining.md
    "small-data": Config(recipe="small-data", image_size=64, batch_size=64, base_lr=0.1, weight_decay=5e-4),
    # the paper's section 4.1
    "imagenet": Config(recipe="imagenet", backbone="resnet50", image_size=224, batch_size=512, epochs=100),
    # the paper's appendix D
    "cifar": Config(recipe="cifar", **_CIFAR),
}

# Features and side in pixels that `export` uses for a recipe's runs, where it is not the last stage at the views' size.
_EXPORTED = {"photos": ("stage2@4x4,stage3@2x2,flip,pca256^0.75", 64)}

# Optimisers for 100 epochs of ImageNet, from the methods' papers and published settings.
_LARGE_BATCH = {"optimizer": "lars", "batch_size": 4096, "weight_decay": 1e-6, "warmup_epochs": 10.0}
_IMAGENET: dict[str, dict[str, Any]] = {
    "simclr": {**_LARGE_BATCH, "base_lr": 0.3},
    "moco-v2": {"batch_size": 256, "base_lr": 0.03, "queue_size": 65536},
    "byol": {**_LARGE_BATCH, "base_lr": 0.45, "target_momentum": 0.99},
    "swav": {**_LARGE_BATCH, "base_lr": 0.3},
}


def recipe(name: str, method: str | None = None) -> Config:
    """Return the settings of a named recipe. If ``method`` is not the recipe's method, its own settings are added.

    Args:
        name: Name of the recipe.
        method: Name of the method.

    Returns:
        The settings.

    Raises:
        UserError: A name is unknown.
    """
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}; choose from {', '.join(RECIPES)}")
    if method is None or method == RECIPES[name].method:
        return RECIPES[name]
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}; choose from {', '.join(METHODS)}")
    base, usual = RECIPES[name], Config()
    undone = {setting: getattr(usual, setting) for setting in METHODS[base.method]}
    own = undone | METHODS[method] | (_IMAGENET.get(method, {}) if name == "imagenet" else {})
    return dataclasses.replace(base, method=method, **own)  # type: ignore[arg-type]


def export_facts(config: Config) -> dict[str, Any]:
    """Return how a run's encoder is exported unless the user says otherwise.

    Args:
        config: The run's settings.

    Returns:
        For ``config.json``, "features": a feature description, and "embed_at": the side in pixels at which images are
        embedded. Empty for the last stage at the size of the views.
    """
    if config.recipe not in _EXPORTED:
        return {}
    features, side = _EXPORTED[config.recipe]
    if config.backbone != RECIPES[config.recipe].backbone or config.image_size >= side:
        return {}
    return {"features": features, "embed_at": side}
