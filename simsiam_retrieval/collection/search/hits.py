"""Search results as a list that a notebook shows as pictures."""

import base64
import html
from collections.abc import Callable, Iterable

from ...core.text import printable
from ..types import Hit

SHOWN = 50  # results that a notebook shows
SIDE = 140  # pixels of a drawn picture's longer side


class Hits(list[Hit]):
    """The results of one search, best first: a list that a notebook shows as pictures.

    Args:
        hits: The results.
        thumbnail: Item id -> JPEG bytes, or None.
    """

    def __init__(self, hits: Iterable[Hit] = (), thumbnail: Callable[[int], bytes | None] = lambda id_: None) -> None:
        super().__init__(hits)
        self._thumbnail = thumbnail

    def _repr_html_(self) -> str:
        """Thumbnails with rank, score and name, for Jupyter."""
        if not self:
            return "<p>no results</p>"
        drawn = "".join(self._drawn(hit) for hit in self[:SHOWN])
        more = f"<p>and {len(self) - SHOWN} more</p>" if len(self) > SHOWN else ""
        return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{drawn}</div>{more}'

    def _drawn(self, hit: Hit) -> str:
        path, name = (html.escape(printable(text), quote=True) for text in (hit.path, hit.path.name))
        chance = " ~" if hit.above_noise is False else ""
        jpeg = self._thumbnail(hit.item.id)
        picture = "" if jpeg is None else (
            f'<img src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" alt="{name}" '
            f'style="max-width:{SIDE}px;max-height:{SIDE}px">'
        )  # fmt: skip
        words = f"{hit.rank}. {hit.score:.3f}{chance}<br>{name}"
        return (
            f'<figure style="margin:0;width:{SIDE}px;overflow-wrap:anywhere" title="{path}">{picture}'
            f'<figcaption style="font-size:small">{words}</figcaption></figure>'
        )
