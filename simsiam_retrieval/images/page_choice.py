"""Which pages of a TIFF and frames of a DICOM file are entries: the values of ``--pages``. Imports no reader."""

from ..core.errors import UserError

FIRST, ALL = "first", "all"


def check_pages(pages: str) -> str:
    """Check the value of ``--pages``.

    Args:
        pages: The value.

    Returns:
        The value.

    Raises:
        UserError: It is unknown.
    """
    if pages not in (FIRST, ALL):
        raise UserError(f"--pages {pages}: choose {FIRST} or {ALL}")
    return pages
