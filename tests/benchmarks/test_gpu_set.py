"""The two commands for a leased GPU machine, at toy size on a CPU, with only the packages that such a machine has."""

import importlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MISSING = ("faiss", "streamlit", "watchfiles", "openTSNE", "lightly", "ray", "uvicorn", "starlette", "pyarrow")
BARE = f"""
import importlib.abc, sys
class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {MISSING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Bare())
"""


@pytest.fixture(scope="module")
def packs() -> Iterator[ModuleType]:
    """``benchmarks/gpu_packs.py``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))  # worker processes import it by its name
        yield importlib.import_module("gpu_packs")


def pictures(folder: Path, count: int, size: tuple[int, int]) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.effect_noise(size, 20 + number).convert("RGB").save(folder / f"{number:03}.jpg")


def test_an_encoder_is_trained_and_comes_back_in_parts(packs: ModuleType, tmp_path: Path) -> None:
    """Call b: from archives of packed images to a run that can be resumed, whole after its parts are joined."""
    data = tmp_path / "data"
    pictures(data / "imagenette-160/train/tench", 24, (120, 90))
    pictures(data / "tiny-imagenet-200/train/n01", 40, (64, 64))
    packs.pack(data, tmp_path / "packs", megabytes=1, side=80, quality=30, seed=0)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/sitecustomize.py").write_text(BARE)
    command = [sys.executable, str(BENCHMARKS / "gpu_set.py"), "b", "--toy", "--device", "cpu", "--minutes", "5"]
    command += ["--packs", str(tmp_path / "packs"), "--out", str(tmp_path / "out"), "--workers", "0", "--epochs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "bare")}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "pretrain: done" in ended.stdout and "export: done" in ended.stdout, ended.stdout
    back = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(back) <= 8 and "results-b.tar.gz" in back
    joined = {file.name for file in packs.join(tmp_path / "out", tmp_path / "run")}
    assert joined == {"checkpoint.pt", "encoder.onnx"}
    with tarfile.open(tmp_path / "out/results-b.tar.gz") as archive:
        archive.extractall(tmp_path / "results", filter="data")
    facts = json.loads((tmp_path / "results/results/config.json").read_text())
    assert facts["data"]["images"] == 64  # of both archives
    from simsiam_retrieval import load_encoder

    assert load_encoder(tmp_path / "run/encoder.onnx").embed([Image.new("RGB", (30, 40))]).shape == (1, 3072)


def test_archives_keep_to_their_room(packs: ModuleType, tmp_path: Path) -> None:
    """Photos come first, then as much of Tiny-ImageNet as there is room for; large images are made smaller."""
    data = tmp_path / "data"
    pictures(data / "caltech101-128/a", 6, (300, 200))
    pictures(data / "tiny-imagenet-200/train/n01", 300, (64, 64))
    packs.pack(data, tmp_path / "packs", megabytes=0.15, side=64, quality=30, seed=0)
    sizes, files = {}, 0
    for name in ("photos.tar.gz", "tiny.tar.gz"):
        with tarfile.open(tmp_path / "packs" / name) as archive:
            for member in archive.getmembers():
                content = archive.extractfile(member)
                assert content is not None
                sizes.setdefault(name, set()).add(Image.open(content).size)
            files += (tmp_path / "packs" / name).stat().st_size
    assert sizes == {"photos.tar.gz": {(96, 64)}, "tiny.tar.gz": {(64, 64)}}
    assert files <= 0.15 * 2**20


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_parts_are_not_joined(packs: ModuleType, tmp_path: Path, damage: str) -> None:
    """A part that was lost or changed on the way is named; no wrong file is left."""
    (tmp_path / "weights").write_bytes(bytes(range(256)) * 4)
    parts = packs.split([tmp_path / "weights"], tmp_path / "parts", part_bytes=300)
    assert [part.stat().st_size for part in parts] == [300, 300, 300, 124]
    assert [file.read_bytes() for file in packs.join(tmp_path / "parts", tmp_path / "good")] == [bytes(range(256)) * 4]
    if damage == "missing":
        parts[2].unlink()
    else:
        parts[2].write_bytes(b"\0" + parts[2].read_bytes()[1:])
    with pytest.raises(SystemExit, match="part02: missing" if damage == "missing" else "do not make the file"):
        list(packs.join(tmp_path / "parts", tmp_path / "bad"))
    if damage == "changed":
        assert not (tmp_path / "bad/weights").exists()
