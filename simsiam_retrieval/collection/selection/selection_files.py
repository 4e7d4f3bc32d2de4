"""A selection as CSV, JSON, or a folder of links or copies."""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ...core.atomic_files import replacing
from ...core.errors import UserError
from ...images.page_paths import page_of
from ..labelling.match_names import numbered_name
from .select_images import Selected

COLUMNS = ("rank", "path", "id", "strategy", "score", "reason", "label", "probability")


def as_rows(selected: Sequence[Selected], shown: Callable[[str], str] = str) -> list[dict[str, object]]:
    """Return the values for JSON and CSV.

    Args:
        selected: The images.
        shown: Converts a path to text.

    Returns:
        One dict an image, with the keys ``COLUMNS``.
    """
    values = (
        (
            one.rank,
            shown(os.fspath(one.item.path)),
            one.item.id,
            one.choice.strategy,
            round(one.choice.score, 4),
            one.choice.reason,
            one.choice.label,
            None if one.choice.probability is None else round(one.choice.probability, 4),
        )
        for one in selected
    )
    return [dict(zip(COLUMNS, row, strict=True)) for row in values]


def as_csv(selected: Sequence[Selected], shown: Callable[[str], str] = str) -> str:
    """Format a selection as CSV with a header line.

    Args:
        selected: The images.
        shown: Converts a path to text.

    Returns:
        CSV.
    """
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_rows(selected, shown))
    return text.getvalue()


def as_json(selected: Sequence[Selected]) -> str:
    """Format a selection as JSON: a list with one object per image.

    Args:
        selected: The images.

    Returns:
        JSON.
    """
    return json.dumps(as_rows(selected), indent=2)


def write_list(selected: Sequence[Selected], file: Path) -> None:
    """Write a selection as CSV, JSON, or text with one path a line, by the file's suffix.

    Args:
        selected: The images.
        file: A file that ends in .csv, .json or .txt.

    Raises:
        UserError: It cannot be written.
    """
    kind = file.suffix.lower()
    if kind == ".txt":
        text = "".join(f"{os.fspath(one.path)}\n" for one in selected)
    else:
        text = as_csv(selected) if kind == ".csv" else as_json(selected) + "\n"
    try:
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror})") from None


def write_folder(selected: Sequence[Selected], folder: Path, *, copies: bool = False) -> None:
    """Put the images into a new folder, each under its id and name ("12-cat.jpg"), so that no two are called alike.

    Args:
        selected: The images.
        folder: A folder that does not exist or is empty.
        copies: Copy the files. Otherwise symbolic links are made.

    Raises:
        UserError: The folder is in use or cannot be written, or a file is gone; this is checked before anything is
            written.
    """
    files = {numbered_name(one.item): page_of(one.item.path)[0] for one in selected}
    for file in files.values():
        if not file.is_file():
            raise UserError(f"{file}: gone since it was indexed; update the collection and select again")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"{folder}: not empty; name a new folder")
        for name, file in files.items():
            if copies:
                shutil.copy2(file, folder / name)
            else:
                (folder / name).symlink_to(file)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
