"""Freed memory stays with a training process."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys, torch
from simsiam_retrieval.training.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    parts = [torch.zeros(1 << 20) for _ in range(6)]  # 4 MiB each, which only a write makes real
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_a_step_s_buffers_are_not_taken_anew_from_the_system() -> None:
    # where memory lies is drawn anew for every process, and in some glibc keeps these buffers of itself
    usual = next((count for _ in range(6) if (count := faults("usual")) > 20 * 6 * 10), 0)
    assert usual > 20 * 6 * 10  # with huge pages, too
    assert any(faults("keep") < usual / 20 for _ in range(3))  # one buffer more, once, is 1,024 pages
