"""Indexing speed, end to end: ``python benchmarks/index_speed.py PHOTOS [--fastdup PYTHON] [--imagededup PYTHON] …``.

- **Limit**: cores / (CPU-seconds to decode one photo + CPU-seconds to embed it), both measured bare before each round,
  with the decoder and the encoder that the index uses, on all cores at once; medians.
- **Contenders** take turns on the same photos (A B C A B C …), each a process from start to end; medians over rounds.
  ``ours`` is the whole ``index`` command: catalog, hashes, thumbnails, FAISS file. ``plain`` is the PyTorch loop that
  everybody writes: PIL in full size, torchvision's transforms, a ResNet-18, one process. ``fastdup`` and ``imagededup``
  (perceptual hashes) run with the Python of an environment that has them. rclip is not among them: it fetches its
  weights from a hub at the first start.
- **Unchanged**: a second run over a folder whose files are all known. **Search**: the command on 10,000 images.

The photos are mosaics of the real photos in PHOTOS, enlarged twice, as JPEGs of quality 90: their size on disk is
printed, since it decides what decoding costs. ``--megapixels 0.5+12`` means a folder of both sizes in equal parts.
Memory is the peak of the summed proportional set size of all processes.

``--encoder`` takes another encoder than the shipped one; ``plain`` then works at its image size, too. One at 224 px in
int8, whose weights mean nothing, as they don't change speed (hence ``--force``):

    python -c "import torch, torchvision as t; torch.save(t.models.resnet18().state_dict(), 'fresh.pt')"
    python -m simsiam_retrieval.convert fresh.pt fresh
    python -m simsiam_retrieval.export fresh --precision int8 --calibrate PHOTOS --held-out PHOTOS \\
        --float-layers 0 --force
    python benchmarks/index_speed.py PHOTOS --encoder fresh
"""

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
from index_contenders import contenders, timed
from photo_mosaics import photos

import simsiam_retrieval
from simsiam_retrieval import Collection
from simsiam_retrieval.collection.storage.opening import open_to_update
from simsiam_retrieval.collection.types import Entry
from simsiam_retrieval.encoder.onnx_encoder import load_encoder
from simsiam_retrieval.images.decode import centre_square, read_image
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.images.worker_pool import available_cpus

BARE = 200  # photos that the limit is measured on
BATCH = 16  # photos embedded at a time, as the index does


def bare(files: list[Path], encoder_name: str | None) -> dict:
    """CPU-seconds to decode and to embed one photo: alone, and in as many processes at once as there are cores, which
    is what the limit counts with, since cores share caches and often more than that.
    """
    cores, context = available_cpus(), multiprocessing.get_context("spawn")
    found = {}
    for together in dict.fromkeys((1, cores)):
        with context.Pool(together, initializer=_meet, initargs=(context.Barrier(together),)) as pool:
            parts = pool.starmap(_bare, [(files, encoder_name)] * together, chunksize=1)
        found[together] = [1000 * statistics.fmean(each) for each in zip(*parts, strict=True)]
    decode, embed = found[cores]
    return {
        "decode_cpu_ms": decode,
        "embed_cpu_ms": embed,
        "decode_cpu_ms_alone": found[1][0],
        "embed_cpu_ms_alone": found[1][1],
        "limit": 1000 * cores / (decode + embed),
    }


_barrier: Barrier


