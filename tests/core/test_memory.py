"""How much memory there is to spare."""

import subprocess
import sys
from pathlib import Path

import pytest

from simsiam_retrieval.core import memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemFree:   100 kB\nMemAvailable:   5000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    return tmp_path


def test_what_the_system_can_give(system: Path) -> None:
    assert memory.free_memory() == 5000 * 1024


@pytest.mark.parametrize(("limit", "used", "expected"), [("max", 0, 5_120_000), (3000, 1000, 2000), (10, 30, 0)])
def test_what_a_container_leaves(system: Path, limit: object, used: int, expected: int) -> None:
    (system / "memory.max").write_text(f"{limit}\n")
    (system / "memory.current").write_text(f"{used}\n")
    assert memory.free_memory() == expected


def test_files_that_a_container_caches_are_free(system: Path) -> None:
    (system / "memory.max").write_text("3000\n")
    (system / "memory.current").write_text("2900\n")
    (system / "memory.stat").write_text("anon 400\nfile 2500\ninactive_file 2000\nactive_file 300\nslab 5\n")
    assert memory.free_memory() == 3000 - (2900 - 2300)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_a_process_does_not_take_more_than_is_free() -> None:
    """In a process of its own, of which 1 GiB is left: 1.5 GiB is refused, 0.5 GiB is given, twice."""
    program = """
from simsiam_retrieval.core import memory
memory.free_memory = lambda: 0
for _ in range(2):
    memory.limit_memory()
    kept = bytearray(1 << 29)
    try:
        bytearray(3 << 29)
    except MemoryError:
        print("refused", len(kept))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["refused", str(1 << 29)] * 2, done.stderr


def test_another_system(system: Path) -> None:
    (system / "meminfo").unlink()
    assert memory.free_memory() > 0
