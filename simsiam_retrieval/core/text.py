"""Making file names and error reasons safe to show: they come from outside."""

import re
import unicodedata
from pathlib import Path

# marks that change the writing direction: they can make a name look like another one
_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


def printable(text: str | Path) -> str:
    """Make text safe for one line of a terminal or page.

    Args:
        text: Any text or path.

    Returns:
        The text, with control characters, lone surrogates and direction marks replaced by U+FFFD.
    """
    text = str(text)
    if text.isprintable():  # nearly always: a page of the app asks for hundreds of names
        return text
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") or c in _DIRECTION_MARKS else c for c in text)


def without_detail(reason: str) -> str:
    """Remove the details that differ from file to file: "truncated (20 bytes ...)" -> "truncated".

    Args:
        reason: Why a file cannot be used.

    Returns:
        The reason without the last parentheses.
    """
    return re.sub(r" \([^()]*\)$", "", reason)


def one_spelling(name: str) -> str:
    """Normalise a name for comparison (Unicode NFC), so that both spellings of "Été" are equal.

    Args:
        name: The name.

    Returns:
        The name with composed accents.
    """
    return unicodedata.normalize("NFC", name)
