"""Pairs of different pictures that are called copies: ``python benchmarks/different_pairs.py PART FOLDER …``.

``command``: what ``duplicates`` finds, with its defaults, among photos of each folder that were indexed with regions.
``direct``: every pair of a sample of all folders compared by its pixels, whatever its cosine. ``report``: both, as
JSON. Every pair that is called a copy is listed and drawn in a contact sheet, because some are true copies: look at
them.
"""

import argparse
import itertools
import json
import os
import platform
import random
import subprocess
import sys
import time
from pathlib import Path

import cv2
from copies import images_below
from hardware import processor
from PIL import Image, ImageDraw
from result_file import write_result

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.duplicates.pixels.kinds import COPIES, SAME_FILE
from simsiam_retrieval.collection.duplicates.pixels.picture import Picture
from simsiam_retrieval.collection.duplicates.pixels.verdict import verdict

TILE = 200  # pixels of the contact sheet


def chosen(folder: Path, count: int, seed: int) -> list[Path]:
    files = images_below(folder)
    return sorted(random.Random(seed).sample(files, min(count, len(files))))


def command(folders: list[Path], place: Path, photos: int, seed: int) -> None:
    """One collection a folder; those that are done are not made again."""
    for folder in folders:
        name = "-".join(folder.parts[-2:])
        out = place / f"command-{name}.json"
        if out.exists():
            continue
        files = place / name
        files.mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(chosen(folder, photos, seed)):
            link = files / f"{number:05d}{file.suffix}"
            link.unlink(missing_ok=True)
            link.symlink_to(file.resolve())
        made = place / f"{name}-collection"
        subprocess.run(
            [sys.executable, "-m", "simsiam_retrieval.index", files, "--collection", made, "--regions",
             "--workers", "1"], check=True,
        )  # fmt: skip
        compared = 0

        def on_progress(stage: str, done: int, total: int) -> None:
            nonlocal compared
            compared = max(compared, total) if stage == "verifying" else compared

        start = time.process_time()
        with Collection.open(made) as collection:
            images = len(collection)
            groups = collection.copies(on_progress=on_progress, workers=0)
        pairs = [
            {"kind": file.kind, "detail": file.detail, "cosine": round(file.score, 3),
             "files": [str(group[0].path.resolve()), str(file.path.resolve())]}
            for group in groups for file in group[1:] if file.kind in COPIES
        ]  # fmt: skip
        write_result(
            {
                "folder": name,
                "photos": images,
                "pairs": images * (images - 1) // 2,
                "compared by pixels": compared,
                "CPU seconds": round(time.process_time() - start, 1),
                "copies": pairs,
            },
            out,
        )
        print(name, compared, "compared,", len(pairs), "called copies", flush=True)


def direct(folders: list[Path], place: Path, photos: int, seed: int, minutes: float) -> None:
    """All pairs of a few photos of each folder, in an order of its own; goes on where the last call ended."""
    files = [file for folder in folders for file in chosen(folder, photos // len(folders), seed + 1)]
    order = list(itertools.combinations(range(len(files)), 2))
    out = place / "direct.json"
    done = json.loads(out.read_text()) if out.exists() else {"compared": 0, "CPU seconds": 0.0, "copies": []}
    cv2.setNumThreads(1)
    pictures: dict[int, Picture] = {}
    start, before = time.process_time(), done["CPU seconds"]
    while done["compared"] < len(order) and time.process_time() - start < 60 * minutes:
        one, other = order[done["compared"]]
        first, second = (pictures.setdefault(row, Picture(Image.open(files[row]))) for row in (one, other))
        found = verdict(first, second)
        done["compared"] += 1
        if found.kind in COPIES:
            pair = [str(files[row].resolve()) for row in (one, other)]
            done["copies"].append({"kind": found.kind, "detail": found.detail, "files": pair})
    done |= {"photos": len(files), "pairs": len(order), "CPU seconds": round(before + time.process_time() - start, 1)}
    write_result(done, out)
    print(f"{done['compared']} of {len(order)} pairs, {len(done['copies'])} called copies")


def sheet(pairs: list[dict], out: Path) -> None:
    """The pairs side by side, numbered."""
    across = 3
    page = Image.new("RGB", (across * (2 * TILE + 20), -(-max(1, len(pairs)) // across) * (TILE + 24)), "white")
    draw = ImageDraw.Draw(page)
    for number, pair in enumerate(pairs):
        left, top = number % across * (2 * TILE + 20), number // across * (TILE + 24)
        draw.text((left, top + 4), f"{number}: {pair['kind']} {pair['detail']}", fill="black")
        for place, file in enumerate(pair["files"]):
            image = Image.open(file).convert("RGB")
            image.thumbnail((TILE, TILE))
            page.paste(image, (left + place * TILE, top + 20))
    page.save(out)


def report(place: Path, out: Path | None, seed: int) -> None:
    sets = [json.loads(file.read_text()) for file in sorted(place.glob("command-*.json"))]
    file = place / "direct.json"
    own = json.loads(file.read_text()) if file.exists() else None
    every = [pair for found in [*sets, *([own] if own else [])] for pair in found["copies"]]
    sheet([pair for pair in every if pair["kind"] != SAME_FILE], place / "sheet.png")
    for found in [*sets, *([own] if own else [])]:
        for pair in found["copies"]:
            pair["files"] = ["/".join(Path(name).parts[-2:]) for name in pair["files"]]
    head = {"seed": seed, "processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    result = {**head, "opencv": cv2.__version__, "command": sets, "direct": own}
    write_result(result, out)
    for found in sets:
        print(
            found["folder"], found["pairs"], "pairs,", found["compared by pixels"], "by pixels,", len(found["copies"])
        )
    print(f"{len(every)} pairs in {place / 'sheet.png'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=["command", "direct", "report"])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=1500, help="of each folder; of all folders in the part direct")
    parser.add_argument("--minutes", type=float, default=4, help="CPU time of the part direct, each call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.place.mkdir(parents=True, exist_ok=True)
    if given.part == "command":
        command(given.folders, given.place, given.photos, given.seed)
    elif given.part == "direct":
        direct(given.folders, given.place, given.photos, given.seed, given.minutes)
    else:
        report(given.place, given.out, given.seed)


if __name__ == "__main__":
    main()
