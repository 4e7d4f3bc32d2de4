"""Linear algebra uses no more threads than other programs leave cores."""

import os

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from simsiam_retrieval.core.threads import bounded_threads, free_cores


def counts() -> list[int]:
    assert not (np.zeros((2, 2)) @ np.zeros((2, 2))).any()  # the library is loaded
    return [one["num_threads"] for one in threadpool_info()]


def test_threads_are_bounded_inside_the_block_only() -> None:
    with threadpool_limits(4):
        before = counts()
        assert set(before) == {4}
        with bounded_threads(2):
            assert set(counts()) == {2}
            with bounded_threads(3):  # a lower number stays
                assert set(counts()) == {2}
        assert counts() == before


@pytest.mark.parametrize(("load", "free"), [(0.0, 4), (0.4, 4), (1.2, 3), (4.0, 1), (50.0, 1)])
def test_cores_of_others_are_left_to_them(load: float, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0))
    assert free_cores() == free


def test_a_system_that_knows_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.delattr(os, "getloadavg")
    assert free_cores() == 2
