"""Making the index of a sharded collection: choosing its type and lists, training, saving parts, merging them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.atomic_files import replacing
from ...core.errors import UserError
from .index_types import LISTS_PER_ROOT, TRAINED_ON, inverted_lists, most_lists
from .mapped_index import ivf

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

AUTO = "ivf-sq8"
PQ_FROM = 20_000  # vectors; codebooks of 256 entries need that many


def chosen_kind(kind: str, images: int) -> str:
    """Choose the type of a sharded index.

    Args:
        kind: The user's choice.
        images: Number of images.

    Returns:
        The type, not "auto".
    """
    if kind == "auto" or (kind == "ivf-pq" and images < PQ_FROM):
        return AUTO
    return kind


def lists_for(images: int) -> int:
    """Return the number of inverted lists.

    Args:
        images: Number of images.

    Returns:
        Number of lists.
    """
    return max(1, min(int(LISTS_PER_ROOT * images**0.5), most_lists(images)))


def sample_size(images: int) -> int:
    """Return the number of vectors for training k-means. Each needs 4 * dim bytes of memory.

    Args:
        images: Number of images.

    Returns:
        Number of vectors.
    """
    return min(images, TRAINED_ON * lists_for(images))


def train(kind: str, lists: int, sample: NDArray[np.float32]) -> faiss.IndexIVF:
    """Train an empty index. Deterministic.

    Args:
        kind: Type of the index.
        lists: Number of lists.
        sample: Unit vectors, float32 (n, dim).

    Returns:
        The index.
    """
    index = inverted_lists(kind, sample.shape[1], max(1, min(lists, most_lists(len(sample)))))
    index.train(sample)
    return index


def code_bytes(index: faiss.IndexIVF) -> int:
    """Return the size of a vector in the lists, with its id.

    Args:
        index: The index.

    Returns:
        Bytes.
    """
    return index.code_size + 8


def save(index: faiss.Index, file: Path) -> None:
    """Write an index in one step.

    Args:
        index: The index.
        file: The file.
    """
    with replacing(file) as temporary, temporary.open("wb") as stream:
        faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))  # pyright: ignore[reportAttributeAccessIssue]


def load(file: Path) -> faiss.IndexIVF:
    """Read an index that was saved with its lists.

    Args:
        file: The file.

    Returns:
        The index.

    Raises:
        RuntimeError: It is damaged.
        OSError: It cannot be read.
    """
    with file.open("rb") as stream:
        return ivf(faiss.read_index(faiss.PyCallbackIOReader(stream.read)))  # pyright: ignore[reportAttributeAccessIssue]


def identity_of(file: Path) -> str:
    """Hash a file.

    Args:
        file: The file.

    Returns:
        32 hexadecimal digits of its SHA-256.
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]


def merge(trained: Path, parts: Sequence[Path], index_file: Path, lists_file: Path) -> int:
    """Merge the lists of all parts, and write the index for them.

    Runs in a separate process: FAISS writes through a memory map, so a full disk kills the process. It also prints to
    stdout.

    Args:
        trained: The empty trained index.
        parts: The parts.
        index_file: The index to write.
        lists_file: The lists to write.

    Returns:
        Number of vectors.

    Raises:
        UserError: The merge failed.
    """
    wanted = {
        "trained": str(trained), "parts": [str(part) for part in parts],
        "index": str(index_file), "lists": str(lists_file),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name("merge_lists.py"))],  # imports only FAISS, not this package
        input=json.dumps(wanted), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"signal {-done.returncode}"]
        full = "; is the disk full?" if done.returncode < 0 or "No space" in reason[0] else "."
        raise UserError(
            f"{lists_file.parent}: merging the index failed ({reason[0][:160]}){full} "
            "Nothing is lost; make room and run it again"
        )
    return int(done.stdout.split()[-1])
