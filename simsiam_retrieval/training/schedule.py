"""Learning rate over time, as a factor of the full rate."""

import math


def warmup(step: int, warmup_steps: float) -> float:
    """Compute the warm-up: a linear rise to 1, then 1.

    Args:
        step: The step.
        warmup_steps: Steps of the rise; 0 for none.

    Returns:
        The factor.
    """
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def cosine(step: int, total_steps: int, warmup_steps: float = 0) -> float:
    """Compute the cosine decay from 1 to 0 without restarts (SimSiam, section 4.1), after an optional warm-up.

    Args:
        step: The step.
        total_steps: Steps of the run.
        warmup_steps: Steps of the warm-up.

    Returns:
        The factor.
    """
    if step < warmup_steps:
        return warmup(step, warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1.0, total_steps - warmup_steps)))


def constant(step: int, total_steps: int, warmup_steps: float = 0) -> float:
    """Compute a constant rate, as for the predictor (SimSiam, section 4.2), after an optional warm-up.

    Args:
        step: The step.
        total_steps: Not used.
        warmup_steps: Steps of the warm-up.

    Returns:
        The factor.
    """
    return warmup(step, warmup_steps)
