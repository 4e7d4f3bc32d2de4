"""Damaged files of every kind, decoded in worker processes as in indexing: what became of each.

    python benchmarks/damaged_files.py [--each 500] [--seed 0] [--kind TEXT] [--more FOLDER] [--out FILE]

Valid files (``damaged_specimens.py``) are damaged at random: bytes, numbers of the header, missing and doubled parts,
parts of other files. Every file must be read or refused in one line. A decoder may crash or hang; then its worker
process is replaced, and only that file is lost. Each kind has worker processes of its own, with a time limit for a file
and the memory limit of indexing. ``--out`` adds to the kinds that a file has already; ``--more`` adds a kind from a
folder of valid files. Damaged files are never stored.
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from damaged_outcomes import OUTCOMES, lost, outcomes
from damaged_specimens import KINDS, damaged
from hardware import processor

from simsiam_retrieval.images.decoder_versions import DECODER
from simsiam_retrieval.images.worker_pool import Workers

SECONDS = 10.0  # time limit for one file; 60 s in indexing


def tried(contents: list[bytes], count: int, seed: int) -> tuple[dict[str, int], list[str]]:
    """How often each outcome happened, and what should not have happened in words."""
    items = [(content, number) for number, content in enumerate(damaged(contents, count, seed))]
    found: list[str] = []
    try:
        with Workers(2) as workers:
            for chunk in workers.map_chunks(outcomes, items, lost=lost, chunk_size=8, seconds_per_item=SECONDS):
                found += chunk
    except Exception as error:  # noqa: BLE001  # what must not happen
        print(f"the run ended with {error!r}", flush=True)
    counts = Counter(one.partition(":")[0] for one in found)
    words = [one for one in found if ":" in one]
    run_lost = len(found) != len(items)
    return {"tried": len(items), **{name: counts[name] for name in OUTCOMES}, "run lost": int(run_lost)}, words


def printed_by_decoders(before: int, log: Path) -> list[str]:
    """Lines that libraries wrote to stderr since ``before``."""
    return sorted(set(log.read_bytes()[before:].decode(errors="replace").splitlines()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--each", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default="")
    parser.add_argument("--more", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    kinds = {name: make for name, make in KINDS.items() if options.kind in name}
    if options.more:
        real = [path.read_bytes() for path in sorted(options.more.iterdir()) if path.is_file()]
        kinds = {"real files": lambda: real}
    log = Path(tempfile.mkstemp(prefix="decoders-")[1])
    shown = os.dup(2)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 2)
    rows, started = {}, time.monotonic()
    for name, make in kinds.items():
        before = log.stat().st_size
        counts, words = tried(make(), options.each, options.seed)
        rows[name] = counts | {"lines printed": len(printed_by_decoders(before, log))}
        print(f"{name:34} " + "  ".join(f"{what} {count}" for what, count in rows[name].items()), flush=True)
        for line in [*sorted(set(words))[:20], *printed_by_decoders(before, log)[:5]]:
            print("   ", line[:300], flush=True)
    os.dup2(shown, 2)
    log.unlink()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{sum(row['tried'] for row in rows.values())} files, {time.monotonic() - started:.0f} s, "
          f"largest worker process {peak / 2**20:.0f} MiB")  # fmt: skip
    if options.out:
        write(options.out, rows, peak, options.seed)


def write(out: Path, rows: dict, peak: int, seed: int) -> None:
    """Add rows to a JSON file, and write the table beside it."""
    known = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    kinds = known.get("kinds", {}) | {name: row | {"seed": seed} for name, row in rows.items()}
    packages = ("tifffile", "imagecodecs", "pydicom", "rawpy", "pillow", "pi-heif")
    document = {
        "processor": processor(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "decoders": DECODER,
        "seconds_per_file": SECONDS,
        "largest_worker_mib": max(known.get("largest_worker_mib", 0), round(peak / 2**20)),
        "kinds": kinds,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    columns = ("tried", *OUTCOMES, "run lost")
    lines = [f"| kind | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    totals = dict.fromkeys(columns, 0)
    for name, row in kinds.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[column]:,}" for column in columns) + " |")
        totals = {column: totals[column] + row[column] for column in columns}
    lines.append("| all | " + " | ".join(f"{totals[column]:,}" for column in columns) + " |")
    out.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
