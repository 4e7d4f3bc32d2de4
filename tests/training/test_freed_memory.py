"""Freed memory stays with a training process."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, torch
from simsiam_retrieval.training.freed_memory import keep_freed_memory
def step():
    parts = [torch.zeros(1 << 20) for _ in range(6)]  # 4 MiB each, which only a write makes real
def faults():
    for _ in range(5):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
usual = faults()
assert keep_freed_memory()
print(usual, faults())
"""


def faults() -> tuple[int, int]:
    """Page faults of 20 steps as the system has it, and with freed memory kept, in one process."""
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    usual, kept = done.stdout.split()
    return int(usual), int(kept)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_a_step_s_buffers_are_not_taken_anew_from_the_system() -> None:
    # where memory lies is drawn anew for every process, and in some glibc keeps these buffers of itself
    found = (faults() for _ in range(6))
    assert any(usual > 20 * 6 * 10 and kept < usual / 20 for usual, kept in found)  # with huge pages, too
