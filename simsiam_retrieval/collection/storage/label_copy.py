"""A copy of the labels next to the catalog, because labels are a person's work and must survive a damaged file.

``labels.jsonl`` has a line for each change; the last line of a content is valid. The catalog is what is read; the copy
is only for repairing it. If a process is killed between the two writes, the copy lacks its changes.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from ...core.atomic_files import parse_json, replacing
from . import checksums

FILE = "labels.jsonl"


def append(folder: Path, changes: Mapping[bytes, str | None]) -> None:
    """Add changes. If the copy cannot be written, it stays outdated.

    Args:
        folder: The collection's folder.
        changes: Digest -> label; None removes the label.
    """
    try:
        with (folder / FILE).open("ab+") as file:
            text = "".join(map(_line, changes, changes.values()))
            if file.tell():
                file.seek(-1, 2)
                text = (
                    text if file.read(1) == b"\n" else "\n" + text
                )  # the last line may be incomplete after a full disk
            file.write(text.encode())
    except OSError:
        return


def write(folder: Path, labels: Mapping[bytes, str]) -> None:
    """Write the whole copy again, in one step.

    Args:
        folder: The collection's folder.
        labels: Digest -> label.
    """
    try:
        with replacing(folder / FILE) as temporary:
            temporary.write_text("".join(map(_line, labels, labels.values())), encoding="utf-8")
    except OSError:
        return


def read(folder: Path) -> dict[bytes, str]:
    """Read the copy. Damaged lines are skipped.

    Args:
        folder: The collection's folder.

    Returns:
        Digest -> label.
    """
    found: dict[bytes, str] = {}
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            row = parse_json(line)
            digest, label = bytes.fromhex(row["digest"]), row["label"]
            if bytes.fromhex(row["checksum"]) != checksums.of_label(digest, label):
                continue
        except (ValueError, KeyError, TypeError):
            continue
        found.pop(digest, None)
        if label is not None:
            found[digest] = label
    return found


def _line(digest: bytes, label: str | None) -> str:
    checksum = checksums.of_label(digest, label).hex()
    return json.dumps({"digest": digest.hex(), "label": label, "checksum": checksum}) + "\n"
