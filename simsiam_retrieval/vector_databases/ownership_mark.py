"""The ownership mark that a target stores beside the rows, and the rule when a target is refused."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.errors import UserError

FORMAT = "1"
PREFIX = "simsiam_retrieval."


@dataclass(frozen=True)
class Mark:
    """Stored in a target: which encoder made its vectors, and which collection they come from.

    Attributes:
        encoder: Identity of the encoder.
        dim: Numbers of a vector.
        collection: Name of the collection, see ``Collection.own_name``.
    """

    encoder: str
    dim: int
    collection: str

    def as_metadata(self) -> dict[str, str]:
        """Return the mark as key-value pairs.

        Returns:
            The metadata.
        """
        return {
            f"{PREFIX}format": FORMAT,
            f"{PREFIX}encoder": self.encoder,
            f"{PREFIX}dim": str(self.dim),
            f"{PREFIX}collection": self.collection,
        }

    def is_kept(self, found: Mapping[str, str] | None, where: str, *, replace: bool) -> bool:
        """Decide whether a table is updated or replaced.

        Args:
            found: Metadata of the table.
            where: Its name, for messages.
            replace: Whether the user allows overwriting.

        Returns:
            True if the table is this collection's; False if it is another's and must be removed.

        Raises:
            UserError: It is another's and ``replace`` is False.
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
            problem = f"contains vectors of another encoder ({encoder}; this collection's is {self.encoder})"
        else:
            problem = "contains another collection"
        raise UserError(f"{where}: {problem}; choose another --name or place, or overwrite it with --replace")
