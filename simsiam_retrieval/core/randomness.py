"""Random generators that depend only on the seed and their purpose, so that a resumed run draws the same numbers."""

import torch


def generator(seed: int, *key: int) -> torch.Generator:
    """Create a CPU generator for one purpose. Equal keys give equal numbers, independent of earlier draws.

    Args:
        seed: Seed of the run.
        *key: Integers that identify the purpose, for example the step and the view.

    Returns:
        A seeded generator.
    """
    mixed = seed
    for part in key:
        mixed = (mixed * 6364136223846793005 + part + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(mixed)