def _meet(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _bare(files: list[Path], encoder_name: str | None) -> tuple[float, float]:
    """CPU-seconds to decode and to embed one photo, on one thread, while the other processes do the same."""
    encoder = load_encoder(encoder_name, device="cpu", threads=1)
    squares: list[np.ndarray] = []
    decode = embed = 0.0
    for _ in range(2):  # the first pass warms everything up
        squares.clear()
        _barrier.wait()
        started = time.process_time()
        for file in files[:BARE]:
            image = read_image(file.read_bytes(), encoder.decode_side).image
            squares.append(np.asarray(centre_square(image, encoder.image_size)))
        decode = (time.process_time() - started) / len(squares)
    for _ in range(3):
        _barrier.wait()
        started = time.process_time()
        for start in range(0, len(squares), BATCH):
            encoder.embed_pixels(np.stack(squares[start : start + BATCH]))
        embed = (time.process_time() - started) / len(squares)
    return decode, embed


def median(runs: list[dict]) -> dict:
    return {key: statistics.median(run[key] for run in runs) for key in ("wall", "cpu", "peak_mib")}


def indexing(arguments: argparse.Namespace, source: list[Path], scratch: Path, megapixels: str) -> dict:
    """All contenders on photos of one size, or of several."""
    folder = (arguments.kept or scratch) / f"photos-{arguments.photos}-of-{megapixels}"
    files = photos(source, folder, arguments.photos, list(map(float, megapixels.split("+"))), arguments.seed)
    size = sum(file.stat().st_size for file in files) / len(files)
    limits: list[dict] = []
    runs: dict[str, list[dict]] = {name: [] for name in contenders(arguments)}
    for _ in range(arguments.rounds):
        limits.append(bare(files, arguments.encoder))
        for name, command in contenders(arguments).items():
            work = scratch / "work"
            work.mkdir()
            filled = [str(part).replace("FOLDER", str(folder)).replace("WORK", str(work)) for part in command]
            runs[name].append(timed(*filled))
            shutil.rmtree(work)
    facts = {key: statistics.median(each[key] for each in limits) for key in limits[0]}
    result = {
        "megapixels": megapixels,
        "photos": len(files),
        "mean_kib": round(size / 1024),
        **{key: round(value, 3) for key, value in facts.items()},
        "contenders": {name: median(each) for name, each in runs.items()},
    }
    ours = result["contenders"]["ours"]
    for each in result["contenders"].values():
        each["images_per_second"] = len(files) / each["wall"]
        each["times_ours"] = each["wall"] / ours["wall"]
    result["of_limit"] = ours["images_per_second"] / facts["limit"]
    result["of_limit_by_cpu"] = len(files) / ours["cpu"] * available_cpus() / facts["limit"]
    print(f"\n{len(files)} photos of {megapixels} megapixels, {size / 1024:.0f} KiB each (mosaics)")
    print(f"limit {facts['limit']:.1f} images/s: {facts['decode_cpu_ms']:.1f} ms to decode,", end=" ")
    print(f"{facts['embed_cpu_ms']:.1f} ms to embed, {available_cpus()} cores", end=" ")
    print(f"({facts['decode_cpu_ms_alone']:.1f} and {facts['embed_cpu_ms_alone']:.1f} ms with the other cores idle)")
    print(
        f"ours: {result['of_limit']:.2f} of it, start and end included; {result['of_limit_by_cpu']:.2f} by CPU time\n"
    )
    print("| | seconds | images/s | times ours | CPU seconds | peak MiB |\n|" + " --- |" * 6)
    for name, each in result["contenders"].items():
        print(
            f"| {name} | {each['wall']:.1f} | {each['images_per_second']:.1f} | {each['times_ours']:.1f} |"
            f" {each['cpu']:.1f} | {each['peak_mib']:.0f} |"
        )
    return result


def filled(scratch: Path, name: str, photo: Path, count: int, seed: int) -> tuple[Path, Path]:
    """A folder of ``count`` small files and its collection, whose vectors are random: nothing here needs the pixels."""
    folder, collection = scratch / name, scratch / f"{name}-collection"
    thumbnail = photo.read_bytes()
    paths = [folder / f"{number // 1000:03d}" / f"{number:06d}.jpg" for number in range(count)]
    with Collection.create(collection) as made:
        dim = made.dim
    catalog = open_to_update(collection)
    draw = np.random.default_rng(seed)
    for start in range(0, count, 1000):
        paths[start].parent.mkdir(parents=True)
        vectors = draw.standard_normal((1000, dim), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        entries = []
        for path, vector in zip(paths[start : start + 1000], vectors, strict=False):
            path.write_bytes(b"a picture, as far as its name tells")
            status = path.stat()
            digest = str(path).encode().rjust(32)[-32:]
            facts = {"width": 640, "height": 480, "format": "JPEG", "digest": digest}
            entries.append(Entry(path, status.st_size, status.st_mtime_ns, vector=vector, thumbnail=thumbnail, **facts))
        catalog.add(entries)
    catalog.publish([], [folder])
    catalog.close()
    with Collection.open(collection) as made:
        made.rebuild_index()
    return folder, collection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="PHOTOS", help="a folder of real photos")
    parser.add_argument("--encoder", help="run folder or .onnx file to index with; by default the shipped one")
    parser.add_argument("--photos", type=int, default=600, help="of each size")
    parser.add_argument("--megapixels", nargs="*", default=["0.5", "12"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--unchanged", type=int, default=100_000, help="files of the second run; 0 leaves it out")
    parser.add_argument("--search", type=int, default=10_000, help="images to search in; 0 leaves it out")
    parser.add_argument("--alone", action="store_true", help="without the other contenders, for the limit alone")
    parser.add_argument("--fastdup", metavar="PYTHON", help="Python of an environment with fastdup")
    parser.add_argument("--imagededup", metavar="PYTHON", help="Python of an environment with imagededup")
    parser.add_argument(
        "--scratch", type=Path, help="where to put photos and collections; by default a temporary folder"
    )
    parser.add_argument("--kept", type=Path, help="where the photos stay, for a second run with another encoder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the result to this JSON file")
    arguments = parser.parse_args()

    source = [image.path for image in list_images([arguments.source]).images]
    if not source:
        raise SystemExit(f"{arguments.source}: no photos in there")
    result: dict = {"indexing": []}
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        scratch = Path(name)
        os.environ["SIMSIAM_RETRIEVAL_HOME"] = str(scratch / "home")
        for megapixels in arguments.megapixels:
            result["indexing"].append(indexing(arguments, source, scratch, megapixels))
        if arguments.unchanged:
            folder, collection = filled(scratch, "unchanged", source[0], arguments.unchanged, arguments.seed)
            command = [sys.executable, "-m", "simsiam_retrieval.index", folder, "--collection", collection]
            runs = [timed(*command) for _ in range(arguments.rounds)]
            if not all("(0 new, 0 changed, 0 gone)" in run["said"] for run in runs):
                raise SystemExit(f"something was read again: {runs[0]['said'][-500:]}")
            result["unchanged"] = {"files": arguments.unchanged, **median(runs)}
            print(f"\nsecond run over {arguments.unchanged:,} unchanged files:", _line(result["unchanged"]))
        if arguments.search:
            folder, collection = filled(scratch, "search", source[0], arguments.search, arguments.seed)
            runs, imports = [], []
            command = [sys.executable, "-m", "simsiam_retrieval.search", source[0], "--collection", collection]
            for _ in range(arguments.rounds):
                runs.append(timed(*command))
                imports.append(timed(sys.executable, "-c", "import numpy, PIL.Image, onnxruntime, faiss"))
            result["search"] = {"images": arguments.search, **median(runs), "imports": median(imports)}
            print(f"\nsearch in {arguments.search:,} images, as a process:", _line(result["search"]))
            print("importing numpy, Pillow, ONNX Runtime and FAISS alone:", _line(result["search"]["imports"]))
    encoder = load_encoder(arguments.encoder, device="cpu")
    result |= {
        "encoder": encoder.identity,
        "image_size": encoder.image_size,
        "precision": encoder.metadata.get("precision"),
        "rounds": arguments.rounds,
        "cores": available_cpus(),
        "version": simsiam_retrieval.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _line(run: dict) -> str:
    return f"{run['wall']:.2f} s, {run['cpu']:.2f} CPU seconds, {run['peak_mib']:.0f} MiB"


if __name__ == "__main__":
    main()
