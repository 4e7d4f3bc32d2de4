"""Files beside the catalog that can be worked out again: named after the generation they were made of."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.atomic_files import replacing


def save_arrays(file: Path, arrays: dict[str, NDArray], older: Iterable[Path] = ()) -> bool:
    """Write ``arrays`` in one step and remove ``older`` files; False where the folder cannot be written."""
    try:
        with replacing(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        for old in older:
            if old != file:
                old.unlink(missing_ok=True)
    except OSError:  # read-only, or a full disk: what was worked out is shown, and worked out again next time
        return False
    return True


def load_arrays(file: Path, names: Iterable[str]) -> dict[str, NDArray] | None:
    """The arrays ``names`` of a file, or None when it is not there, damaged, or lacks one of them."""
    try:
        with np.load(file, allow_pickle=False) as held:
            return {name: held[name] for name in names}
    # zipfile, zlib and numpy raise nearly anything on damaged input
    except Exception:  # noqa: BLE001
        return None
