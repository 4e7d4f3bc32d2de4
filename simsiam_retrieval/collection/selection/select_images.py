"""Choosing which images of a collection to label next."""

from collections.abc import Collection as Ids
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ..explore.few_shot_classifier import LinearProbe, Scaling, train
from ..types import Item
from . import strategies
from .representative_images import representative
from .strategies import Picks, Rows
from .uncertain_images import uncertain

AUTO = "auto"
STRATEGIES = {
    AUTO: "the strategy that was best when measured: representative",
    "representative": "images that share neighbours with as many others as possible",
    "typical": "the most typical image of each cluster, large clusters first",
    "central": "the image nearest the centre of each cluster, large clusters first",
    "diverse": "the image that is least like all chosen ones, again and again",
    "uncertain": "images between whose likeliest two classes a probe cannot decide; needs labels",
    "mixed": "as many of each: representative, diverse and, with labels, uncertain",
    "random": "at random",
}


@dataclass(frozen=True)
class Choice:
    """An image that a strategy chose.

    Attributes:
        id: Id of the image.
        strategy: The strategy.
        score: See the strategy in ``strategies``.
        reason: Why it was chosen.
        label: Class that a probe gives it; None without labels of two classes.
        probability: Its probability; None without ``label``.
    """

    id: int
    strategy: str
    score: float
    reason: str
    label: str | None = None
    probability: float | None = None


@dataclass(frozen=True)
class Selected:
    """An image to label.

    Attributes:
        rank: From 1; the first ones teach most.
        item: The image.
        choice: Why it was chosen, and what a probe takes it for.
    """

    rank: int
    item: Item
    choice: Choice

    @property
    def path(self) -> Path:
        """Path of the image."""
        return self.item.path


def select_images(
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    count: int,
    strategy: str = AUTO,
    *,
    candidates: Ids[int] | None = None,
    labels: Mapping[int, str] | None = None,
    chosen: Iterable[int] = (),
    seed: int = 0,
) -> list[Choice]:
    """Choose images to label. The same arguments give the same images.

    Args:
        ids: Ids of all images, int64 (n,), ascending.
        vectors: Their unit vectors, float32 (n, dim).
        count: How many.
        strategy: One of ``STRATEGIES``.
        candidates: Ids that may be chosen. None: all.
        labels: Id -> label. Labelled images are not chosen, and images like them come later.
        chosen: Ids that were chosen earlier, and are treated in the same way.
        seed: Of k-means and of the draw; 0 or more.

    Returns:
        The images, the most useful first.

    Raises:
        UserError: The strategy is unknown or needs labels, or there are fewer than ``count`` images to choose from.
    """
    labels = {} if labels is None else labels
    if strategy not in STRATEGIES:
        raise UserError(f"{strategy}: no such strategy; there are {', '.join(STRATEGIES)}")
    if count < 1:
        raise UserError(f"{count} images: select at least one")
    if seed < 0:
        raise UserError(f"a seed of {seed}: it must be 0 or more")
    done = np.isin(ids, np.array(sorted({*labels, *chosen} & set(ids.tolist())), np.int64))
    free = ~done
    if candidates is not None:
        free &= np.isin(ids, np.array(sorted(candidates), np.int64))
    rows, known = np.flatnonzero(free), np.flatnonzero(done)
    if len(rows) < count:
        raise UserError(_too_few(len(rows), count, len(ids) if candidates is None else len(candidates), len(known)))
    probe = _probe(ids, vectors, labels)
    if probe is None and strategy == "uncertain":
        classes = len(set(labels.values()))
        raise UserError(
            f"uncertain: needs labels of two classes, but {_several(classes, 'class', 'classes')} "
            f"of {_several(len(labels), 'label')} exist; select without it first, and label those"
        )
    parts = _parts(strategy, probe)
    found = _chosen(parts, vectors, rows, known, count, seed, probe)
    return _described(found, ids, vectors, probe)


def _too_few(free: int, count: int, candidates: int, known: int) -> str:
    if not candidates:
        return "no image to choose from; index images first, or give other folders or conditions"
    if not free:
        return f"no image is left to choose from: all {candidates:,} are labelled or chosen already"
    less = f"; {known:,} are labelled or chosen already" if known else ""
    return f"{count:,} images of {free:,} that can be chosen{less}: ask for {free:,} or fewer"


def _several(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _probe(ids: NDArray[np.int64], vectors: NDArray[np.float32], labels: Mapping[int, str]) -> LinearProbe | None:
    rows = np.flatnonzero(np.isin(ids, np.array(sorted(labels), np.int64)))
    names = [labels[id_] for id_ in ids[rows].tolist()]
    return train(vectors[rows], names, Scaling.of(vectors)) if len(set(names)) > 1 else None


def _parts(strategy: str, probe: LinearProbe | None) -> tuple[str, ...]:
    """The strategies that make up a strategy."""
    if strategy == "mixed":
        return ("representative", "diverse") if probe is None else ("representative", "uncertain", "diverse")
    return ("representative" if strategy == AUTO else strategy,)


def _chosen(
    parts: tuple[str, ...],
    vectors: NDArray[np.float32],
    rows: Rows,
    known: Rows,
    count: int,
    seed: int,
    probe: LinearProbe | None,
) -> list[tuple[str, int, float, str]]:
    """Strategy, row, score and reason of each; of several strategies in turns."""
    lists = []
    for place, part in enumerate(parts):
        share = count // len(parts) + (place < count % len(parts))
        if not share:
            continue
        picks = _picks(part, vectors, rows, known, share, seed, probe)
        lists.append(
            [(part, *one) for one in zip(picks.rows.tolist(), picks.scores.tolist(), picks.reasons, strict=True)]
        )
        rows, known = np.setdiff1d(rows, picks.rows), np.union1d(known, picks.rows)
    turns = max(map(len, lists))
    return [one[turn] for turn in range(turns) for one in lists if turn < len(one)]


def _picks(
    part: str,
    vectors: NDArray[np.float32],
    rows: Rows,
    known: Rows,
    count: int,
    seed: int,
    probe: LinearProbe | None,
) -> Picks:
    if part == "random":
        return strategies.at_random(rows, count, seed)
    if part == "diverse":
        return strategies.diverse(vectors, rows, known, count)
    if part == "representative":
        return representative(vectors, rows, known, count, seed, probe)
    if part == "uncertain":
        assert probe is not None
        return uncertain(vectors, rows, known, count, seed, probe)
    return getattr(strategies, part)(vectors, rows, known, count, seed)


def _described(
    found: list[tuple[str, int, float, str]],
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    probe: LinearProbe | None,
) -> list[Choice]:
    if probe is None:
        return [Choice(int(ids[row]), strategy, score, reason) for strategy, row, score, reason in found]
    probabilities = probe.probabilities(vectors[[row for _, row, _, _ in found]])
    best = probabilities.argmax(axis=1).tolist()
    return [
        Choice(int(ids[row]), strategy, score, reason, probe.classes[likely], float(of[likely]))
        for (strategy, row, score, reason), likely, of in zip(found, best, probabilities, strict=True)
    ]
