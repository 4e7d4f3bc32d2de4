"""Limits of settings, and which settings belong to which method."""

# setting -> smallest and largest value
LIMITS = {
    "image_size": (8, 1024),
    "store_size": (0, 2048),
    "batch_size": (2, 65536),
    "epochs": (0, 100_000),
    "steps": (0, 2**31 - 1),
    "base_lr": (0, 1e3),
    "projector_layers": (1, 8),
    "projector_dim": (1, 65536),
    "projector_hidden_dim": (0, 65536),
    "predictor_dim": (1, 65536),
    "alternation": (0, 10_000_000),
    "eta_average": (0, 0.9999),
    "temperature": (0.001, 100),
    "target_momentum": (0, 1),
    "queue_size": (1, 10_000_000),
    "bn_groups": (1, 1024),
    "prototypes": (2, 1_000_000),
    "frozen_prototypes": (0, 100_000),
    "momentum": (0, 0.9999),
    "weight_decay": (0, 1),
    "warmup_epochs": (0, 100_000),
    "held_out": (0, 1_000_000),
    "min_scale": (0.001, 1),
    "small_views": (0, 64),
    "small_size": (0, 1024),
    "small_min_scale": (0.001, 1),
    "small_max_scale": (0.001, 1),
    "cutout_views": (0, 64),
    "cutout": (0.01, 0.99),
    "blur": (0, 1),
    "recompress": (0, 1),
    "jitter": (0, 2),
    "grey": (0, 1),
    "seed": (0, 2**31 - 1),
    "mean": (0, 1),
    "std": (0.001, 1),
    "channels": (1, 512),
    "channel_mean": (0, 1),
    "channel_std": (0.001, 1),
}

# setting -> methods that use it; for other methods it is an error, because it would be ignored silently
BELONGS_TO = {
    "similarity": ["simsiam"],
    "alternation": ["simsiam"],
    "small_views": ["simsiam", "byol"],
    "cutout_views": ["simsiam", "byol"],
    "view_predictors": ["simsiam", "byol"],
    "guided": ["simsiam"],
    "eta_average": ["simsiam"],
    "stop_gradient": ["simsiam", "simclr", "swav"],
    "symmetry": ["simsiam", "moco-v2", "byol"],
    "temperature": ["simclr", "moco-v2", "swav"],
    "target_momentum": ["moco-v2", "byol"],
    "queue_size": ["moco-v2"],
    "bn_groups": ["moco-v2"],
    "prototypes": ["swav"],
    "frozen_prototypes": ["swav"],
}


def belongs(setting: str, method: str) -> bool:
    """Return whether a method uses a setting.

    Args:
        setting: Name of the setting.
        method: Name of the method.

    Returns:
        True if it does.
    """
    return method in BELONGS_TO.get(setting, [method])
