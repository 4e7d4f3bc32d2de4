"""Near-duplicates among search results stand together."""

from datetime import datetime
from pathlib import Path

import numpy as np

from simsiam_retrieval.collection import Hit, Item
from simsiam_retrieval.collection.search.stacks import ALIKE, same_picture, stack


def hits(count: int) -> list[Hit]:
    items = [Item(n, Path(f"/{n}.jpg"), 1, 0, 1, 1, "JPEG", datetime(2024, 1, 1)) for n in range(count)]
    return [Hit(n + 1, 1 - n / 100, item) for n, item in enumerate(items)]


def on_a_circle(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def ids(stacks: list[list[Hit]]) -> list[list[int]]:
    return [[hit.item.id for hit in one] for one in stacks]


def test_what_is_near_the_first_of_a_stack_joins_it_and_nothing_chains() -> None:
    # cosines: 5 degrees .996, 10 degrees .985
    vectors = on_a_circle(0, 90, 5, 10, 91, 180)
    assert ids(stack(hits(6), vectors, 0.99)) == [[0, 2], [1, 4], [3], [5]]
    assert ids(stack(hits(6), vectors, 0.98)) == [[0, 2, 3], [1, 4], [5]]
    assert ids(stack(hits(6), vectors, 1.01)) == [[n] for n in range(6)]
    assert stack([], on_a_circle(), 0.9) == []


def test_of_two_stacks_the_nearer_one_is_joined() -> None:
    assert ids(stack(hits(3), on_a_circle(0, 12, 8), 0.975)) == [[0, 1, 2]]
    assert ids(stack(hits(3), on_a_circle(0, 14, 8), 0.975)) == [[0], [1, 2]]


def test_an_encoder_that_finds_everything_alike_puts_nothing_together_for_that() -> None:
    assert same_picture("unknown", None) == ALIKE
    assert same_picture("unknown", 0.5) == ALIKE
    assert same_picture("unknown", 0.999) == 0.9995
