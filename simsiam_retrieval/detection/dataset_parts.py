"""The parts of a data set for training, validation and test: folder, layout and split -> images with objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core import cli
from ..core.errors import UserError
from ..core.paths import absolute
from ..core.progress import bar
from ..core.text import printable
from ..images.worker_pool import map_chunks
from . import coco, voc
from .annotations import AnnotatedSet, DetectionSet, classes_of, joined, prepared
from .check_images import read_sizes
from .segmentations import check_segmentations

USUAL = {"train": ("train", "trainval"), "val": ("val", "valid"), "test": ("test", "val", "valid")}
OPTION = {"train": "--train-split", "val": "--val-split", "test": "--test-split"}


@dataclass
class Parts:
    """The three parts of a comparison.

    Attributes:
        train: For training.
        val: For choosing the learning rate.
        test: For measuring.
    """

    train: DetectionSet
    val: DetectionSet | None
    test: DetectionSet


def read_part(folder: Path, split: str | None, role: str) -> AnnotatedSet | None:
    """Read a part of a data set.

    Args:
        folder: Folder of the data set.
        split: Name of the part; None for one of the usual names.
        role: "train", "val" or "test".

    Returns:
        The part; None if no split was named and none of the usual ones exists.

    Raises:
        UserError: The folder has neither layout, or a file is missing or damaged.
    """
    given, folder = folder, absolute(folder)
    if not folder.is_dir():
        raise UserError(f"{printable(folder)}: no such folder")
    if voc.is_voc(folder):
        found = voc.splits(folder)
        chosen = split or next((name for name in USUAL[role] if name in found), None)
        return None if chosen is None else _titled(voc.read_voc(folder, chosen), given, chosen)
    if not coco.splits(folder):
        raise UserError(
            f"{printable(folder)}: neither VOC's layout (JPEGImages, Annotations, ImageSets/Main) nor COCO's "
            "(annotations/instances_SPLIT.json)"
        )
    chosen = split or next((name for name in USUAL[role] if coco.find_instances(folder, name)), None)
    return None if chosen is None else _titled(coco.read_coco(folder, chosen), given, chosen)


def _titled(part: AnnotatedSet, given: Path, split: str) -> AnnotatedSet:
    part.title = f"{given} ({split})"  # the folder as the user named it
    return part


def read_parts(
    train: Sequence[Path],
    test: Path | None,
    *,
    train_split: str | None = None,
    val_split: str | None = None,
    test_split: str | None = None,
    choosing: bool = False,
    masks: bool = False,
    workers: int | None = None,
) -> Parts:
    """Read, decode once and check all parts of a comparison. Messages go to stderr.

    Args:
        train: Folders for training.
        test: Folder of the test part; None for the first of ``train``.
        train_split: Name of the training part; None for one of the usual names.
        val_split: Name of the validation part, in the first folder of ``train``.
        test_split: Name of the test part.
        choosing: Whether a validation part is needed.
        masks: Whether every object must have a segmentation.
        workers: Number of worker processes; None chooses it.

    Returns:
        The parts.

    Raises:
        UserError: A part is missing, an image cannot be decoded or is in two parts, or the annotations are wrong (see
            ``prepared``).
    """
    trained = [_needed(folder, train_split, "train") for folder in train]
    tested = _needed(test or train[0], test_split, "test")
    chosen_by = read_part(train[0], val_split, "val") if choosing else None
    if choosing and (chosen_by is None or chosen_by.title == tested.title):
        raise UserError(
            f"{printable(train[0])}: several --lr need a validation part that is not the test part; "
            "name it with --val-split, or give one --lr"
        )
    everything = [*trained, tested, *([chosen_by] if chosen_by else [])]
    _refuse_shared(everything)
    classes = classes_of(trained)
    sizes = iter(_sizes(everything, workers))
    sets = [prepared(part, [next(sizes) for _ in part.images], classes, masks=masks) for part in everything]
    for part in sets:
        if masks:
            check_segmentations(part)
        for remark in part.remarks:
            cli.remark(f"remark: {printable(remark)}")
    count = len(trained)
    if not any((~picture.crowd).any() for part in sets[:count] for picture in part.pictures):
        raise UserError(f"{trained[0].title}: no objects to train on inside its images")
    if not any(len(picture.boxes) for picture in sets[count].pictures):
        raise UserError(f"{tested.title}: no objects in it; there is nothing to measure")
    return Parts(joined(sets[:count]), sets[count + 1] if chosen_by else None, sets[count])


def _needed(folder: Path, split: str | None, role: str) -> AnnotatedSet:
    part = read_part(folder, split, role)
    if part is None:
        found = ", ".join((voc if voc.is_voc(folder) else coco).splits(folder)[:10])
        raise UserError(
            f"{printable(folder)}: no part named {' or '.join(USUAL[role])}; choose with {OPTION[role]} from: {found}"
        )
    return part


def _refuse_shared(parts: Sequence[AnnotatedSet]) -> None:
    seen: dict[Path, str] = {}
    for part in parts:
        for image in part.images:
            path = image.file.resolve()
            if path in seen:
                raise UserError(f"{printable(path)}: in {printable(seen[path])} and in {printable(part.title)}")
            seen[path] = part.title


def _sizes(parts: Sequence[AnnotatedSet], workers: int | None) -> list[tuple[int, int]]:
    files = [image.file for part in parts for image in part.images]
    found: list[tuple[int, int] | str] = []
    with bar("looking at the images", len(files)) as shown:
        for chunk in map_chunks(read_sizes, files, lost=lambda file, reason: reason, workers=workers):
            found += chunk
            shown.advance(len(chunk))
    bad = [(file, size) for file, size in zip(files, found, strict=True) if isinstance(size, str)]
    if bad:
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise UserError(f"{printable(bad[0][0])}: {bad[0][1]}{more}; mend or remove what cannot be read")
    return [size for size in found if not isinstance(size, str)]
