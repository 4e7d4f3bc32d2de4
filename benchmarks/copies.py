"""Finding copies: attacks on photos among distractors, by this package and by others.

    python benchmarks/copies.py make PLACE --data DATA [--originals 60] [--distractors 10000]
    python benchmarks/copies.py run PLACE CONTENDER          # one contender a process; again: only what is missing
    python benchmarks/copies.py report PLACE [--out FILE]

``make`` writes originals of three data sets, their attacked copies, and distractors. A contender ranks pairs of a copy
and another picture: those of the right original are hits. Recall at 99 % precision takes the lowest score at which at
most 1 % of the pairs of all copies are false. mAP has one relevant picture a copy: the mean of 1 / rank.
"""

import argparse
import io
import json
import os
import platform
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

SETS = {"imagenette": "imagenette-160/val", "clothing": "clothing-160/train", "caltech": "caltech101-128"}
DISTRACTORS = ("imagenette-160/train", "clothing-160/train", "caltech101-128", "tiny/tiny-imagenet-200/val")
PRECISION = 0.99
PARTNERS = 8  # of these, the closest ones are compared by their pixels
TOP = 20  # pictures that a contender names for each copy
Ranked = list[list[tuple[int, float]]]  # for each copy: rows of the gallery with scores, the highest first


# -- the attacks


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def crop(image: Image.Image, keep: float, draw: random.Random) -> Image.Image:
    """A part with this fraction of the area, anywhere."""
    width, height = (max(8, round(side * keep**0.5)) for side in image.size)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def text(image: Image.Image, draw: random.Random) -> Image.Image:
    image = image.copy()
    place = (image.width // 20, draw.randint(0, image.height * 3 // 4))
    ImageDraw.Draw(image).text(place, "SUMMER 2026", fill="white", font_size=image.height // 6, stroke_width=1)
    return image


def screenshot(image: Image.Image, draw: random.Random) -> Image.Image:
    """Half of the picture, twice as wide and high, in a window with a bar."""
    part = crop(image, 0.5, draw)
    part = part.resize((part.width * 2, part.height * 2), Image.Resampling.BICUBIC)
    window = Image.new("RGB", (round(part.width * 1.3), round(part.height * 1.4)), "#ececec")
    window.paste((58, 60, 70), (0, 0, window.width, window.height // 10))
    window.paste(part, ((window.width - part.width) // 2, window.height // 6))
    return window


def collage(image: Image.Image, others: Sequence[Image.Image], draw: random.Random) -> Image.Image:
    """Four pictures, one of them this one."""
    sheet = Image.new("RGB", (image.width * 2, image.height * 2))
    tiles = [image, *(other.resize(image.size) for other in others[:3])]
    draw.shuffle(tiles)
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % 2 * image.width, place // 2 * image.height))
    return sheet


def turned(image: Image.Image) -> Image.Image:
    return image.rotate(5, Image.Resampling.BICUBIC)


Attack = Callable[[Image.Image, Sequence[Image.Image], random.Random], Image.Image]
ATTACKS: dict[str, Attack] = {
    **{f"crop {keep} %": lambda i, o, d, keep=keep: crop(i, keep / 100, d) for keep in (80, 50, 25, 10)},
    "half the size": lambda i, o, d: i.resize((i.width // 2, i.height // 2), Image.Resampling.LANCZOS),
    **{f"JPEG quality {quality}": lambda i, o, d, q=quality: jpeg(i, q) for quality in (50, 20, 10, 3)},
    "blur": lambda i, o, d: i.filter(ImageFilter.GaussianBlur(2)),
    "border": lambda i, o, d: ImageOps.expand(i, max(i.size) // 10, "white"),
    "text": lambda i, o, d: text(i, d),
    "mirror": lambda i, o, d: ImageOps.mirror(i),
    "turned by 5 degrees": lambda i, o, d: turned(i),
    "turned by 90 degrees": lambda i, o, d: i.rotate(90, expand=True),
    "grey": lambda i, o, d: i.convert("L").convert("RGB"),
    "screenshot of a part": lambda i, o, d: screenshot(i, d),
    "in a collage": lambda i, o, d: collage(i, o, d),
}


def images_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def make(place: Path, data: Path, originals: int, distractors: int, seed: int) -> None:
    draw = random.Random(seed)
    (place / "gallery").mkdir(parents=True, exist_ok=True)
    (place / "copies").mkdir(exist_ok=True)
    gallery, copies, used = [], [], set()
    for name, folder in SETS.items():
        files = draw.sample(images_below(data / folder), originals + 3)
        used.update(files)
        opened = [Image.open(file).convert("RGB") for file in files]
        for number, image in enumerate(opened[:originals]):
            file = place / "gallery" / f"{name}-{number:04d}.jpg"
            image.save(file, quality=95)
            row = len(gallery)
            gallery.append(file.name)
            others = [opened[(number + step) % len(opened)] for step in (1, 2, 3)]
            # each original gets a third of the attacks, each attack a third of the originals
            for place_, (attack, change) in enumerate(ATTACKS.items()):
                if (place_ + number) % 3:
                    continue
                copy = place / "copies" / f"{len(copies):06d}.jpg"
                change(image, others, draw).save(copy, quality=3 if attack.endswith(" 3") else 90)
                also = [tile for step in (1, 2, 3) if (tile := (number + step) % len(opened)) < originals]
                copies.append(
                    {"file": copy.name, "attack": attack, "set": name, "original": row}
                    # a collage contains other originals as well: they are neither right nor wrong
                    | ({"also": [row - number + tile for tile in also]} if attack == "in a collage" else {})
                )
    rest = [file for folder in DISTRACTORS for file in images_below(data / folder) if file not in used]
    for number, file in enumerate(draw.sample(rest, distractors)):
        link = place / "gallery" / f"distractor-{number:06d}.jpg"
        link.unlink(missing_ok=True)
        link.symlink_to(file.resolve())
        gallery.append(link.name)
    facts = {"gallery": gallery, "copies": copies, "seed": seed, "originals": originals, "distractors": distractors}
    (place / "plan.json").write_text(json.dumps(facts))
    print(f"{len(copies)} copies of {3 * originals} photos, gallery of {len(gallery)}")


# -- the contenders


def by_vectors(place: Path, gallery: list[Path], copies: list[Path]) -> Ranked:
    """The whole pictures' own vectors: the build before regions and pixels."""
    return _nearest(*_vectors(place, gallery, copies))


def by_pixels(place: Path, gallery: list[Path], copies: list[Path]) -> Ranked:
    """Candidates by the pictures' own vectors, verified by their pixels."""
    done = place / "ranked-own-vectors.json"  # its time is added by the report
    ranked = json.loads(done.read_text())["ranked"] if done.exists() else by_vectors(place, gallery, copies)
    if len(ranked) != len(copies):
        raise ValueError("own vectors were run with another --every")
    return _verified(gallery, copies, ranked)


def with_regions(place: Path, gallery: list[Path], copies: list[Path]) -> Ranked:
    """Candidates by own vectors and by regions of either picture, verified by their pixels."""
    import faiss

    own, queries = _vectors(place, gallery, copies)
    candidates = [dict(found[: TOP // 2]) for found in _nearest(own, queries)]
    (owners, regions), (copy_owners, copy_regions) = (
        _regions(place, kind, files) for kind, files in (("gallery", gallery), ("copies", copies))
    )
    # a copy's own vector near a region of the gallery, and a copy's region near a whole picture or a region
    for rows, asked, known, targets in (
        (np.arange(len(queries)), queries, regions, owners),
        (copy_owners, copy_regions, own, np.arange(len(own))),
        (copy_owners, copy_regions, regions, owners),
    ):
        scores, found = faiss.knn(np.ascontiguousarray(asked), known, 3, metric=faiss.METRIC_INNER_PRODUCT)
        for row, values, places in zip(rows.tolist(), scores.tolist(), found.tolist(), strict=True):
            for value, hit in zip(values, places, strict=True):
                target = int(targets[hit])
                candidates[row][target] = max(value, candidates[row].get(target, -1))
    ranked = [sorted(found.items(), key=lambda pair: -pair[1])[:TOP] for found in candidates]
    return _verified(gallery, copies, ranked)


def as_command(place: Path, gallery: list[Path], copies: list[Path]) -> Ranked:
    """The candidates of ``duplicates`` with its default thresholds, in a collection with regions; only copies count."""
    import faiss

    from simsiam_retrieval import load_encoder
    from simsiam_retrieval.collection.duplicates import candidates as rules
    from simsiam_retrieval.collection.duplicates import hash_pairs
    from simsiam_retrieval.collection.duplicates.thresholds import CALIBRATED, COMPARED_BELOW, REGIONS_BELOW
    from simsiam_retrieval.images.difference_hash import difference_hash

    threshold = CALIBRATED[load_encoder(None, device="cpu").identity]
    own, queries = _vectors(place, gallery, copies)
    chosen: list[dict[int, float]] = [
        {row: score for row, score in found[: rules.PARTNERS] if score >= threshold - COMPARED_BELOW}
        for found in _nearest(own, queries)
    ]
    (owners, regions), (copy_owners, copy_regions) = (
        _regions(place, kind, files) for kind, files in (("gallery", gallery), ("copies", copies))
    )
    for rows, asked, known, targets in (
        (np.arange(len(queries)), queries, regions, owners),
        (copy_owners, copy_regions, own, np.arange(len(own))),
    ):
        near: dict[int, dict[int, float]] = {}
        for row, values, places in zip(
            rows.tolist(),
            *faiss.knn(np.ascontiguousarray(asked), known, TOP, metric=faiss.METRIC_INNER_PRODUCT),
            strict=True,
        ):
            for value, hit in zip(values.tolist(), places.tolist(), strict=True):
                if value >= threshold - REGIONS_BELOW:
                    found = near.setdefault(row, {})
                    found[int(targets[hit])] = max(value, found.get(int(targets[hit]), -1))
        for row, found in near.items():
            for target, value in sorted(found.items(), key=lambda pair: -pair[1])[: rules.REGION_PARTNERS]:
                chosen[row].setdefault(target, value)
    known_bits = np.stack([difference_hash(Image.open(file)) for file in gallery])
    index = faiss.IndexBinaryFlat(8 * known_bits.shape[1])
    index.add(known_bits)
    for row, file in enumerate(copies):
        grey = Image.open(file).convert("L")
        turned = [grey, *(grey.transpose(turn) for turn in hash_pairs.TURNS)]
        apart, found = index.search(np.stack([difference_hash(image) for image in turned]), hash_pairs.PARTNERS)
        ordered = sorted(zip(apart.ravel().tolist(), found.ravel().tolist(), strict=True))
        for target in [target for far, target in ordered if far <= hash_pairs.NEAR][: hash_pairs.PARTNERS]:
            chosen[row].setdefault(target, 0.0)
    ranked = _verified(gallery, copies, [list(found.items()) for found in chosen], compared=TOP)
    return [[(row, score) for row, score in found if score >= 1] for found in ranked]


def hashes(method: str) -> Callable[[Path, list[Path], list[Path]], Ranked]:
    def run(place: Path, gallery: list[Path], copies: list[Path]) -> Ranked:
        """A perceptual hash of 64 bits of the package imagehash; the score is the fraction of equal bits."""
        import imagehash  # pyright: ignore[reportMissingImports]

        compute = getattr(imagehash, method)
        bits = [np.array([compute(Image.open(file)).hash.ravel() for file in files]) for files in (gallery, copies)]
        return _by_bits(*bits)

    return run


def imagededup_phash(place: Path, gallery: list[Path], copies: list[Path]) -> Ranked:
    from imagededup.methods import PHash  # pyright: ignore[reportMissingImports]

    hasher = PHash(verbose=False)
    texts = [[hasher.encode_image(image_file=str(file)) for file in files] for files in (gallery, copies)]
    bits = [np.unpackbits(np.array([list(bytes.fromhex(t)) for t in found], np.uint8), axis=1) for found in texts]
    return _by_bits(*bits)


def imagededup_cnn(place: Path, gallery: list[Path], copies: list[Path]) -> Ranked:
    from imagededup.methods import CNN  # pyright: ignore[reportMissingImports]

    encoder = CNN(verbose=False)  # loads MobileNet's weights from the network
    vectors = [np.stack([encoder.encode_image(image_file=str(f))[0] for f in files]) for files in (gallery, copies)]
    vectors = [found / np.linalg.norm(found, axis=1, keepdims=True) for found in vectors]
    return _nearest(vectors[0].astype(np.float32), vectors[1].astype(np.float32))


def run_fastdup(place: Path, gallery: list[Path], copies: list[Path]) -> Ranked:
    """Its own features; install it into an environment of its own, because it asks for older packages."""
    import fastdup  # pyright: ignore[reportMissingImports]

    work = place / "fastdup"
    made = fastdup.create(work_dir=str(work), input_dir=str(place))
    made.run(threshold=0.5, nearest_neighbors_k=TOP, overwrite=True, num_threads=1, verbose=False)
    rows = {str(file.absolute()): row for row, file in enumerate(gallery)}
    asked = {str(file.absolute()): row for row, file in enumerate(copies)}
    found: Ranked = [[] for _ in copies]
    for one, other, score in made.similarity()[["filename_from", "filename_to", "distance"]].itertuples(index=False):
        for query, target in ((one, other), (other, one)):
            if query in asked and target in rows:
                found[asked[query]].append((rows[target], float(score)))
    return [sorted(dict(hits).items(), key=lambda hit: -hit[1])[:TOP] for hits in found]


CONTENDERS: dict[str, Callable[[Path, list[Path], list[Path]], Ranked]] = {
    "own vectors": by_vectors,
    "own vectors, pixels": by_pixels,
    "regions, pixels": with_regions,
    "as the command": as_command,
    "imagehash phash": hashes("phash"),
    "imagehash dhash": hashes("dhash"),
    "imagehash whash": hashes("whash"),
    "imagededup PHash": imagededup_phash,
    "imagededup CNN": imagededup_cnn,
    "fastdup": run_fastdup,
}


def _vectors(place: Path, gallery: list[Path], copies: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    from simsiam_retrieval import load_encoder

    encoder = load_encoder(None, device="cpu", threads=1)

    def embedded(files: list[Path]) -> np.ndarray:
        return np.concatenate([encoder.embed(files[at : at + 64]) for at in range(0, len(files), 64)])

    return embedded(gallery), embedded(copies)


def _regions(place: Path, kind: str, files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the files and vectors of their regions, from a collection with regions."""
    from simsiam_retrieval import Collection

    folder = place / f"collection-{kind}"
    if not Collection.exists(folder):
        subprocess.run(
            [sys.executable, "-m", "simsiam_retrieval.index", place / kind, "--collection", folder, "--regions",
             "--workers", "1"], check=True,
        )  # fmt: skip
    with Collection.open(folder) as collection:
        names = {item.id: item.path.name for item in collection}
        found = collection.region_vectors()
    rows = {file.name: row for row, file in enumerate(files)}
    owners = np.array([rows.get(names[id_], -1) for id_ in found.ids.tolist()], np.int64)
    asked = owners >= 0  # --every leaves copies out
    return owners[asked], np.ascontiguousarray(found.vectors[asked])


def _nearest(vectors: np.ndarray, queries: np.ndarray) -> Ranked:
    import faiss

    scores, rows = faiss.knn(queries, vectors, TOP, metric=faiss.METRIC_INNER_PRODUCT)
    return [list(zip(r, s, strict=True)) for r, s in zip(rows.tolist(), scores.tolist(), strict=True)]


def _by_bits(gallery: np.ndarray, copies: np.ndarray) -> Ranked:
    signs = [np.where(bits, 1, -1).astype(np.float32) / np.sqrt(bits.shape[1]) for bits in (gallery, copies)]
    return [[(row, (score + 1) / 2) for row, score in found] for found in _nearest(signs[0], signs[1])]


def _verified(gallery: list[Path], copies: list[Path], candidates: Ranked, compared: int = PARTNERS) -> Ranked:
    """Pairs that are copies by their pixels first, with 1 more than their cosine; the rest is not compared then."""
    import functools

    from simsiam_retrieval.collection.duplicates.pixels.kinds import COPIES
    from simsiam_retrieval.collection.duplicates.pixels.picture import Picture
    from simsiam_retrieval.collection.duplicates.pixels.verdict import verdict

    @functools.lru_cache(maxsize=400)
    def picture(file: Path) -> Picture:
        return Picture(Image.open(file))

    found: Ranked = []
    for copy, hits in zip(copies, candidates, strict=True):
        asked = Picture(Image.open(copy))
        ranked = dict(hits)
        for row, score in hits[:compared]:
            if verdict(picture(gallery[row]), asked).kind in COPIES:
                ranked[row] = score + 1
                break
        found.append(sorted(ranked.items(), key=lambda hit: -hit[1]))
    return found


def run(place: Path, contender: str, every: int) -> None:
    out = place / f"ranked-{contender.replace(' ', '-')}.json"
    if out.exists():
        print(f"{contender}: done before")
        return
    plan = json.loads((place / "plan.json").read_text())
    gallery = [place / "gallery" / name for name in plan["gallery"]]
    places = range(0, len(plan["copies"]), every)
    copies = [place / "copies" / plan["copies"][number]["file"] for number in places]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    result: dict = {"contender": contender, "every": every}
    started = time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        result["ranked"] = CONTENDERS[contender](place, gallery, copies)
    except Exception as error:  # noqa: BLE001  # the result says what stopped a contender
        result["failed"] = f"{type(error).__name__}: {error}"[:200]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    helped = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    result["cpu_seconds"] = round(time.process_time() - started + helped, 1)
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    out.write_text(json.dumps(result))
    print(contender, result["cpu_seconds"], "s", result.get("failed", ""))


# -- the report


def recall_at_precision(scores: np.ndarray, right: np.ndarray, count: int, precision: float = PRECISION) -> float:
    """Largest recall at a threshold whose pairs are right at least that often.

    Args:
        scores: Scores of the pairs.
        right: Whether each pair is a copy and its original.
        count: Number of copies.
        precision: Least precision.

    Returns:
        Fraction of the copies that are found.
    """
    if not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    last = np.r_[np.diff(scores[order]) != 0, True]  # equal scores are above or below a threshold together
    good = last & (hits >= precision * np.arange(1, len(hits) + 1))
    return float(hits[good].max() / count) if good.any() else 0.0


def measured(ranked: Ranked, originals: list[int]) -> tuple[float, float]:
    """Recall at 99 % precision and mAP."""
    pairs = [(score, row == original) for hits, original in zip(ranked, originals, strict=True) for row, score in hits]
    scores, right = (np.array(values) for values in zip(*pairs, strict=True)) if pairs else (np.empty(0), np.empty(0))
    ranks = [[row for row, _ in hits] for hits in ranked]
    mean = np.mean([1 / (1 + r.index(o)) if o in r else 0.0 for r, o in zip(ranks, originals, strict=True)])
    return recall_at_precision(scores, right.astype(bool), len(originals)), float(mean)


def report(place: Path, out: Path | None) -> None:
    plan = json.loads((place / "plan.json").read_text())
    result: dict = {key: plan[key] for key in ("originals", "distractors", "seed")} | {
        "copies": len(plan["copies"]),
        "sets": list(SETS),
        "precision": PRECISION,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "contenders": {},
    }
    for name in CONTENDERS:
        file = place / f"ranked-{name.replace(' ', '-')}.json"
        if not file.exists():
            continue
        found = json.loads(file.read_text())
        row: dict = {key: found[key] for key in ("cpu_seconds", "peak_mib", "failed", "every") if key in found}
        if name == "own vectors, pixels" and "own vectors" in result["contenders"]:
            row["cpu_seconds"] = round(row["cpu_seconds"] + result["contenders"]["own vectors"]["cpu_seconds"], 1)
        result["contenders"][name] = row
        if "ranked" not in found:
            continue
        asked = plan["copies"][:: found["every"]]
        for copy, number in zip(asked, range(len(asked)), strict=True):
            found["ranked"][number] = [hit for hit in found["ranked"][number] if hit[0] not in copy.get("also", ())]
        for group in ("attack", "set"):
            row[group] = {}
            for value in ATTACKS if group == "attack" else SETS:
                chosen = [number for number, copy in enumerate(asked) if copy[group] == value]
                ranked = [found["ranked"][number] for number in chosen]
                pair = measured(ranked, [asked[number]["original"] for number in chosen])
                row[group][value] = [round(figure, 3) for figure in pair]
        row["all"] = [round(figure, 3) for figure in measured(found["ranked"], [copy["original"] for copy in asked])]
    text_ = json.dumps(result, indent=1)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text_ + "\n")
    there = {name: row for name, row in result["contenders"].items() if "attack" in row}
    print("| recall at 99 % precision (mAP) | " + " | ".join(there) + " |\n|" + " --- |" * (len(there) + 1))
    for attack in ATTACKS:
        values = (f"{row['attack'][attack][0]:.2f} ({row['attack'][attack][1]:.2f})" for row in there.values())
        print(f"| {attack} | " + " | ".join(values) + " |")
    print("| all | " + " | ".join(f"{row['all'][0]:.2f} ({row['all'][1]:.2f})" for row in there.values()) + " |")
    print("| CPU seconds | " + " | ".join(f"{row['cpu_seconds']:.0f}" for row in there.values()) + " |")
    print("| peak MiB | " + " | ".join(f"{row['peak_mib']}" for row in there.values()) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("make")
    made.add_argument("place", type=Path)
    made.add_argument("--data", type=Path, required=True)
    made.add_argument("--originals", type=int, default=60, help="photos of each data set")
    made.add_argument("--distractors", type=int, default=10_000)
    made.add_argument("--seed", type=int, default=0)
    ran = commands.add_parser("run")
    ran.add_argument("place", type=Path)
    ran.add_argument("contender", choices=list(CONTENDERS))
    ran.add_argument(
        "--every",
        type=int,
        default=1,
        help="take every n-th copy; not a multiple of 2 or 3, for all attacks to be there",
    )
    told = commands.add_parser("report")
    told.add_argument("place", type=Path)
    told.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.command == "make":
        make(given.place, given.data, given.originals, given.distractors, given.seed)
    elif given.command == "run":
        run(given.place, given.contender, given.every)
    else:
        report(given.place, given.out)


if __name__ == "__main__":
    main()
