"""Copies of pictures: candidates by their vectors, verified by their pixels, each with its kind."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ...images.reading import Reading
from ..storage.store import Store
from ..types import Duplicate, Item
from .candidates import PARTNERS, closest_before, region_pairs
from .copy_groups import Edge, Edges, copy_groups, missing_links
from .file_states import STATES, Files, mark_hard_links, read_files
from .find_duplicates import distinct_vectors
from .hash_pairs import hash_pairs, thumbnail_hashes
from .near_pairs import near_pairs
from .pixels.kinds import COPIES, FIRST, RESIZED, SAME_FILE, SAME_PIXELS, SECOND, Verdict
from .preferences import Preferences, root_numbers
from .verdict_cache import VerdictCache
from .verifier import COMPARING, LEFT_OUT, Progress, Verifier

LEAST_PAIRS, PAIRS_PER_PICTURE = 5_000, 2  # largest number of pairs that are compared by their pixels

Regions = tuple[NDArray[np.int64], NDArray[np.float32]]  # picture ids (m,), vectors (m, dim)


def find_copies(
    catalog: Store,
    dim: int,
    least: float | None,
    listed_from: float,
    preferences: Preferences,
    reading: Callable[[], Reading],
    on_progress: Progress = lambda stage, done, total: None,
    regions: Regions | None = None,
    region_least: float = 1.0,
    workers: int | None = None,
) -> list[list[Duplicate]]:
    """Find copies; see ``Collection.copies``.

    Args:
        catalog: The catalog.
        dim: Values per vector.
        least: Lowest cosine of pairs that are compared by their pixels; None for equal bytes only.
        listed_from: Lowest cosine of pairs that are listed although they are no copies.
        preferences: What the user wants.
        reading: Tells how files become pixels; asked only if there are pairs.
        on_progress: Called with the stage (``COMPARING`` vectors, ``VERIFYING`` pixels, or pairs ``LEFT_OUT`` because
            there are too many), done and total.
        regions: Vectors of regions of the pictures.
        region_least: Lowest cosine of a region and another picture that are compared by their pixels.
        workers: Number of processes.

    Returns:
        The groups.

    Raises:
        UserError: A folder of the preferences contains nothing of the collection.
    """
    with catalog.snapshot():
        files, items = _preferred(catalog, preferences)
        roots = root_numbers(files.paths, catalog.roots())
        vectors = None if least is None else distinct_vectors(catalog, files, dim)
    edges = Edges({})
    if vectors is not None and least is not None:
        allowed = _allowed(files, roots, preferences)
        edges, partners = _candidates(vectors, least, listed_from, allowed, on_progress)
        if regions is not None:
            _add_regions(partners, edges.cosine, files, vectors, regions, region_least, allowed)
        _add_hashes(partners, edges.cosine, catalog, files, vectors, allowed)
        partners, left_out = _limited(partners, edges.cosine, max(LEAST_PAIRS, PAIRS_PER_PICTURE * len(vectors)))
        if left_out:
            on_progress(LEFT_OUT, left_out, left_out + sum(map(len, partners.values())))
        distinct = files.distinct
        with (
            VerdictCache(catalog.folder) as cache,
            Verifier(catalog, files, items, cache, reading, on_progress, workers) as verifier,
        ):
            _verify(edges, partners, lambda wave: verifier([(int(distinct[a]), int(distinct[b])) for a, b in wave]))
    follows, similar = copy_groups(edges, listed_from)
    return _described(files, items, edges, follows, similar, roots, preferences)


def _candidates(
    vectors: NDArray[np.float32], least: float, listed_from: float, allowed: Callable, on_progress: Progress
) -> tuple[Edges, dict[int, list[int]]]:
    """Near pairs, and for each row those before it whose pixels are compared with it."""
    done = 0

    def compared(rows: int) -> None:
        nonlocal done
        done += rows
        on_progress(COMPARING, done, len(vectors))

    near = closest_before(near_pairs(vectors, min(least, listed_from), compared), allowed)
    edges = Edges({(one, row): value for row, found in near.items() for one, value in found})
    partners = {row: [one for one, value in found[:PARTNERS] if value >= least] for row, found in near.items()}
    return edges, partners


def _preferred(catalog: Store, preferences: Preferences) -> tuple[Files, dict[int, Item]]:
    files = read_files(catalog)
    items = catalog.items_by_id(files.ids.tolist())
    missing = [folder for folder in preferences.reference if not any(folder in path.parents for path in files.paths)]
    if missing:
        raise UserError(f"--reference {missing[0]}: nothing of it is indexed; index it into this collection first")
    if preferences.across and len(catalog.roots()) < 2:
        raise UserError("--across: the collection was indexed from one folder; give index two or more of them")
    dates = [items[id_].date.timestamp() for id_ in files.ids.tolist()]
    return preferences.ordered(files, dates), items


def _allowed(files: Files, roots: NDArray[np.int64], preferences: Preferences) -> Callable:
    """Which pairs of distinct contents are of interest."""
    distinct = files.distinct
    reference = np.array([preferences.is_reference(files.paths[row]) for row in distinct.tolist()], bool)
    own = roots[distinct]
    several = np.zeros(len(distinct), bool)  # contents that are below more than one root
    place = np.searchsorted(distinct, files.original)
    np.logical_or.at(several, place, roots != own[place])

    def allowed(left: NDArray, right: NDArray) -> NDArray[np.bool_]:
        found = np.ones(len(left), bool)
        if preferences.reference:
            found &= reference[left] & ~reference[right]
        if preferences.across:
            found &= (own[left] != own[right]) | several[left] | several[right]
        return found

    return allowed


def _add_regions(
    partners: dict[int, list[int]],
    cosine: dict[Edge, float],
    files: Files,
    vectors: NDArray[np.float32],
    regions: Regions,
    least: float,
    allowed: Callable,
) -> None:
    ids, parts = regions
    by_id = files.ids[files.distinct]
    order = np.argsort(by_id)
    place = np.searchsorted(by_id, ids, sorter=order).clip(max=len(order) - 1)
    owners = order[place]
    here = by_id[owners] == ids
    found = region_pairs(vectors, np.ascontiguousarray(parts[here]), owners[here], least)
    _add(partners, cosine, sorted(found, key=lambda pair: -found[pair]), vectors, allowed)


def _add_hashes(
    partners: dict[int, list[int]],
    cosine: dict[Edge, float],
    catalog: Store,
    files: Files,
    vectors: NDArray[np.float32],
    allowed: Callable,
) -> None:
    rows, hashes = thumbnail_hashes(catalog, files.ids[files.distinct])
    shown = vectors[rows].any(axis=1)  # a plain picture has no vector here
    rows, hashes = rows[shown], hashes[shown]
    found = [(int(rows[one]), int(rows[other])) for one, other in hash_pairs(hashes)]
    _add(partners, cosine, found, vectors, allowed)


def _add(
    partners: dict[int, list[int]],
    cosine: dict[Edge, float],
    found: Sequence[Edge],
    vectors: NDArray[np.float32],
    allowed: Callable,
) -> None:
    """Add further candidates after those that are there."""
    if not found:
        return
    left, right = np.array(found, np.int64).T
    for (one, other), counts in zip(found, allowed(left, right).tolist(), strict=True):
        if counts and one not in partners.get(other, ()):
            partners.setdefault(other, []).append(one)
            cosine.setdefault((one, other), float(vectors[one] @ vectors[other]))


def _limited(partners: dict[int, list[int]], cosine: dict[Edge, float], most: int) -> tuple[dict[int, list[int]], int]:
    """The closest pairs, and the number of the others."""
    total = sum(map(len, partners.values()))
    if total <= most:
        return partners, 0
    ranked = sorted((-cosine[one, row], one, row) for row, found in partners.items() for one in found)
    kept = {(one, row) for _, one, row in ranked[:most]}
    return {row: [one for one in found if (one, row) in kept] for row, found in partners.items()}, total - most


def _verify(
    edges: Edges, partners: dict[int, list[int]], verify: Callable[[Sequence[Edge]], Iterable[Verdict]]
) -> None:
    """Compare each picture with its partners, one a round, until a copy is found that replaces it."""
    settled: set[int] = set()
    for place in range(max(map(len, partners.values()), default=0)):
        wave = sorted(
            (found[place], row) for row, found in partners.items() if place < len(found) and row not in settled
        )
        for edge, verdict in zip(wave, verify(wave), strict=True):
            edges.verdict[edge] = verdict
            if verdict.kind in (SAME_PIXELS, RESIZED):
                settled.add(edge[1])
    wave = missing_links(edges)
    edges.verdict.update(zip(wave, verify(wave), strict=True))


def _described(
    files: Files,
    items: dict[int, Item],
    edges: Edges,
    follows: dict[int, int],
    similar: dict[int, int],
    roots: NDArray[np.int64],
    preferences: Preferences,
) -> list[list[Duplicate]]:
    distinct: list[int] = files.distinct.tolist()
    place: list[int] = np.searchsorted(files.distinct, files.original).tolist()
    members: dict[tuple[bool, int], list[tuple[int, Edge | None]]] = {}
    for row, own in enumerate(place):
        leader = follows.get(own, own)
        if distinct[leader] != row:
            members.setdefault((False, leader), []).append((row, None if leader == own else (leader, own)))
    for own, leader in similar.items():
        members.setdefault((True, leader), []).append((distinct[own], (leader, own)))
    groups = []
    for (only_similar, leader), found in members.items():
        best = distinct[leader]
        if preferences.reference and not preferences.is_reference(files.paths[best]):
            continue
        listed = [
            _duplicate(files, items, edges, row, edge)
            for row, edge in found
            if _counts(row, best, files, roots, preferences)
        ]
        listed = [file for file in listed if not preferences.kinds or file.kind in preferences.kinds]
        if listed:
            listed.sort(key=lambda file: file.kind not in COPIES)
            first = Duplicate(items[int(files.ids[best])], 1.0, True, STATES[files.states[best]])
            groups.append((only_similar, mark_hard_links([first, *listed])))
    groups.sort(key=lambda group: (group[0], -len(group[1]), -sum(file.item.size for file in group[1])))
    return [group for _, group in groups]


def _counts(row: int, best: int, files: Files, roots: NDArray[np.int64], preferences: Preferences) -> bool:
    if preferences.across and roots[row] == roots[best]:
        return False
    return not preferences.is_reference(files.paths[row])


def _duplicate(files: Files, items: dict[int, Item], edges: Edges, row: int, edge: Edge | None) -> Duplicate:
    item, state = items[int(files.ids[row])], STATES[files.states[row]]
    if edge is None:
        return Duplicate(item, 1.0, True, state, SAME_FILE)
    verdict = edges.of(edge)
    part = {FIRST: "best", SECOND: "this", "": ""}[verdict.part]
    score = float(np.clip(edges.cosine.get(edge, 0.0), -1, 1))
    return Duplicate(item, score, False, state, verdict.kind, verdict.detail, part, verdict.box)
