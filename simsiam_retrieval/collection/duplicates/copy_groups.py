"""Groups from verified pairs: copies of one photo first, then photos that are only similar."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .pixels.kinds import COPIES, KINDS, LOOK_ALIKE, Verdict

Edge = tuple[int, int]  # rows of two files, the better one first


@dataclass
class Edges:
    """Pairs of rows with what is known of them.

    Attributes:
        cosine: Cosine of each pair.
        verdict: Verdict on each pair that was compared by its pixels.
    """

    cosine: dict[Edge, float]
    verdict: dict[Edge, Verdict] = field(default_factory=dict)

    def of(self, edge: Edge) -> Verdict:
        """Return the verdict on a pair; of one that was not compared, ``LOOK_ALIKE``.

        Args:
            edge: The pair.

        Returns:
            The verdict.
        """
        return self.verdict.get(edge, Verdict(LOOK_ALIKE))

    def copies(self) -> list[Edge]:
        """Return the pairs that show one photo.

        Returns:
            The pairs, by their second row.
        """
        found = (edge for edge, verdict in self.verdict.items() if verdict.kind in COPIES)
        return sorted(found, key=lambda edge: edge[::-1])

    def closeness(self, edge: Edge) -> tuple[int, float]:
        """Return a key that sorts the pairs of a file, the one to list it with first.

        Args:
            edge: The pair.

        Returns:
            Position of its kind; then, of copies, the better file, and of similar pictures, their cosine, negative.
        """
        kind = self.of(edge).kind
        return KINDS.index(kind), edge[0] if kind in COPIES else -self.cosine.get(edge, 0.0)


def follow(edges: Iterable[Edge], closeness: Mapping[Edge, tuple]) -> dict[int, int]:
    """Assign rows to the closest leader before them. A leader is a row without an edge to an earlier leader.

    Args:
        edges: Pairs of rows, the better one first.
        closeness: Sorts the closest pair of a row first.

    Returns:
        Follower -> leader.
    """
    before: dict[int, list[int]] = {}
    for one, other in edges:
        before.setdefault(other, []).append(one)
    follows: dict[int, int] = {}
    for row in sorted(before):
        leaders = [one for one in before[row] if one not in follows]
        if leaders:
            follows[row] = min(leaders, key=lambda one: closeness[one, row])
    return follows


def missing_links(edges: Edges) -> list[Edge]:
    """Find pairs that decide whether a copy of a follower belongs to the follower's leader.

    Args:
        edges: The pairs.

    Returns:
        Pairs of a leader and a copy of one of its followers that were not compared yet.
    """
    copies = edges.copies()
    follows = follow(copies, {edge: edges.closeness(edge) for edge in copies})
    wanted = set()
    for one, other in copies:
        leader = follows.get(one)
        if leader is not None and other not in follows:
            edge = (min(leader, other), max(leader, other))
            if edge not in edges.verdict:
                wanted.add(edge)
    return sorted(wanted)


def copy_groups(edges: Edges, least: float) -> tuple[dict[int, int], dict[int, int]]:
    """Form the groups.

    Args:
        edges: The pairs.
        least: Lowest cosine of photos that are listed although they are no copies.

    Returns:
        Follower -> leader, of copies; and the same of similar photos, among those that follow no copy.
    """
    copies = edges.copies()
    follows = follow(copies, {edge: edges.closeness(edge) for edge in copies})
    similar = [
        edge
        for edge, cosine in edges.cosine.items()
        if cosine >= least and edges.of(edge).kind not in COPIES and not set(edge) & follows.keys()
    ]
    return follows, follow(similar, {edge: edges.closeness(edge) for edge in similar})
