"""Regions of pictures: what they find, what they cost: ``python benchmarks/regions.py PART --out FILE [FOLDER …]``.

``recall``: rank 1 of crops of photos among a folder's photos, with whole pictures and with regions; and of the same
regions embedded one by one, of fewer photos. ``cost``: CPU time of an update and bytes, with regions and without.
``speed``: one region search over many pictures, made of a folder's vectors with noise added.
"""

import argparse
import io
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from hardware import processor
from photo_mosaics import photos
from PIL import Image, ImageDraw, ImageOps

import simsiam_retrieval
from simsiam_retrieval import Collection, load_encoder
from simsiam_retrieval.collection.regions.region_boxes import region_boxes
from simsiam_retrieval.collection.regions.region_index import region_measured
from simsiam_retrieval.collection.storage.sqlite_store import SqliteStore
from simsiam_retrieval.collection.types import Entry, Regions
from simsiam_retrieval.encoder.region_encoder import RegionEncoder
from simsiam_retrieval.images.decode import read_image
from simsiam_retrieval.images.files import list_images

COMPARED = 100  # photos whose regions are embedded one by one, too
NOISE = 0.5  # length of what is added to a unit vector


def cropped(image: Image.Image, keep: float, across: float, down: float) -> Image.Image:
    """The part with ``keep`` of the area; ``across`` and ``down``: 0 is the left and top, 1 the right and bottom."""
    width, height = (keep**0.5 * side for side in image.size)
    left, top = (image.width - width) * across, (image.height - height) * down
    return image.crop((round(left), round(top), round(left + width), round(top + height)))


