"""Reading which images were chosen earlier."""

import csv
import io
from pathlib import Path

from ...core.errors import UserError

LARGEST = 1 << 30  # bytes of a file that is read


def earlier_names(file: Path) -> list[str]:
    """Read the names of images from a CSV file with a column ``path``, or from text with one path a line.

    Args:
        file: The file.

    Returns:
        The names, in the order of the file.

    Raises:
        UserError: The file cannot be read, is not in UTF-8, or names nothing.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise UserError(f"--chosen {file}: larger than 1 GiB; is it a list of images?")
        text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"--chosen {file}: cannot be read ({error.strerror})") from None
    lines = text.splitlines()
    if "\0" in text:
        raise UserError(f"--chosen {file}: not text; name a CSV file of select, or a list of paths")
    if lines and "path" in lines[0].split(","):
        try:
            found = [row["path"] for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)]
        except csv.Error as error:
            raise UserError(f"--chosen {file}: not a CSV file ({error})") from None
    else:
        found = [line.strip() for line in lines]
    found = [name for name in found if name]
    if not found:
        raise UserError(f"--chosen {file}: names no image")
    return found
