"""FAISS's merge of inverted lists on disk, a program of its own: it may die of a full disk, and prints."""

import json
import os
import sys
from pathlib import Path

import faiss
from faiss.contrib.ondisk import merge_ondisk


def main() -> None:
    """Read what to merge from stdin, JSON; print the number of vectors."""
    wanted = json.load(sys.stdin)
    said = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # FAISS prints there
    index = faiss.read_index(wanted["trained"])
    parts = [part for part in wanted["parts"] if faiss.read_index(part, faiss.IO_FLAG_MMAP).ntotal]
    if parts:  # else there is nothing to map
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
