"""Random draws that are functions of what they are for, so that a resumed run repeats an undisturbed one."""

import torch


def generator(seed: int, *key: int) -> torch.Generator:
    """A CPU generator for one purpose: equal keys give equal draws, whatever was drawn before."""
    mixed = seed
    for part in key:
        mixed = (mixed * 6364136223846793005 + part + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(mixed)
