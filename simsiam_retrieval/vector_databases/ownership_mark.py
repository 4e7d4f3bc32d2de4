"""Whose table it is: what a target notes beside the rows, and when it is refused."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.errors import UserError

FORMAT = "1"
PREFIX = "simsiam_retrieval."


@dataclass(frozen=True)
class Mark:
    """Noted in a target: which encoder made its vectors, and which collection they are from."""

    encoder: str  # its identity
    dim: int
    collection: str  # its own name, see Collection.own_name

    def as_metadata(self) -> dict[str, str]:
        return {
            f"{PREFIX}format": FORMAT,
            f"{PREFIX}encoder": self.encoder,
            f"{PREFIX}dim": str(self.dim),
            f"{PREFIX}collection": self.collection,
        }

    def is_kept(self, found: Mapping[str, str] | None, where: str, *, replace: bool) -> bool:
        """Whether a table with the metadata ``found`` is this collection's, to be brought up to date; else it is to
        be removed, since ``replace`` says so.

        Raises :class:`UserError` when it is another's and not to be replaced.
        """
        noted = {key: value for key, value in (found or {}).items() if key.startswith(PREFIX)}
        if self.as_metadata().items() <= noted.items():
            return True
        if replace:
            return False
        encoder = noted.get(f"{PREFIX}encoder")
        if encoder is None:
            problem = "was not made by hand_over"
        elif noted.get(f"{PREFIX}format") != FORMAT:
            problem = "was made by another version of hand_over"
        elif encoder != self.encoder:
            problem = f"holds vectors of another encoder ({encoder}; this collection's is {self.encoder})"
        else:
            problem = "holds another collection"
        raise UserError(f"{where}: {problem}; choose another --name or place, or overwrite it with --replace")
