"""Learning rate over time."""

import math


def cosine(step: int, total_steps: int) -> float:
    """Cosine decay from 1 to 0 without restarts (SimSiam, section 4.1): factor for ``step`` of ``total_steps``."""
    return 0.5 * (1 + math.cos(math.pi * step / max(1, total_steps)))
