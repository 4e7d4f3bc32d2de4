"""Without the extra "train": what serves runs, and what trains says in one line what to install."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simsiam_retrieval.core.cli import TRAIN
from simsiam_retrieval.core.example_photos import example_photos

# Python runs this at its start; it makes the extra's modules as missing as they are without it
MISSING = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(TRAIN)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """A function that runs Python without the extra, in a data directory of its own."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "sitecustomize.py").write_text(MISSING)
    photos = folder / "photos"
    photos.mkdir()
    for file in sorted(example_photos().glob("*/*.jpg"))[:6]:
        shutil.copy(file, photos)
    environment = {**os.environ, "PYTHONPATH": str(folder), "SIMSIAM_RETRIEVAL_HOME": str(folder / "home")}

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)

    return run


def test_index_and_search(light):
    indexed = light("-m", "simsiam_retrieval.index", "photos", "--workers", "1")
    assert (indexed.returncode, indexed.stdout[:8]) == (0, "6 images"), indexed.stderr
    found = light("-m", "simsiam_retrieval.search", "--item", "1", "-k", "3", "--json")
    assert found.returncode == 0, found.stderr
    assert len(json.loads(found.stdout)[0]["hits"]) == 3


def test_every_serving_module_can_be_imported(light):
    packages = ("collection", "encoder", "images", "app")
    script = (
        "import importlib, pkgutil, sys\n"
        f"for package in {packages}:\n"
        "    root = importlib.import_module('simsiam_retrieval.' + package)\n"
        "    for module in pkgutil.walk_packages(root.__path__, root.__name__ + '.'):\n"
        "        if not module.name.endswith(('__main__', 'navigation')):\n"
        "            importlib.import_module(module.name)\n"
        "print(sum(name.startswith('simsiam_retrieval.') for name in sys.modules))"
    )
    done = light("-c", script)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


@pytest.mark.parametrize(
    "command",
    [
        ("pretrain", "photos", "--out", "run"),
        ("export", "run"),
        ("probe", "--train", str(example_photos()), "--test", str(example_photos())),
        ("convert", "weights.pt", "run"),
    ],
)
def test_what_trains_says_what_to_install(light, command):
    done = light("-m", f"simsiam_retrieval.{command[0]}", *command[1:])
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: this needs ")
    assert line.endswith("run: pip install 'simsiam-retrieval[train]'")
