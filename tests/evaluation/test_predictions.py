"""What a probe took each image for, on disk."""

import io
from pathlib import Path

import numpy as np
import pytest

from simsiam_retrieval import UserError
from simsiam_retrieval.evaluation.stored_predictions import (
    Guesses,
    Predictions,
    Subject,
    load_predictions,
    predictions_file,
    save_predictions,
)


def some(count: int = 4) -> Predictions:
    rng = np.random.default_rng(0)

    def guesses() -> Guesses:
        return Guesses(rng.integers(0, 3, count).astype(np.int32), rng.random(count).astype(np.float16))

    paths = [Path(f"/photos/{number}/café\udce9 \n.jpg") for number in range(count)]
    subjects = [
        Subject("mine", "ab12", {"linear": guesses(), "knn-20": guesses()}),
        Subject("pixels", "px", {"linear": guesses()}),
    ]
    return Predictions(["cat", "dög", "<b>"], paths, rng.integers(0, 3, count).astype(np.int32), subjects)


def test_they_read_back(tmp_path: Path) -> None:
    made = some()
    assert save_predictions(tmp_path / "probe-1.json", made) == tmp_path / "probe-1.predictions.npz"
    found = load_predictions(tmp_path / "probe-1.json")
    assert found is not None
    assert (found.classes, found.paths, found.truth.tolist()) == (made.classes, made.paths, made.truth.tolist())
    for one, other in zip(found.subjects, made.subjects, strict=True):
        assert (one.name, one.encoder, list(one.methods)) == (other.name, other.encoder, list(other.methods))
        for name, guesses in one.methods.items():
            assert guesses.predicted.tolist() == other.methods[name].predicted.tolist()
            assert guesses.confidence.tolist() == other.methods[name].confidence.tolist()
    assert load_predictions(tmp_path / "older.json") is None


def test_they_are_compact(tmp_path: Path) -> None:
    assert save_predictions(tmp_path / "r.json", some(4000)).stat().st_size < 4000 * 20


def change(file: Path, **arrays: np.ndarray) -> None:
    with np.load(file) as stored:
        content = {**stored, **arrays}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **content)  # pyright: ignore[reportArgumentType]
    file.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    "arrays",
    [
        {"truth": np.array([0, 1, 2, 3], np.int32)},
        {"truth": np.array([0, 1, 2], np.int32)},
        {"truth": np.array([0, 1, 2, -1], np.int32)},
        {"0/linear/predicted": np.zeros(4, np.float32)},
        {"0/linear/confidence": np.zeros(3, np.float16)},
        {"about": np.frombuffer(b"[]", np.uint8)},
        {"about": np.frombuffer(b'{"format": "other"}', np.uint8)},
        {"about": np.array([{"format": 1}], object)},
    ],
)
def test_damage_is_one_line(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    change(save_predictions(tmp_path / "r.json", some()), **arrays)
    with pytest.raises(UserError, match="damaged; run probe again"):
        load_predictions(tmp_path / "r.json")


@pytest.mark.parametrize("length", [0, 10, 200])
def test_a_file_that_was_cut_off_is_one_line(tmp_path: Path, length: int) -> None:
    file = save_predictions(tmp_path / "r.json", some())
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(UserError, match="damaged"):
        load_predictions(tmp_path / "r.json")
    assert predictions_file(tmp_path / "r.json") == file
