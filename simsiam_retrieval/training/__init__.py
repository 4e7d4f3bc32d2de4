"""Training: configuration, data, augmentation, the loop, checkpoints, the run folder."""
