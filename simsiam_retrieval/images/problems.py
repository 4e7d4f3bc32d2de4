"""Why a file gives no picture."""


class ImageError(Exception):
    """A file that cannot be used; the message is the reason, fit for a report."""

    def __init__(self, reason: str, *, lasting: bool = True) -> None:
        """``lasting`` is False where the same bytes may well be decoded another time."""
        super().__init__(reason)
        self.lasting = lasting
