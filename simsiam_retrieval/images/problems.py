"""The exception for a file that cannot be decoded."""


class ImageError(Exception):
    """A file that cannot be used. The message is the reason; reports show it.

    Args:
        reason: The reason.
        lasting: False if the same bytes may be decoded at another attempt.
    """

    def __init__(self, reason: str, *, lasting: bool = True) -> None:
        super().__init__(reason)
        self.lasting = lasting
