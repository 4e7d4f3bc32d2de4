"""Search results of which near-duplicates stand together: one picture, once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..collection import Collection
from ..duplicates.thresholds import SURE
from ..types import Hit

ALIKE = 0.99  # cosine of near-duplicates, for an encoder of which none was measured


def same_picture(encoder: str, noise: float | None) -> float:
    """Return the cosine from which two images count as one picture.

    Args:
        encoder: Identity of the encoder.
        noise: Noise level of the collection; None where it is unknown. It keeps an encoder that finds everything
            alike, such as a collapsed one, from putting all images together.

    Returns:
        The cosine.
    """
    return SURE.get(encoder) or max(ALIKE, (1 + (noise or 0.0)) / 2)


def stack(hits: Sequence[Hit], vectors: NDArray[np.float32], least: float) -> list[list[Hit]]:
    """Put near-duplicates together.

    Args:
        hits: Search results, best first.
        vectors: Their unit vectors, float32 (n, dim).
        least: Lowest cosine with the first hit of a stack. Stacks do not chain.

    Returns:
        Stacks in the order of their first hits; the hits of each in their order.
    """
    first: list[int] = []
    stacks: list[list[Hit]] = []
    for row, hit in enumerate(hits):
        cosines = vectors[first] @ vectors[row] if first else np.zeros(0)
        best = int(cosines.argmax()) if first else -1
        if best >= 0 and cosines[best] >= least:
            stacks[best].append(hit)
        else:
            first.append(row)
            stacks.append([hit])
    return stacks


def stacks_of(collection: Collection, hits: Sequence[Hit]) -> list[list[Hit]]:
    """Form stacks with the vectors of a collection and the measured cosine of its encoder; see ``same_picture``.

    Args:
        collection: The collection.
        hits: Results of a search, best first.

    Returns:
        The hits of each stack, best first.

    Raises:
        UserError: An update has forgotten one of the images meanwhile.
    """
    if len(hits) < 2:
        return [[hit] for hit in hits]
    vectors = collection.vectors_of([hit.item.id for hit in hits])
    return stack(hits, vectors, same_picture(collection.encoder_identity, collection.noise_level))
