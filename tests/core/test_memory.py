"""How much memory there is to spare."""

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


def test_another_system(system: Path) -> None:
    (system / "meminfo").unlink()
    assert memory.free_memory() > 0
