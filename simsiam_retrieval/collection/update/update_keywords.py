"""The options of an update as keywords, for type checkers; a test compares them with the fields of the dataclasses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from .update_options import Hooks, UpdateOptions

if TYPE_CHECKING:  # nothing heavy: `index --help` needs this module
    from ...encoder.onnx_encoder import Encoder

T = TypeVar("T", bound="UpdateOptions")


class UpdateKeywords(TypedDict, total=False):
    """The fields of ``UpdateOptions`` and the first of ``Hooks``."""

    include: Sequence[str]
    exclude: Sequence[str]
    prune: bool
    reread: bool
    follow_links: bool | None
    pages: str | None
    regions: bool | None
    workers: int | None
    on_wait: Callable[[str], None] | None
    on_start: Callable[[int], None]
    on_progress: Callable[[int], None]


class IndexKeywords(UpdateKeywords, total=False):
    """The fields of ``IndexOptions`` that ``index_folders`` takes as keywords."""

    index: str | None
    recall: float | None
    value_range: str | None
    bands: str | None
    device: str | None
    on_device: Callable[["Encoder"], None]


def from_keywords(kind: type[T], keywords: Mapping[str, Any]) -> tuple[T, Hooks]:
    """Make options and hooks from keywords.

    Args:
        kind: Class of the options.
        keywords: Name -> value, of either.

    Returns:
        The options and the hooks.

    Raises:
        UserError: A value cannot work.
        TypeError: A name is neither.
    """
    names = {field.name for field in fields(Hooks)}
    hooks = Hooks(**{name: value for name, value in keywords.items() if name in names})
    return kind(**{name: value for name, value in keywords.items() if name not in names}), hooks
