"""Settings, a collection and a run that the tests of the app share."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.app_pages import own_settings  # noqa: F401 -- a fixture that all tests here use
from tests.support.run_rows import row


@pytest.fixture
def own_collection(collection_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(collection_dir, tmp_path / "own"))


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """``runs/first``: a run of three rows."""
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    description = {
        "config": {"recipe": "photos", "backbone": "resnet18", "epochs": 40, "batch_size": 1024},
        "data": {"roots": ["/photos/<b>mine"], "images": 20613},
        "versions": {"torch": "2.11"},
        "device": {"type": "cuda", "name": "NVIDIA H100"},
        "started": "2026-11-21T21:22:23+00:00",
    }
    (run / "config.json").write_text(json.dumps(description))
    (run / "metrics.jsonl").write_text("".join(json.dumps(row(step)) + "\n" for step in (1, 2, 3)))
    return run
