"""Files next to the catalog that can be computed again. They are named after the generation they were made from."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.atomic_files import replacing


def save_arrays(file: Path, arrays: dict[str, NDArray], older: Iterable[Path] = ()) -> bool:
    """Write arrays in one step, and delete older files.

    Args:
        file: The .npz file.
        arrays: Name -> array.
        older: Files to delete.

    Returns:
        False if the folder cannot be written.
    """
    try:
        with replacing(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        for old in older:
            if old != file:
                old.unlink(missing_ok=True)
    except OSError:  # read-only, or a full disk: the result is used once, and computed again next time
        return False
    return True


def load_arrays(file: Path, names: Iterable[str]) -> dict[str, NDArray] | None:
    """Read arrays.

    Args:
        file: The .npz file.
        names: Names of the arrays.

    Returns:
        Name -> array; None if the file is missing or damaged, or lacks one of them.
    """
    try:
        with np.load(file, allow_pickle=False) as held:
            return {name: held[name] for name in names}
    # on damaged input zipfile, zlib and numpy can raise almost any exception
    except Exception:  # noqa: BLE001
        return None
