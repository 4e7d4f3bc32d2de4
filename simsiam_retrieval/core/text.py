"""File names and reasons as text: anybody's names pass through here before a terminal or a page shows them."""

import re
import unicodedata
from pathlib import Path

# marks that turn the direction of writing: they can make a name look like another one
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


def printable(text: str | Path) -> str:
    """``text`` in one line, with what no font shows and no terminal should obey as U+FFFD."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") or c in _TURNING else c for c in str(text))


def without_detail(reason: str) -> str:
    """Why a file cannot be used, without what differs from file to file: "truncated (20 bytes ...)" -> "truncated"."""
    return re.sub(r" \([^()]*\)$", "", reason)


def one_spelling(name: str) -> str:
    """A name as it is compared with others: accents composed, so that both spellings of "Été" are one (Unicode NFC)."""
    return unicodedata.normalize("NFC", name)
