"""FAISS's merge of inverted lists on disk, as a separate program: a full disk can kill it, and it prints to stdout."""

import json
import os
import sys
from pathlib import Path

import faiss
from faiss.contrib.ondisk import merge_ondisk


def main() -> None:
    """Read the task as JSON from stdin, and print the number of vectors."""
    wanted = json.load(sys.stdin)
    said = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # FAISS prints there
    index = faiss.read_index(wanted["trained"])
    parts = [part for part in wanted["parts"] if faiss.read_index(part, faiss.IO_FLAG_MMAP).ntotal]
    if parts:  # without parts there are no lists
        merge_ondisk(index, parts, wanted["lists"])
        with Path(wanted["lists"]).open("rb+") as file:
            os.fsync(file.fileno())
    faiss.write_index(index, wanted["index"])
    os.write(said, f"{index.ntotal}\n".encode())


if __name__ == "__main__":
    try:
        main()
    except (OSError, RuntimeError) as error:
        sys.exit(" ".join(str(error).split()))
