"""What the colours of the map mean: folders, labels, clusters, or what the probe predicts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.collection.explore.clusters import Clusters

from ..collection_snapshot import Taught, Whole
from ..components.scatter import MOST_GROUPS, OTHERS, Entry, colours
from ..components.tiles import small
from ..markup import jpeg_address, shown

FACES = 4  # representatives of a cluster in the legend


@dataclass(frozen=True)
class Colouring:
    """A group for every image. ``order`` ranks them within their groups, most typical first."""

    key: str  # two colourings with the same key are the same
    groups: NDArray[np.uint8]  # (n,)
    legend: list[Entry]
    order: NDArray[np.float32]  # (n,), larger comes first


def by_name(key: str, names: Sequence[str | None], nothing: str = "") -> Colouring:
    """Make groups of equal names, the largest first. Rare names share a group.

    Args:
        key: Name of the colouring.
        names: Name of each image, or None.
        nothing: What None is called.

    Returns:
        The colouring.
    """
    counts = Counter(name for name in names if name is not None)
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    spare = len(ranked) > MOST_GROUPS
    own = ranked[: MOST_GROUPS - 1] if spare else ranked
    number = {name: place for place, name in enumerate(own)}
    rest = len(own)  # those that share a group, and behind them those without a name
    groups = np.array([(rest + spare) if name is None else number.get(name, rest) for name in names], np.uint8)
    legend = [_entry(name, counts[name], colour) for name, colour in zip(own, colours(len(own)), strict=True)]
    if spare:
        others = ranked[MOST_GROUPS - 1 :]
        legend.append(_entry(f"{len(others)} others", sum(counts[name] for name in others), OTHERS))
    if len(names) > sum(counts.values()):
        legend.append(_entry(nothing, len(names) - sum(counts.values()), OTHERS, faint=True))
    return Colouring(key, groups, legend, np.zeros(len(names), np.float32))


def by_folder(images: Whole) -> Colouring:
    """Colour by the name of the folder that an image is in: ``train/cat`` and ``val/cat`` are one group.

    Args:
        images: The images.

    Returns:
        The colouring.
    """
    return by_name("folder", [name or "/" for name in images.folder_names])


def by_label(images: Whole, labels: dict[int, str]) -> Colouring:
    """Colour by the labels that people gave.

    Args:
        images: The images.
        labels: Item id -> label.

    Returns:
        The colouring.
    """
    return by_name(
        f"label {hash(frozenset(labels.items()))}", [labels.get(id_) for id_ in images.ids.tolist()], "No label"
    )


def by_selection(images: Whole, ids: Sequence[int]) -> Colouring:
    """What was selected to label, the most useful first."""
    ranks = {id_: rank for rank, id_ in enumerate(ids)}
    names = ["Selected" if id_ in ranks else None for id_ in images.ids.tolist()]
    found = by_name(f"selection {hash(tuple(ids))}", names, "Others")
    order = np.array([-ranks.get(id_, len(ranks)) for id_ in images.ids.tolist()], np.float32)
    return Colouring(found.key, found.groups, found.legend, order)


def by_prediction(images: Whole, labels: dict[int, str], taught: Taught) -> Colouring:
    """Colour by the predicted class.

    Args:
        images: The images.
        labels: Item id -> label.
        taught: The predictions.

    Returns:
        The colouring.
    """
    predicted = taught.predicted
    names = [taught.probe.classes[number] for number in predicted.tolist()]
    found = by_name(f"prediction {hash(frozenset(labels.items()))}", names)
    return Colouring(found.key, found.groups, found.legend, taught.probabilities.max(axis=1))


def by_cluster(collection: Collection, clusters: Clusters) -> Colouring:
    """Colour by cluster, with a few typical images of each.

    Args:
        collection: The collection.
        clusters: The clusters.

    Returns:
        The colouring.
    """
    sizes = clusters.sizes.tolist()
    legend = []
    for number, (size, colour) in enumerate(zip(sizes, colours(len(sizes)), strict=True)):
        entry = _entry(f"Cluster {number + 1}", size, colour)
        for id_ in clusters.members(number)[:FACES].tolist():
            item, thumbnail = collection.item(id_), collection.thumbnail(id_)
            if item is not None and thumbnail is not None:
                entry["faces"].append({"name": shown(item.path.name), "source": jpeg_address(small(thumbnail))})
        legend.append(entry)
    return Colouring(f"cluster {len(sizes)}", clusters.numbers.astype(np.uint8), legend, clusters.cosines)


def _entry(name: str, count: int, colour: str, *, faint: bool = False) -> Entry:
    return Entry(name=shown(name), count=count, colour=colour, faint=faint, faces=[])
