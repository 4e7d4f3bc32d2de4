"""Names of folders and files that hold copies of others: backups, copies, trash."""

import re
import unicodedata
from pathlib import Path

from ...images.system_folders import system_folder

# English, German, French, Spanish, Italian, Portuguese, Dutch
_WORDS = (
    r"back-?ups?|bak|cop(?:y|ies)|duplicates?|trash|deleted|sicherung(?:en|skopien?)?|kopien?|gelöscht|papierkorb"
    r"|sauvegardes?|doublons?|corbeille|cópias?|copias?|copie|respaldos?|duplicad[oa]s?|papelera|cestino|lixeira"
    r"|reservekopie|prullenbak"
)
_WORD = re.compile(rf"(?<![^\W\d_])(?:{_WORDS})(?![^\W\d_])", re.IGNORECASE)  # as a word of its own
_NUMBERED = re.compile(r"\(\d{1,2}\)$")  # "photo (1).jpg", from a second download


def backup_parts(path: Path) -> int:
    """Count the parts of a path that look like a backup, a copy, trash or a system folder.

    Args:
        path: The path.

    Returns:
        The number; 0 for an ordinary path.
    """
    *folders, _ = parts = path.parts
    inner = zip(parts, folders[1:], strict=False)
    count = sum(_is_copy(name) or system_folder(name, above) is not None for above, name in inner)
    return count + (_is_copy(path.stem) or _NUMBERED.search(path.stem) is not None)


def _is_copy(name: str) -> bool:
    return _WORD.search(unicodedata.normalize("NFC", name)) is not None
