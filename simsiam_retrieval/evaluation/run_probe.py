"""A complete probe: two labelled folders, an encoder and its baselines -> a report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..core import cli
from ..core.errors import UserError
from ..core.progress import bar
from ..core.text import printable
from ..core.threads import bounded_threads, free_cores
from ..encoder.device_remark import remark_device
from ..methods.feature_description import Features as Description
from ..methods.feature_description import described
from ..metrics.whitening import COMPONENTS, fit_whitening
from .extractors import Extractor, PixelExtractor, ReducedExtractor, open_extractor, random_weights, unit_rows
from .features import Features, extract
from .labelled import LabelledFiles, common_classes, thin_classes
from .network_behind import network_behind
from .probe_extractor import Split, Task, probe
from .probe_options import Options
from .probe_reports import build, fingerprint
from .protocols import PROTOCOLS
from .stored_predictions import Predictions
from .stored_predictions import Subject as Guessed

SHOWN = 10  # number of files that are listed singly
PIXEL_POWER = 0.5  # power of the pixels' whitening if the encoder has no PCA of its own


@dataclass
class _Subject:
    """An extractor that is measured."""

    extractor: Extractor
    encoder: str | Path | None = None  # the ENCODER argument
    backbone: nn.Module | None = None  # for the paper's protocol
    reduction: tuple[int, float] | None = None  # dimension and power of a PCA to fit to the training images
    as_is: bool = True  # whether to measure it without that PCA, too
    train: Features | None = None
    test: Features | None = None


def run_probe(
    encoder: str | Path | None,
    train: LabelledFiles,
    test: LabelledFiles,
    *,
    against: Sequence[str] = (),
    options: Options | None = None,
    cached: bool = True,
    workers: int | None = None,
    device: str | None = None,
) -> tuple[dict[str, Any], Predictions]:
    """Measure an encoder and its baselines. Messages and progress go to stderr.

    The baselines are the same network with random weights and the same features, raw pixels, whitened pixels, and the
    encoders ``against``.

    Args:
        encoder: See ``load_encoder``.
        train: Training images.
        test: Test images; their classes must be among those of ``train``.
        against: Further encoders.
        options: What to measure.
        cached: Whether to use the feature cache.
        workers: Number of worker processes; None chooses it.
        device: Device of the encoders; see ``Encoder``.

    Returns:
        The report, and the predictions of each classifier.

    Raises:
        UserError: The input cannot be measured, or a GPU was required and is not used.
    """
    options = options or Options()
    options.check()
    threads = free_cores()
    subjects = _subjects(encoder, against, device)
    if options.paper:
        for subject in subjects:  # first, so that missing weights are reported before the long measurements
            subject.backbone = network_behind(subject.extractor, subject.encoder)
    sides = [train, test]
    for side in sides:
        for remark in side.remarks:
            cli.remark(remark)
    for subject in subjects:
        found = []
        for side, what in zip(sides, ("training", "test"), strict=True):
            with bar(f"embedding {len(side.files)} {what} images, {subject.extractor.name}", 0, say=True) as shown:
                found.append(
                    extract(
                        subject.extractor,
                        side.files,
                        cached=cached,
                        workers=workers,
                        on_start=shown.of,
                        on_progress=shown.advance,
                    )
                )
        subject.train, subject.test = found
    kept = [_readable(side, [_of(subject, number) for subject in subjects]) for number, side in enumerate(sides)]
    usable = [
        LabelledFiles(side.given, [side.files[i] for i in rows], [side.names[i] for i in rows])
        for side, rows in zip(sides, kept, strict=True)
    ]
    classes = common_classes(usable[0], usable[1])
    _remark_on_classes(usable[0], usable[1], options)
    number = {name: index for index, name in enumerate(classes)}
    splits = [Split(side.files, torch.tensor([number[name] for name in side.names])) for side in usable]
    task = Task(splits[0], splits[1], classes, options, workers)
    measured: list[dict[str, Any]] = []
    guessed: list[Guessed] = []
    data: dict[str, Any] = {}
    for subject in subjects:
        stored = [_of(subject, side).stored[rows] for side, rows in enumerate(kept)]
        if isinstance(subject.extractor, PixelExtractor):
            prints = [fingerprint(rows, side.names) for rows, side in zip(stored, usable, strict=True)]
            data = dict(zip(("train_fingerprint", "test_fingerprint"), prints, strict=True))
        for extractor, rows in _variants(subject, stored):
            with bar(f"measuring {extractor.name}", 1, say=True) as shown, bounded_threads(threads):
                results, methods = probe(extractor, rows[0], rows[1], task, subject.backbone, shown.phase)
                measured.append(results)
                guessed.append(Guessed(extractor.name, extractor.identity, methods))
                shown.advance()
        subject.train = subject.test = None  # frees the memory: the pixels of a large set are large
    facts = {
        "train": str(train.given),
        "test": str(test.given),
        "classes": len(classes),
        "train_images": len(usable[0].files),
        "test_images": len(usable[1].files),
        "left_out": sum(len(side.files) - len(rows) for side, rows in zip(sides, kept, strict=True)),
        "data": data,
    }
    truth = task.test.labels.numpy().astype(np.int32)
    paths = [file.path for file in usable[1].files]
    return build(measured, facts, options.seed, PROTOCOLS), Predictions(classes, paths, truth, guessed)


def _subjects(encoder: str | Path | None, against: Sequence[str], device: str | None) -> list[_Subject]:
    asked = open_extractor(encoder, device or "auto")
    remark_device(asked.encoder, device)
    subjects = [_Subject(asked, encoder)]
    untrained = random_weights(asked.encoder)
    features = described(asked.encoder.metadata) or Description()
    reduction = None if features.dim is None else (features.dim, features.power)
    if untrained is None:
        cli.remark("no row for random weights: the encoder does not say which network it is")
    else:
        subjects.append(_Subject(untrained, reduction=reduction, as_is=False))
    subjects.append(_Subject(PixelExtractor(asked.encoder.reading), reduction=reduction or (COMPONENTS, PIXEL_POWER)))
    for other in against:
        subject = _Subject(open_extractor(other, device or "auto"), other)
        if any(subject.extractor.identity == known.extractor.identity for known in subjects):
            raise UserError(f"--against {printable(other)}: the same encoder twice")
        subjects.append(subject)
    return subjects


def _variants(subject: _Subject, stored: list[NDArray]) -> Iterator[tuple[Extractor, list[NDArray]]]:
    """The extractors to measure for a subject (as it is, and after PCA), each with its training and test vectors."""
    extractor = subject.extractor
    if subject.as_is or subject.reduction is None:
        yield extractor, stored
    if subject.reduction is None:
        return
    dim, power = subject.reduction
    reduction = fit_whitening(unit_rows(stored[0]), dim, power=power)
    found = reduction.projection.shape[1]
    if not found:  # all images are equal
        return
    about = f"{extractor.about}; PCA of power {power:g} to {found} numbers, fitted to the training images"
    name = "whitened pixels" if isinstance(extractor, PixelExtractor) else extractor.name
    reduced = ReducedExtractor(extractor, reduction, name, about)
    yield reduced, [reduced.reduced(rows) for rows in stored]


def _of(subject: _Subject, side: int) -> Features:
    found = subject.train if side == 0 else subject.test
    assert found is not None
    return found


def _readable(side: LabelledFiles, found: Sequence[Features]) -> list[int]:
    """Positions of the files that every extractor could read; the others are reported."""
    failed = {index: reason for features in reversed(found) for index, reason in features.failed.items()}
    for index in sorted(failed)[:SHOWN]:
        cli.remark(f"left out: {printable(side.files[index].path)}: {failed[index]}")
    if len(failed) > SHOWN:
        cli.remark(f"left out: {len(failed) - SHOWN} more images of {side.given}")
    return [index for index in range(len(side.files)) if index not in failed]


def _remark_on_classes(train: LabelledFiles, test: LabelledFiles, options: Options) -> None:
    for side, what in ((train, "training"), (test, "test")):
        single = thin_classes(side.names)
        if single:
            names = printable(", ".join(single[:5])) + (", …" if len(single) > 5 else "")
            cli.remark(f"remark: one {what} image only in {len(single)} class(es): {names}")
    untested = sorted(set(train.classes) - set(test.classes))
    if untested:
        cli.remark(f"remark: no test images of {len(untested)} class(es): {printable(', '.join(untested[:5]))}")
    counts = np.unique(train.names, return_counts=True)
    smallest = int(counts[1].min())
    for shots in options.shots:
        if shots > smallest:
            name = printable(str(counts[0][counts[1].argmin()]))
            cli.remark(f"left out: --shots {shots}: class {name} has {smallest} training image(s)")
