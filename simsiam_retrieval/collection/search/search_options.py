"""What a search is asked for, besides the query."""

from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from tyro.conf import UseAppendAction, arg

from ...core.errors import UserError
from .filters import NO_FILTER, Filter

_FILE = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="STR",
    instance_from_str=lambda words: words[0],
    is_instance=lambda value: True,
    str_from_instance=lambda value: [str(value)],
)


@dataclass(frozen=True)
class SearchOptions:
    """Options of a search; the command line, the Search page and ``Collection.search`` share them.

    Raises:
        UserError: They contradict each other.
    """

    k: Annotated[int, arg(aliases=["-k"])] = 10
    """Number of results."""
    weights: tuple[float, ...] = ()
    """Search once, with the weighted sum of the queries: one weight a query; negative weights lead away."""
    unlike: UseAppendAction[tuple[Annotated[Any, _FILE], ...]] = ()
    """Search for images less like this one; may be repeated."""
    box: Annotated[UseAppendAction[tuple[tuple[float, float, float, float], ...]], arg(metavar="X Y WIDTH HEIGHT")] = ()
    """Search for this part of the query image: left, top, width and height in pixels, upright. The results are the
    images with the most similar part; the collection needs --regions. Several boxes are one search, for their mean."""
    inside: bool = False
    """Look for the query image inside larger ones: compare it with their parts, too. The collection needs --regions."""
    above_noise: bool = False
    """Leave out results that may be chance: those at or below the query's noise level."""
    where: Annotated[Filter, arg(name="")] = NO_FILTER

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UserError(f"-k {self.k}: ask for at least one result")
        if self.weights and self.unlike:
            raise UserError("give weights or unlike, not both: a negative weight leads away, too")
        object.__setattr__(self, "box", tuple(tuple(box) for box in self.box))

    @property
    def by_region(self) -> bool:
        """Whether queries are compared with parts of images, too."""
        return bool(self.box) or self.inside