def screenshot(image: Image.Image, draw: random.Random) -> Image.Image:
    """Half of the picture between the bars of a telephone's screen."""
    part = cropped(image, 0.5, draw.random(), draw.random())
    bar = max(4, part.height // 8)
    shot = Image.new("RGB", (part.width, part.height + 2 * bar), (245, 245, 245))
    shot.paste(part, (0, bar))
    ImageDraw.Draw(shot).rectangle((0, 0, shot.width, bar // 2), fill=(40, 60, 90))
    return shot


ATTACKS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "half, centre": lambda image, draw: cropped(image, 0.5, 0.5, 0.5),
    "half, anywhere": lambda image, draw: cropped(image, 0.5, draw.random(), draw.random()),
    "quarter, centre": lambda image, draw: cropped(image, 0.25, 0.5, 0.5),
    "quarter, anywhere": lambda image, draw: cropped(image, 0.25, draw.random(), draw.random()),
    "quarter, corner": lambda image, draw: cropped(image, 0.25, draw.choice((0, 1)), draw.choice((0, 1))),
    "tenth, anywhere": lambda image, draw: cropped(image, 0.1, draw.random(), draw.random()),
    "white border of a tenth": lambda image, draw: ImageOps.expand(image, round(min(image.size) * 0.1), "white"),
    "screenshot of half": screenshot,
}


def attacked(file: Path, name: str, seed: int) -> bytes:
    image = read_image(file, None).image
    buffer = io.BytesIO()
    ATTACKS[name](image, random.Random(f"{seed} {name} {file.name}")).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def some(folder: Path, count: int, seed: int) -> list[Path]:
    files = [image.path for image in list_images([folder]).images]
    return sorted(random.Random(seed).sample(files, min(count, len(files))))


def indexed(files: list[Path], place: Path, *, regions: bool) -> tuple[Collection, float]:
    """A collection of the files, and the CPU seconds of the update that made it."""
    collection = Collection.create(place)
    _ = collection.encoder
    start = time.process_time()
    collection.update(files, regions=regions, workers=0)
    return collection, time.process_time() - start


def recall(arguments: argparse.Namespace, scratch: Path) -> dict:
    found = {}
    for folder in arguments.folders:
        files = some(folder, arguments.gallery, arguments.seed)
        queries = random.Random(arguments.seed).sample(files, arguments.queries)
        with indexed(files, scratch / folder.name, regions=True)[0] as collection:
            rows = {}
            for name in ATTACKS:
                first = {"whole": 0, "regions": 0}
                for file in queries:
                    vector = collection.direction(attacked(file, name, arguments.seed))
                    first["whole"] += collection.search(vector, 1)[0].path == file
                    first["regions"] += collection.search(vector, 1, inside=True)[0].path == file
                rows[name] = {way: round(count / len(queries), 4) for way, count in first.items()}
                print(folder.name, name, rows[name], flush=True)
            found[folder.name] = {"gallery": len(files), "rank 1": rows, "one by one": one_by_one(files[:COMPARED])}
            print(found[folder.name]["one by one"], flush=True)
    return {"queries": arguments.queries, "seed": arguments.seed, "sets": found}


def one_by_one(files: list[Path]) -> dict:
    """One pass a picture beside one pass a region: neighbours in other pictures, and CPU time."""
    pooled_encoder = RegionEncoder.of(load_encoder(device="cpu", threads=1))
    ways = {"pooled": pooled_encoder, "single": RegionEncoder(pooled_encoder.file, pooled_encoder.image_size, None)}
    seconds, vectors, owners = dict.fromkeys(ways, 0.0), {way: [] for way in ways}, []
    for number, file in enumerate(files):
        decoded = read_image(file, 256)
        boxes = region_boxes(decoded.width, decoded.height)
        for way, encoder in ways.items():
            start = time.process_time()
            _, made = encoder.vectors(decoded, boxes)
            seconds[way] += time.process_time() - start
            vectors[way].append(made)
        owners += [number] * len(vectors["pooled"][-1])
    matrices = {way: np.concatenate(parts) for way, parts in vectors.items()}
    other = np.array(owners)[:, None] != np.array(owners)[None]
    near = {way: np.argsort(np.where(other, -(m @ m.T), 2), axis=1)[:, :10] for way, m in matrices.items()}
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(near["pooled"].tolist(), near["single"].tolist(), strict=True)]
    same = np.argmax(matrices["pooled"] @ matrices["single"].T, axis=1) == np.arange(len(owners))
    return {
        "photos": len(files),
        "regions": len(owners),
        "cosine": round(float((matrices["pooled"] * matrices["single"]).sum(1).mean()), 4),
        "finds the same region first": round(float(same.mean()), 4),
        "shared of the 10 nearest regions of other photos": round(statistics.fmean(shared), 4),
        "CPU ms a photo": {way: round(1000 * value / len(files), 2) for way, value in seconds.items()},
    }


def cost(arguments: argparse.Namespace, scratch: Path) -> dict:
    """CPU seconds of an update without and with regions, in turns."""
    source = some(arguments.folders[0], arguments.gallery, arguments.seed)
    sets = {"as they are": source}
    for megapixels, count in ((0.2, 100), (2.0, 30), (12.0, 8)):
        made = photos(source, scratch / "mosaics" / f"{megapixels:g}", count, [megapixels], arguments.seed)
        sets[f"{megapixels:g} megapixels, 4:3"] = made
    found = {}
    for name, files in sets.items():
        seconds: dict[bool, list[float]] = {False: [], True: []}
        sizes: dict[bool, int] = {}
        stored = 0
        for number in range(2 * arguments.repeats):
            regions = bool(number % 2)
            place = scratch / f"{number} {name}"
            collection, taken = indexed(files, place, regions=regions)
            with collection:
                stored = max(stored, len(collection.region_vectors().ids))
            seconds[regions].append(taken)
            sizes[regions] = sum(file.stat().st_size for file in place.iterdir())
        ratios = [with_ / without for without, with_ in zip(seconds[False], seconds[True], strict=True)]
        found[name] = {
            "photos": len(files),
            "regions a photo": round(stored / len(files), 2),
            "CPU ms a photo without": [round(1000 * value / len(files), 2) for value in seconds[False]],
            "CPU ms a photo with": [round(1000 * value / len(files), 2) for value in seconds[True]],
            "ratio": round(statistics.median(ratios), 3),
            "bytes a photo more": round((sizes[True] - sizes[False]) / len(files)),
        }
        print(name, found[name], flush=True)
    return {"repeats": arguments.repeats, "sets": found}


def speed(arguments: argparse.Namespace, scratch: Path) -> dict:
    """Build and search the regions of many pictures."""
    base = indexed(some(arguments.folders[0], arguments.gallery, arguments.seed), scratch / "base", regions=True)[0]
    draw = np.random.default_rng(arguments.seed)
    with base:
        own, regions = base.vectors()[1], base.region_vectors()
    boxes = region_boxes(100, 100)

    def varied(vectors: np.ndarray) -> np.ndarray:
        noise = draw.normal(0, NOISE / vectors.shape[1] ** 0.5, vectors.shape).astype(np.float32)
        noisy = vectors + noise
        return noisy / np.linalg.norm(noisy, axis=1, keepdims=True)

    place = scratch / "many"
    with Collection.create(place) as collection:
        store = collection._store
        assert isinstance(store, SqliteStore)
        store.note("regions", "1")
        for start in range(0, arguments.pictures, 1000):
            chosen = draw.integers(0, len(own), 1000)
            vectors = varied(own[chosen])
            parts = varied(regions.vectors[draw.integers(0, len(regions.ids), 1000 * len(boxes))]).astype(np.float16)
            store.add(
                Entry(
                    Path(f"/{start + row}.jpg"), 1, 1, digest=(start + row).to_bytes(32), width=100, height=100,
                    format="JPEG", vector=vectors[row], thumbnail=b"",
                    regions=Regions(boxes, parts[row * len(boxes) : (row + 1) * len(boxes)]),
                )
                for row in range(min(1000, arguments.pictures - start))
            )  # fmt: skip
        store.publish([], [])
        start, used = time.perf_counter(), time.process_time()
        collection.rebuild_index()
        built = {"seconds": round(time.perf_counter() - start, 1), "CPU seconds": round(time.process_time() - used, 1)}
        print(built, flush=True)
        queries = varied(regions.vectors[draw.integers(0, len(regions.ids), arguments.queries)])
        collection.search(queries[0], inside=True)  # reads the index and the sample of the noise level
        wall, cpu = [], []
        for query in queries:
            start, used = time.perf_counter(), time.process_time()
            assert len(collection.search(query, 10, inside=True)) == 10
            wall.append(1000 * (time.perf_counter() - start))
            cpu.append(1000 * (time.process_time() - used))
        measured = region_measured(store)
        files = {file.name: file.stat().st_size for file in place.glob("*") if file.suffix in (".faiss", ".sqlite")}
    return {
        "pictures": arguments.pictures,
        "vectors": arguments.pictures * (1 + len(boxes)),
        "made of": len(own),
        "threads": faiss.omp_get_max_threads(),
        "build, both indexes": built,
        "index": None if measured is None else measured.as_dict(),
        "ms a search of 10 results": {"median": round(statistics.median(wall), 2), "largest": round(max(wall), 2)},
        "CPU ms": {"median": round(statistics.median(cpu), 2)},
        "queries": len(queries),
        "bytes": files,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=["recall", "cost", "speed"])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--gallery", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=150)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", type=Path)
    arguments = parser.parse_args()
    identity = load_encoder(device="cpu").identity  # before the run, in which the file must stay the same
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        found = {"recall": recall, "cost": cost, "speed": speed}[arguments.part](arguments, Path(scratch))
    assert load_encoder(device="cpu").identity == identity
    head = {
        "encoder": identity,
        "version": simsiam_retrieval.__version__,
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "faiss": faiss.__version__,
    }
    text = json.dumps({**head, **found}, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
