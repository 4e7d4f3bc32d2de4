"""What becomes of a damaged file in a worker process; imported there by ``damaged_files.py``; no program."""

from simsiam_retrieval.images.decode import ImageError, read_image, square_of
from simsiam_retrieval.images.file_facts import facts
from simsiam_retrieval.images.reading import Reading

SIDE = 64  # pixels of an encoder's input
OUTCOMES = ("read", "refused", "too long a reason", "too large", "stopped by the limit", "crashed", "traceback")
READINGS = (Reading(), Reading(), Reading(bands=(3, 2, 1)), Reading(channels=13), Reading("per-image"))


def outcomes(items: list[tuple[bytes, int]]) -> list[str]:
    """What became of each file; runs in a worker process."""
    return [_outcome(*item) for item in items]


def _outcome(content: bytes, number: int) -> str:
    reading = READINGS[number % len(READINGS)]
    try:
        decoded = read_image(content, SIDE, reading, page=1 + (number % 7 == 6))
        facts(content, decoded)
        square_of(decoded, SIDE)
    except ImageError as error:
        text = str(error)
        if "too large" in text or "not enough memory" in text:
            return "too large"
        return "refused" if text and "\n" not in text and len(text) <= 250 else f"too long a reason: {text[:300]!r}"
    except Exception as error:  # noqa: BLE001  # what must not happen
        return f"traceback: {type(error).__name__}: {error}"[:300]
    return "read"


def lost(item: tuple[bytes, int], reason: str) -> str:
    return "stopped by the limit" if " took over " in reason else "crashed"
