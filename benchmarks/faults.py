"""Faults thrown at the package, and what became of them: lost, wrong in silence, or a traceback.

    python benchmarks/faults.py [--rounds 60] [--seed 0] [--kind TEXT] [--out benchmarks/results/faults]

Each fault happens in a process of its own (forked, so that a thousand take minutes): it is killed at a random moment,
its disk is full, or bytes of its files are changed. Afterwards the collection must still hold every label and every
image, with the same vectors, at the latest after ``index --verify`` and an update; whatever was shown must be right.
Parts are joined: ``--out`` adds faults of other seeds to those that are there, and replaces those of the same;
``--join FOLDER`` does so with what another run, at the same time or on another machine, left in its ``--out``.
Linux only; pictures are drawn, and the encoder is a small one, so nothing is needed but the package and its extras.
"""

import argparse
import contextlib
import json
import random
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import fault_collections as collections
import fault_files as files
import fault_sharded as sharded
import fault_targets as targets
import numpy as np
from fault_place import COLUMNS, DIM, Kind, Place, Tally
from hardware import processor

from simsiam_retrieval.collection.index.vector_index import VectorIndex

VERSIONS = ("faiss-cpu", "faiss-gpu", "onnxruntime", "pyarrow", "lancedb", "huggingface_hub", "streamlit")

KINDS: dict[str, Kind] = {
    "kill: first index": collections.kill_first_index,
    "kill: update": collections.kill_update,
    "kill: labelling": collections.kill_labelling,
    "kill: migration of the schema": collections.kill_migration,
    "kill: mending": collections.kill_mending,
    "kill: build of a sharded collection": sharded.kill_build,
    "kill: handing over": targets.kill_handing_over,
    "kill and refusal: publishing": targets.kill_publishing,
    "full disk: first index": collections.full_disk_first_index,
    "full disk: update": collections.full_disk_update,
    "full disk: build of a sharded collection": sharded.full_disk_build,
    "full disk: handing over": targets.full_disk_handing_over,
    "damage: index file": collections.index_file,
    "damage: catalog, anywhere": collections.catalog_anywhere,
    "damage: catalog, settings and labels": collections.catalog_aimed,
    "damage: catalog, rows of images": collections.catalog_rows,
    "damage: rows of images, then an update": collections.rows_before_update,
    "damage: copy of the labels": collections.labels_copy,
    "damage: shards": sharded.shard_files,
    "damage: catalog of shards": sharded.shard_catalog,
    "damage: index of shards": sharded.shard_index,
    "damage: manifest of shards": sharded.manifest,
    "damage: map": collections.map_file,
    "damage: training run": files.run_files,
    "damage: encoder": files.encoder_file,
    "damage: what came with the package": targets.shipped,
    "damage: pictures": targets.example_photos,
    "damage: Parquet that was handed over": targets.damaged_target,
    "hostile: config of the Hub": files.hub_config,
    "hostile: names of repositories": targets.repository_names,
    "hostile: addresses and label files": files.addresses,
    "hostile: passwords": files.passwords,
    "hostile: foreign pages": files.foreign_pages,
    "reads during updates": collections.reads_during_updates,
}


def measure(names: list[str], rounds: int, seed: int, place: Path) -> Iterator[tuple[str, Tally]]:
    """Throw ``rounds`` faults of each kind."""
    made = Place(place)
    for name in names:
        tally = Tally()
        for number in range(rounds):
            KINDS[name](made, random.Random(f"{name} {seed + number}"), seed + number, tally)
            tally.tried += 1
        yield name, tally


def joined(before: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """Counts of a kind with those of a part before, if that had other seeds; ``seeds``: first and last of each part."""
    pairs = [(one, other) for one in new["seeds"] for other in ([] if before is None else before["seeds"])]
    if before is None or any(one[0] <= other[1] and other[0] <= one[1] for one, other in pairs):
        return new
    return {**{key: new[key] + before[key] for key in COLUMNS}, "seeds": [*before["seeds"], *new["seeds"]]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60, help="faults of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the first fault; the others count on")
    parser.add_argument(
        "--kind", action="append", default=[], help="only kinds with this in their names; may be repeated"
    )
    parser.add_argument("--out", type=Path, help="folder for faults.md and faults.json; parts are joined there")
    parser.add_argument("--join", type=Path, action="append", default=[], help="add another run's --out; no faults")
    arguments = parser.parse_args()
    wanted = [] if arguments.join else arguments.kind or [""]
    names = [name for name in KINDS if any(kind in name for kind in wanted)]
    VectorIndex.build(np.arange(2), np.eye(2, DIM, dtype=np.float32), 0)  # FAISS is loaded before the first fork
    file = None if arguments.out is None else arguments.out / "faults.json"
    found: dict[str, Any] = json.loads(file.read_text())["kinds"] if file is not None and file.exists() else {}
    for part in arguments.join:
        for name, counts in json.loads((part / "faults.json").read_text())["kinds"].items():
            found[name] = joined(found.get(name), counts)
        write(file, found)
    with tempfile.TemporaryDirectory() as folder:
        for name, tally in measure(names, arguments.rounds, arguments.seed, Path(folder)):
            counts = {key: getattr(tally, key) for key in COLUMNS}
            seeds = [[arguments.seed, arguments.seed + arguments.rounds - 1]]
            found[name] = joined(found.get(name), {**counts, "seeds": seeds})
            print(name, counts, flush=True)
            for note in tally.notes[:5]:
                print(note, file=sys.stderr, flush=True)
            write(file, found)
    print(as_table(found))
    sys.exit(1 if any(row[key] for row in found.values() for key in COLUMNS[2:]) else 0)


def write(file: Path | None, found: dict[str, Any]) -> None:
    """Write the table and the counts, after each kind: a run that ends early leaves what it did."""
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    versions = {"python": sys.version.split()[0], "sqlite": sqlite3.sqlite_version}
    for name in VERSIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    file.with_suffix(".md").write_text(as_table(found))
    ordered = {name: found[name] for name in KINDS if name in found}
    file.write_text(json.dumps({"processor": processor(), "versions": versions, "kinds": ordered}, indent=2) + "\n")


def as_table(found: dict[str, Any]) -> str:
    """Markdown, a row for each kind and one for all."""
    rows: list[tuple[Any, ...]] = [(name, *(found[name][key] for key in COLUMNS)) for name in KINDS if name in found]
    rows.append((f"all {len(rows)} kinds", *(sum(row[1 + at] for row in rows) for at in range(len(COLUMNS)))))
    head = "| kind of fault | tried | told in one line | lost | wrong in silence | tracebacks |\n"
    head += "|---|--:|--:|--:|--:|--:|\n"
    return head + "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)


if __name__ == "__main__":
    main()
