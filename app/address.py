"""What the Search page shows, as the part of its address behind the question mark."""

from collections.abc import Mapping
from dataclasses import dataclass

RESULTS = (12, 24, 48, 96)  # choices for the number of results
DEFAULT_RESULTS = 24


@dataclass(frozen=True)
class Address:
    """One state of the page. ``Address()`` is all photos, from the start."""

    image: str | None = None  # id of the chosen image, as it came: it may be nonsense
    upload: bool = False  # the uploaded photo's neighbours; its pixels are never in the address
    page: int = 1  # of all photos
    results: int = DEFAULT_RESULTS

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> "Address":
        """Read it back; what makes no sense falls back to the default."""
        page = as_number(parameters.get("page")) or 1
        results = as_number(parameters.get("results"))
        return cls(
            image=parameters.get("image"),
            upload="upload" in parameters,
            page=page,
            results=results if results in RESULTS else DEFAULT_RESULTS,
        )

    def parameters(self) -> dict[str, str]:
        """The query parameters; defaults are left out."""
        found = {}
        if self.image is not None:
            found["image"] = self.image
        elif self.upload:
            found["upload"] = "1"
        elif self.page != 1:
            found["page"] = str(self.page)
        if self.results != DEFAULT_RESULTS:
            found["results"] = str(self.results)
        return found


def as_number(text: str | None) -> int | None:
    """A whole number that SQLite can hold, or None."""
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 18:
        return None
    return int(text)
