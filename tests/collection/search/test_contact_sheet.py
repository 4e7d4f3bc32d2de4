"""The contact sheet: one picture of queries and results."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval import Collection
from tests.support.commands import refused, table
from tests.support.small_collections import indexed, painted
from tests.support.small_encoder import paint, small_encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return painted(tmp_path / "pictures", 5)


@pytest.fixture
def made(folder: Path, tmp_path: Path) -> Path:
    """The folder of a collection of ``folder``."""
    return indexed(folder, tmp_path / "made")


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "webp"])
def test_a_sheet(run, made, folder, tmp_path, suffix):
    done = run("search", folder / "0.jpg", "--collection", made, "--sheet", f"sheet.{suffix}")
    assert (done.returncode, done.stderr) == (0, f"drew sheet.{suffix}\n")
    assert done.stdout == table(made, folder / "0.jpg", 10)
    with Image.open(tmp_path / f"sheet.{suffix}") as sheet:
        assert sheet.format == {"png": "PNG", "webp": "WEBP"}.get(suffix, "JPEG")
        assert 800 <= sheet.width <= 3000
        assert 150 <= sheet.height <= 500


def test_a_sheet_shows_queries_and_results(run, tmp_path):
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    for name, colour in colours.items():
        for folder in ("queries", "pictures"):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new("RGB", (300, 300), colour).save(tmp_path / folder / f"{name}.jpg", quality=95)
    small_encoder(tmp_path / "small.onnx")
    run("index", "pictures", "--encoder", "small.onnx", "--collection", "c")
    heights = []
    for queries in (["red"], ["red", "green", "blue"]):
        files = [tmp_path / "queries" / f"{name}.jpg" for name in queries]
        done = run("search", *files, "--collection", "c", "-k", 1, "--sheet", "sheet.png")
        assert done.returncode == 0, done.stderr
        with Image.open(tmp_path / "sheet.png") as sheet:
            heights.append(sheet.height)
            pixels = np.asarray(sheet.convert("RGB"), int)
        for name, colour in colours.items():
            near = (np.abs(pixels - colour).max(axis=2) < 12).sum()
            # query and first result, each on a tile of at least 150 pixels
            assert near >= 2 * 150**2 if name in queries else near < 100
    assert 2.5 <= heights[1] / heights[0] <= 3.5


def test_a_sheet_of_odd_shapes(run, tmp_path):
    for size in ((1, 5000), (5000, 1), (1, 1)):
        paint(tmp_path / "odd" / f"{size[0]}x{size[1]}.jpg", 1, size)
        paint(tmp_path / "odd" / f"{size[0]}x{size[1]}.bmp", 1, size)
    small_encoder(tmp_path / "small.onnx")
    done = run("index", "odd", "--encoder", "small.onnx", "--collection", "c")
    assert (done.returncode, done.stderr) == (0, "")
    queries = sorted((tmp_path / "odd").iterdir())
    done = run("search", *queries, "--collection", "c", "--sheet", "sheet.png")
    assert (done.returncode, done.stderr) == (0, "drew sheet.png\n")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_sheet_of_very_many(run, made, folder, tmp_path, suffix):
    """Formats have a limit of height: 16383 px for WebP, 65535 px for JPEG."""
    noise = np.random.default_rng(0)  # no near-duplicates, which would share a tile
    with Collection.open(made) as collection:
        for number in range(5, 520):
            Image.fromarray(noise.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{number}.png")
        collection.update([folder], workers=0)
    sheet = tmp_path / f"sheet.{suffix}"
    done = run("search", folder / "0.jpg", "--collection", made, "-k", 500, "--sheet", sheet)
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        assert Image.open(sheet).height > 1000
    else:
        refused(done, sheet.name)


@pytest.mark.parametrize("sheet", ["sheet.bmp", "sheet", "missing/sheet.png", "/proc/sheet.png", "pictures"])
def test_sheets_that_cannot_be(run, made, folder, tmp_path, sheet):
    before = sorted(tmp_path.rglob("*"))
    refused(run("search", folder / "0.jpg", "--collection", made, "--sheet", sheet), sheet)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failed_sheet_keeps_the_old_one(run, made, folder, tmp_path):
    (tmp_path / "sheet.png").mkdir()
    refused(run("search", folder / "0.jpg", "--collection", made, "--sheet", "sheet.png"), "sheet.png")
    assert [path.name for path in tmp_path.iterdir() if "sheet" in path.name] == ["sheet.png"]
