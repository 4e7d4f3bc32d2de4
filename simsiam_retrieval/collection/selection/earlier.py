"""Reading which images were chosen earlier."""

import csv
import io
from pathlib import Path

from ...core.atomic_files import parse_json
from ...core.errors import UserError

LARGEST = 1 << 30  # bytes of a file that is read


def earlier_names(file: Path) -> list[str]:
    """Read the names of images from a CSV or JSON file of ``select``, or from text with one path a line.

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
    separator = next((one for one in ",;\t" if lines and "path" in _cells(lines[0], one)), None)
    if text.lstrip()[:1] == "[":
        found = _of_json(file, text)
    elif separator is not None:
        try:
            rows = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
            found = [row["path"] for row in rows]
        except csv.Error as error:
            raise UserError(f"--chosen {file}: not a CSV file ({error})") from None
    else:
        found = [line.strip() for line in lines]
    found = [name for name in found if name]
    if not found:
        raise UserError(f"--chosen {file}: names no image")
    return found


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _of_json(file: Path, text: str) -> list[str]:
    try:
        rows = parse_json(text)
    except ValueError:
        raise UserError(f"--chosen {file}: damaged, not JSON") from None
    names = [row.get("path") if isinstance(row, dict) else row for row in rows]
    found = [name for name in names if isinstance(name, str)]
    if len(found) < len(names):
        raise UserError(f"--chosen {file}: not a list of select; each image needs a path")
    return found
