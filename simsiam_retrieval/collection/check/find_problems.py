"""All problems of a collection, the worst of each kind first."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as Names
from dataclasses import dataclass, field

import numpy as np

from ...core.errors import UserError
from ...images.page_paths import file_and_page, page_of
from ..collection import Collection
from ..storage.catalog_file import explained
from ..storage.opening import open_store
from ..storage.shard_manifest import is_sharded
from ..types import Duplicate, Item
from . import fine
from .asked import check_kinds
from .label_errors import find_label_errors
from .leaks import Leaks, Split, check_splits, find_leaks
from .outliers import outlier_scores
from .problems import FENCE, KINDS, Problem, beyond
from .quality import MEASURED, SHAPES, measured_problems, shape_problems

FEWEST = 10  # images; with fewer, quartiles have no meaning
LEAST_SPREAD = 0.05  # of distances, in their median: smallest interquartile range that is used for outliers


@dataclass
class Report:
    """The result of a check.

    Attributes:
        images: Number of images.
        problems: The problems.
        not_measured: Images that an older version indexed without measures.
        skipped: Kind -> why it was not searched for.
        leaks: Of each pair of splits, what leaked.
    """

    images: int
    problems: list[Problem] = field(default_factory=list)
    not_measured: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    leaks: list[Leaks] = field(default_factory=list)

    def skipped_lines(self) -> list[str]:
        """Say what was not looked for, and why.

        Returns:
            One line for each reason.
        """
        kinds: dict[str, list[str]] = {}
        for kind, reason in self.skipped.items():
            kinds.setdefault(reason, []).append(kind)
        return [f"{', '.join(names)}: not looked for: {reason}" for reason, names in kinds.items()]

    def counts(self) -> dict[str, int]:
        """Count the problems that nobody marked as fine.

        Returns:
            Kind -> number, in the order of ``KINDS``, for the kinds that were found.
        """
        found = {kind: sum(p.kind == kind and not p.fine for p in self.problems) for kind in KINDS}
        return {kind: count for kind, count in found.items() if count}


def find_problems(
    collection: Collection,
    kinds: Names[str] = tuple(KINDS),
    *,
    fence: float = FENCE,
    threshold: float | None = None,
    labels: Mapping[int, str] | None = None,
    splits: Sequence[Split] = (),
    on_progress: Callable[[int, int], None] = lambda rows, total: None,
) -> Report:
    """Find problems of a collection's images. Opens no image file.

    An image is listed if one of its values is more than ``fence`` interquartile ranges beyond a quartile of the
    collection.

    Args:
        collection: The collection.
        kinds: Kinds of problems.
        fence: Interquartile ranges.
        threshold: Cosine of near-duplicates, see ``Collection.duplicates``.
        labels: Id -> label; wrong ones are looked for. None: labels are not judged.
        splits: Parts of a data set, training first; images of a part that are in an earlier one are listed.
        on_progress: See ``Collection.duplicates``.

    Returns:
        The problems.

    Raises:
        UserError: The collection is sharded, a kind is unknown, or the fence is below 0 or not finite; or of the
            labels fewer than two classes have two images; or as in ``find_leaks``.
    """
    if is_sharded(collection.folder):
        raise UserError(f"{collection.folder}: a sharded collection; check works on plain ones")
    check_kinds(kinds)
    if not 0 <= fence < float("inf"):
        raise UserError(f"a fence of {fence:g}: it must be a number, 0 or more")
    if splits and "leak" in kinds:
        check_splits(splits)  # before the long comparisons
    items, measures = collection.items(), collection.measures()
    report = Report(len(items), not_measured=len(items) - len(measures))
    found: list[Problem] = []
    if "damaged" in kinds:
        found += [Problem("damaged", os.fspath(path), 1.0, reason) for path, reason in collection.failures()]
    if "missing" in kinds:
        found += _missing(items)
    report.skipped = {kind: reason for kind, reason in _too_few(items, len(measures)).items() if kind in kinds}
    if len(measures) >= FEWEST:
        found += measured_problems(items, measures, fence)
    if len(items) >= FEWEST:
        found += shape_problems(items, fence)
        if "outlier" in kinds:
            found += _outliers(collection, fence)
    if "near-duplicate" in kinds:
        try:
            copies = _duplicates(collection.duplicates(threshold, on_progress=on_progress))
            found += sorted(copies, key=lambda copy: -copy.score)
        except UserError as error:
            if threshold is not None:
                raise
            report.skipped["near-duplicate"] = str(error)
    if labels is not None and "label error" in kinds:
        found += _label_errors(collection, labels)
    if splits and "leak" in kinds:
        leaked, report.leaks = find_leaks(collection, splits, threshold=threshold, labels=labels)
        found += leaked
    report.problems = [problem for problem in with_fine(collection, found) if problem.kind in kinds]
    return report


def _too_few(items: list[Item], measured: int) -> dict[str, str]:
    """Kinds for which there are too few images to compare with -> why, in the order of ``KINDS``."""
    found: dict[str, str] = {}
    if len(items) < FEWEST:
        images = "1 image is" if len(items) == 1 else f"{len(items)} images are"
        found = dict.fromkeys((*MEASURED, *SHAPES, "outlier"), f"{images} too few to say what is usual among them")
    elif measured < FEWEST:
        images = "1 measured image is" if measured == 1 else f"{measured} measured images are"
        found = dict.fromkeys(MEASURED, f"{images} too few to say what is usual among them")
    return {kind: found[kind] for kind in KINDS if kind in found}


def _missing(items: list[Item]) -> Iterator[Problem]:
    for item in items:
        try:
            status = file_and_page(item.path)[0].stat()
        except OSError:
            yield Problem("missing", str(item.path), 2.0, "the file is gone, or cannot be looked at", item)
            continue
        if (status.st_size, status.st_mtime_ns) != (item.size, item.mtime_ns):
            yield Problem("missing", str(item.path), 1.0, "the file has changed since it was indexed", item)


def _outliers(collection: Collection, fence: float) -> Iterator[Problem]:
    ids, vectors = collection.vectors()
    items = {item.id: item for item in collection.items()}
    distances = outlier_scores(vectors)
    distances /= max(float(np.median(distances)), 1e-6)
    scores, _ = beyond(distances, LEAST_SPREAD, high=True)
    for place in np.argsort(-scores, kind="stable").tolist():
        item = items.get(int(ids[place]))
        if scores[place] <= fence or item is None:
            break
        reason = f"{distances[place]:.2f} times as far from the average image as most"
        yield Problem("outlier", str(item.path), float(scores[place]), reason, item)


def _label_errors(collection: Collection, labels: Mapping[int, str]) -> Iterator[Problem]:
    """Images that both a probe and the neighbours count to another class."""
    ids, vectors = collection.vectors()
    labelled = np.flatnonzero([id_ in labels for id_ in ids.tolist()])
    ids = ids[labelled]
    found = find_label_errors(vectors[labelled], [labels[id_] for id_ in ids.tolist()])
    items = {item.id: item for item in collection.items()}
    for place in np.argsort(-found.score, kind="stable").tolist():
        item, likely = items.get(int(ids[found.rows[place]])), found.likely[place]
        nearest = None if found.nearest[place] < 0 else items.get(int(ids[found.nearest[place]]))
        if item is None or not (found.confident[place] and found.votes[place, likely] >= 0.5):
            continue
        label, other = found.classes[found.truth[place]], found.classes[likely]
        reason = (
            f"labelled {label}; a probe says {other} ({found.probabilities[place, likely]:.0%}), "
            f"as {found.votes[place, likely]:.0%} of its neighbours are labelled"
        )
        like = None if nearest is None else str(nearest.path)
        yield Problem("label error", str(item.path), float(found.score[place]), reason, item, like)


def _duplicates(groups: list[list[Duplicate]]) -> Iterator[Problem]:
    for group in groups:
        best = group[0]
        for file in group[1:]:
            own, other = page_of(file.path)[0], page_of(best.path)[0]
            across = "" if own.parent == other.parent else ", in another folder"
            across = ", on another page of the file" if own == other else across
            reason = "the same bytes" if file.exact else f"a cosine of {file.score:.3f}"
            yield Problem("near-duplicate", str(file.path), file.score, reason + across, file.item, str(best.path))


def with_fine(collection: Collection, problems: list[Problem]) -> list[Problem]:
    """Mark the problems that a person found fine.

    Args:
        collection: The collection.
        problems: Its problems; whether they are marked is read anew.

    Returns:
        The problems, in the same order.
    """
    with explained(collection.folder), contextlib.closing(open_store(collection.folder)) as catalog:
        known = fine.stored(catalog)
        digests = {id_: digest.hex() for id_, *_, digest in catalog.by_quality() if digest is not None} if known else {}

    def is_fine(problem: Problem) -> bool:
        return problem.item is not None and digests.get(problem.item.id) in known.get(problem.kind, ())

    return [problem.marked_fine(is_fine(problem)) for problem in problems]
