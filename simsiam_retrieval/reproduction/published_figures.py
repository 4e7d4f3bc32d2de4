"""Results that others published at the smaller scales."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A column of published results.

    Attributes:
        title: Heading.
        source: Where they were published.
        figures: Key of the row -> result.
    """

    title: str
    source: str
    figures: Mapping[str, str]


_LIGHTLY = (
    "lightly's benchmarks: docs.lightly.ai, getting_started/benchmarks; one setting for all but SwAV (multi-crop)"
)

# (scale, table) -> columns
PUBLISHED: dict[tuple[str, str], tuple[Published, ...]] = {
    ("cifar", "table-4"): (
        Published(
            "paper, CIFAR-10, linear, 800 ep",
            "Chen & He 2020, appendix D: ResNet-18, batch 512",
            {"simclr": "91.1", "simsiam": "91.8"},
        ),
        Published(
            "lightly, CIFAR-10, kNN, 800 ep",
            _LIGHTLY,
            {"simclr": "87.9", "moco-v2": "89.9", "byol": "91.0", "swav": "88.4", "simsiam": "90.4"},
        ),
    ),
    ("imagenette", "table-4"): (
        Published(
            "lightly, Imagenette, kNN, 200 ep",
            "lightly's benchmark of 2022-03-05 (imagenette_benchmark.py): ResNet-18, 128 px, batch 256, kNN k = 200",
            {"simclr": "77.1", "moco-v2": "72.7", "byol": "61.9", "swav": "74.8", "simsiam": "66.9"},
        ),
        Published(
            "lightly, Imagenette, kNN, 800 ep",
            _LIGHTLY,
            {"simclr": "88.9", "moco-v2": "87.4", "byol": "88.7", "swav": "90.2", "simsiam": "87.2"},
        ),
    ),
}
