"""Files to move away: as a shell script that people read and run themselves, or as a list. Nothing is moved here."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from ...core.atomic_files import replacing
from ...core.errors import UserError
from ...images.page_paths import file_and_page
from ..types import Duplicate
from .file_states import PRESENT
from .pixels.kinds import REPLACEABLE

HEADER = """#!/bin/sh
# {count} files of which a better copy stays. This script moves them to
#   {folder}
# and deletes nothing. A file is skipped if it or the file that stays is gone, or if the target exists.
# Look at the list, then type: sh {name}
set -u
move() { # the file, where it goes, the file that stays
  if [ ! -f "$3" ]; then printf 'skipped, because the best file is gone: %s\\n' "$1" >&2; return; fi
  if [ ! -f "$1" ]; then printf 'skipped, because it is gone: %s\\n' "$1" >&2; return; fi
  if [ -e "$2" ] || [ -L "$2" ]; then printf 'skipped, because the target exists: %s\\n' "$2" >&2; return; fi
  mkdir -p "$(dirname "$2")" && mv "$1" "$2"
}

"""


def spares(groups: Sequence[Sequence[Duplicate]], kinds: Sequence[str] = ()) -> list[tuple[Path, Path]]:
    """Choose the files that can be moved away, each with the file that stays.

    Left out are files that are gone, changed, links, or pages of a file; files of other kinds; and wholes of which the
    best file is only a part. A file that is the best of one group is never moved from another one.

    Args:
        groups: As ``Collection.copies`` returns them.
        kinds: Kinds that may go; empty for those where nothing is lost ("same file", "same pixels", "resized or
            recompressed").

    Returns:
        Pairs of the file to move and the file that stays.
    """
    chosen = kinds or REPLACEABLE
    best = {group[0].path for group in groups}
    found: dict[Path, Path] = {}
    for kept, *others in groups:
        if kept.state != PRESENT:
            continue
        for file in others:
            whole = file_and_page(file.path)[1] == 1 and file_and_page(kept.path)[1] == 1
            movable = file.state == PRESENT and whole and file.part != "best" and file.path not in best
            if movable and (file.kind or "same file") in chosen:
                found.setdefault(file.path, kept.path)
    return list(found.items())


def write_moves(moves: Sequence[tuple[Path, Path]], file: Path, folder: Path) -> None:
    """Write the script, or the list if the name of the file ends in ``.txt``.

    Args:
        moves: The files to move, and those that stay.
        file: The file to write.
        folder: Absolute; where the script moves the files, each to the path that it has now, below this folder.

    Raises:
        UserError: The file cannot be written, or a name does not fit in a list.
    """
    content = _list(moves, file) if file.suffix.lower() == ".txt" else script(moves, file.name, folder)
    try:
        with replacing(file) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"--move-script {file}: cannot be written ({error.strerror})") from None


def _list(moves: Sequence[tuple[Path, Path]], file: Path) -> bytes:
    names = [os.fsencode(spare) for spare, _ in moves]
    odd = [spare for (spare, _), name in zip(moves, names, strict=True) if b"\n" in name or b"\r" in name]
    if odd:
        raise UserError(f"--move-script {file}: {odd[0]!s} has a line break in its name; write a script: FILE.sh")
    return b"".join(name + b"\n" for name in names)


def script(moves: Sequence[tuple[Path, Path]], name: str, folder: Path) -> bytes:
    """Return the POSIX shell script that moves files.

    Args:
        moves: The files to move, and those that stay.
        name: Name of the script's file, which the script mentions.
        folder: Absolute; where the script moves the files, each to the path that it has now, below this folder.

    Returns:
        The script.
    """
    shown = (part.translate({10: "?", 13: "?"}) for part in (str(folder), shlex.quote(name)))
    lines = [HEADER.replace("{count}", str(len(moves)))]
    for field, text in zip(("{folder}", "{name}"), shown, strict=True):
        lines[0] = lines[0].replace(field, text)
    for spare, kept in moves:
        target = folder / spare.relative_to(spare.anchor)
        lines.append(" ".join(["move", *(shlex.quote(str(path)) for path in (spare, target, kept))]) + "\n")
    return b"".join(os.fsencode(line) for line in lines)
