"""What a probe took each test image for: a compact file beside its report. No torch: the app reads it."""

import io
import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.atomic_files import replacing
from ..core.errors import UserError

FORMAT = "simsiam-retrieval-predictions/1"


@dataclass(frozen=True)
class Guesses:
    """The classes that one method gave to the test images."""

    predicted: NDArray[np.int32]  # (n,), positions in the classes
    confidence: NDArray[np.float16]  # (n,), the method's probability of it, or its part of the votes, in [0, 1]


@dataclass(frozen=True)
class Subject:
    """What was measured: an encoder or a baseline."""

    name: str
    encoder: str  # identity
    methods: dict[str, Guesses] = field(default_factory=dict)  # by the report's names: "linear", "knn-20", ...


@dataclass(frozen=True)
class Predictions:
    """All of a report, its subjects in the report's order: the encoder first, then its baselines."""

    classes: list[str]
    paths: list[Path]  # absolute, of the n test images
    truth: NDArray[np.int32]  # (n,), positions in the classes
    subjects: list[Subject]


def predictions_file(report: Path) -> Path:
    """Where the predictions of a report file are kept."""
    return report.with_suffix(".predictions.npz")


def save_predictions(report: Path, predictions: Predictions) -> Path:
    """Write them beside the file ``report``, in one step; returns the file. About 15 bytes an image and method."""
    arrays: dict[str, NDArray] = {
        "about": _bytes(json.dumps({
            "format": FORMAT,
            "classes": predictions.classes,
            "subjects": [[one.name, one.encoder, list(one.methods)] for one in predictions.subjects],
        }).encode()),
        "paths": _bytes(b"\0".join(os.fsencode(path) for path in predictions.paths)),
        "truth": predictions.truth.astype(np.int32),
    }  # fmt: skip
    for number, subject in enumerate(predictions.subjects):
        for name, guesses in subject.methods.items():
            arrays[f"{number}/{name}/predicted"] = guesses.predicted.astype(np.int32)
            arrays[f"{number}/{name}/confidence"] = guesses.confidence.astype(np.float16)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    file = predictions_file(report)
    with replacing(file) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return file


def load_predictions(report: Path) -> Predictions | None:
    """Read them; None where a report has none, because an older version wrote it.

    Raises :class:`UserError` when the file is damaged.
    """
    file = predictions_file(report)
    try:
        with np.load(file, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            if about["format"] != FORMAT:
                raise ValueError
            paths = [Path(os.fsdecode(name)) for name in stored["paths"].tobytes().split(b"\0")]
            truth = _positions(stored["truth"], len(paths), len(about["classes"]))
            subjects = [
                Subject(
                    str(name),
                    str(encoder),
                    {
                        method: _guesses(stored, f"{number}/{method}", len(paths), len(about["classes"]))
                        for method in methods
                    },
                )
                for number, (name, encoder, methods) in enumerate(about["subjects"])
            ]
            return Predictions([str(name) for name in about["classes"]], paths, truth, subjects)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{file}: damaged; run probe again") from None


def _guesses(stored: np.lib.npyio.NpzFile, key: str, count: int, classes: int) -> Guesses:
    confidence = stored[f"{key}/confidence"]
    if confidence.shape != (count,) or confidence.dtype != np.float16:
        raise ValueError
    return Guesses(_positions(stored[f"{key}/predicted"], count, classes), confidence)


def _positions(values: NDArray, count: int, classes: int) -> NDArray[np.int32]:
    if values.shape != (count,) or values.dtype != np.int32 or values.min() < 0 or values.max() >= classes:
        raise ValueError
    return values


def _bytes(content: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(content, np.uint8)
