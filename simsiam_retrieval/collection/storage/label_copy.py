"""A copy of the labels beside the catalog: what a person decided is not lost with a damaged file.

``labels.jsonl`` has a line for each change, the last one of a content counts. The catalog is what is read; the copy is
for mending it. It may lack the changes of a process that was killed between the two.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from ...core.atomic_files import parse_json, replacing
from . import checksums

FILE = "labels.jsonl"


def append(folder: Path, changes: Mapping[bytes, str | None]) -> None:
    """Add changes, by digest; None takes a label away. A copy that cannot be written is left behind."""
    try:
        with (folder / FILE).open("ab+") as file:
            text = "".join(map(_line, changes, changes.values()))
            if file.tell():
                file.seek(-1, 2)
                text = text if file.read(1) == b"\n" else "\n" + text  # after a line that a full disk cut short
            file.write(text.encode())
    except OSError:
        return


def write(folder: Path, labels: Mapping[bytes, str]) -> None:
    """Write the whole copy anew, in one step."""
    try:
        with replacing(folder / FILE) as temporary:
            temporary.write_text("".join(map(_line, labels, labels.values())), encoding="utf-8")
    except OSError:
        return


def read(folder: Path) -> dict[bytes, str]:
    """Digest -> label, by the lines that are as they were written."""
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
