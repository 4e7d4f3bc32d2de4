"""The predictions of a probe for each test image, in a compact file next to its report. No torch: the app reads it."""

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
    """The predictions of one classifier for the test images.

    Attributes:
        predicted: (n,), positions in the list of classes.
        confidence: (n,), the probability, or the share of the votes, in [0, 1].
    """

    predicted: NDArray[np.int32]
    confidence: NDArray[np.float16]


@dataclass(frozen=True)
class Subject:
    """The predictions of an encoder or a baseline.

    Attributes:
        name: Its name in the report.
        encoder: Its identity.
        methods: Name of the classifier in the report ("linear", "knn-20", ...) -> predictions.
    """

    name: str
    encoder: str
    methods: dict[str, Guesses] = field(default_factory=dict)


@dataclass(frozen=True)
class Predictions:
    """All predictions of a report.

    Attributes:
        classes: Names of the classes.
        paths: Absolute paths of the n test images.
        truth: (n,), true classes as positions in ``classes``.
        subjects: In the report's order: the encoder, then its baselines.
    """

    classes: list[str]
    paths: list[Path]
    truth: NDArray[np.int32]
    subjects: list[Subject]


def predictions_file(report: Path) -> Path:
    """Return the path of the predictions of a report.

    Args:
        report: The report's file.

    Returns:
        The path.
    """
    return report.with_suffix(".predictions.npz")


def save_predictions(report: Path, predictions: Predictions) -> Path:
    """Write predictions in one step. They need about 15 bytes per image and classifier.

    Args:
        report: The report's file.
        predictions: The predictions.

    Returns:
        The file.
    """
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
    """Read the predictions of a report.

    Args:
        report: The report's file.

    Returns:
        The predictions; None if an older version wrote the report without them.

    Raises:
        UserError: The file is damaged.
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
