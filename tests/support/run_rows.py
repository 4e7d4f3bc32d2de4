"""Rows of ``metrics.jsonl`` for tests of pages that show runs."""


def row(step: int, **values: float) -> dict[str, float]:
    return {
        "step": step,
        "epoch": step / 2,
        "loss": -step / 10,
        "std": 0.9,
        "lr": 0.1,
        "images_per_second": 1234.5,
    } | values
