"""Learning rate over time, as factors of the full rate."""

import math


def warmup(step: int, warmup_steps: float) -> float:
    """Linear rise to 1 over the first ``warmup_steps`` steps; 1 from then on."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def cosine(step: int, total_steps: int, warmup_steps: float = 0) -> float:
    """Cosine decay from 1 to 0 without restarts (SimSiam, section 4.1), behind an optional warm-up."""
    if step < warmup_steps:
        return warmup(step, warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1.0, total_steps - warmup_steps)))


def constant(step: int, total_steps: int, warmup_steps: float = 0) -> float:
    """No decay, as for the predictor (SimSiam, section 4.2), behind an optional warm-up."""
    return warmup(step, warmup_steps)
