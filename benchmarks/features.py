"""Where in the network, and pooled how: ``features.py WEIGHTS --fit FOLDER… --out FILE.json NAME=TRAIN[:TEST]…``.

WEIGHTS is a run folder, an .onnx encoder with all stages in it, or "random". Each of ``--features`` (descriptions as
``export`` takes them; ``--dim`` and ``--power`` are the PCA of those without it) is measured on the same images:

- top-1 of 20 neighbours, voting as ``probe`` does, among up to ``--gallery`` images of TRAIN for up to ``--queries`` of
  TEST, or of the other half of TRAIN. Sets named ``choose:NAME=…`` are averaged: what a description is chosen by.
- near-duplicates of ``--duplicates`` images of all tests together: recall at 99 % precision of the kinds that ``probe``
  makes, of crops alone, and how often the nearest original of a shifted copy, and of a cut-out (0.4 to 0.7 of each
  side), is its own.
- the noise level of the first set, and how often the other sets' images come above it.
- bytes of the float16 file, and milliseconds an image: one ONNX Runtime thread, batches of 8, descriptions in turns.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hardware import processor
from numpy.typing import NDArray
from PIL import Image
from result_file import write_result
from simsiam_retrieval.export.exported_network import UnitVectors  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.graph import network_graph, save, with_preprocessing  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.half_precision import in_half  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

from simsiam_retrieval.collection.index.noise_level import measure_noise
from simsiam_retrieval.encoder.find_encoder import find_encoder
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.evaluation.centre_squares import decode_side, read_squares
from simsiam_retrieval.evaluation.extractors import normalised, unit_rows
from simsiam_retrieval.evaluation.near_duplicates import KINDS, detect, make_pairs
from simsiam_retrieval.images.decode import centre_square, decode
from simsiam_retrieval.images.files import ImageFile, list_images
from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.methods.bn_folding import backbone_from_onnx
from simsiam_retrieval.methods.feature_description import Features
from simsiam_retrieval.methods.pooling import PooledStages, combined
from simsiam_retrieval.metrics.knn import nearest, vote
from simsiam_retrieval.metrics.whitening import Whitening, fit_whitening
from simsiam_retrieval.training.run_folder import load_backbone

DEFAULT = (
    "stage4", "stage4,flip", "stage3,flip", "stage3@2x2,flip", "stage3@4x4,flip", "stage2,flip", "stage2@2x2,flip",
    "stage2@4x4", "stage2@4x4,flip", "stage1@4x4,flip", "stage1@4x4,stage2@4x4,flip",
    "stage2@4x4,stage3@2x2*0.5,flip", "stage2@4x4:gem,flip",
)  # fmt: skip
K, TEMPERATURE = 20, 0.1
INDEXED, STRANGERS = 2000, 500
BATCH, ROUNDS, REPEATS = 8, 7, 10


def backbone_of(weights: str) -> nn.Module:
    if weights == "random":
        torch.manual_seed(0)
        return build_backbone("resnet18").eval()
    if (Path(weights) / "checkpoint.pt").exists():
        return load_backbone(Path(weights))[0].eval()
    return backbone_from_onnx(find_encoder(weights)).eval()


Images = tuple[NDArray[np.uint8], list[str], list[ImageFile]]


def sides_of(train: str, test: str, gallery: int, queries: int, side: int) -> tuple[Images, Images]:
    """Gallery and queries: of two folders, or of the halves of one, drawn at random."""
    if test:
        return squares_of([Path(train)], gallery, side), squares_of([Path(test)], queries, side)
    pixels, names, files = squares_of([Path(train)], gallery + queries, side)
    half = max(len(pixels) // 2, len(pixels) - queries)
    return (pixels[:half], names[:half], files[:half]), (pixels[half:], names[half:], files[half:])


def squares_of(folders: list[Path], limit: int, side: int) -> Images:
    """Up to ``limit`` images drawn at random: squares, the names of their folders, files."""
    files = list_images(folders).images
    chosen = [files[row] for row in np.random.default_rng(0).permutation(len(files))[:limit]]
    found = [one for chunk in read_squares(chosen, side) for one in chunk]
    kept = [(square, file) for square, file in zip(found, chosen, strict=True) if not isinstance(square, str)]
    return np.stack([square for square, _ in kept]), [f.path.parent.name for _, f in kept], [f for _, f in kept]


class Measured:
    """Vectors of several descriptions from one pass through the network."""

    def __init__(self, backbone: nn.Module, descriptions: list[Features], side: int) -> None:
        deepest = max(descriptions, key=lambda one: one.last_stage)
        for one in descriptions:
            PooledStages(backbone, one, side)  # refuses grids that do not fit
        self.stages, self.descriptions = PooledStages(backbone, deepest, side), descriptions
        self.reductions: list[Whitening | None] = [None] * len(descriptions)

    @torch.inference_mode()
    def vectors(self, squares: NDArray[np.uint8]) -> list[Tensor]:
        """Unit vectors of each description, (n, dim)."""
        parts: list[list[Tensor]] = [[] for _ in self.descriptions]
        for start in range(0, len(squares), 64):
            x = normalised(squares[start : start + 64], self.stages)
            maps = self.stages.maps(torch.cat([x, x.flip(3)]))
            for rows, one, reduction in zip(parts, self.descriptions, self.reductions, strict=True):
                taken = maps if one.flip else [stage[: len(x)] for stage in maps]
                found = unit_rows(combined(taken, one).numpy())
                rows.append(found if reduction is None else reduction(found))
        return [torch.cat(rows) for rows in parts]

    def fit(self, squares: NDArray[np.uint8]) -> None:
        for index, found in enumerate(self.vectors(squares)):
            one = self.descriptions[index]
            if one.dim is not None:
                self.reductions[index] = fit_whitening(found, one.dim, power=one.power)


def top1(bank: Tensor, classes: list[str], queries: Tensor, truth: list[str]) -> float:
    names = sorted({*classes, *truth})
    numbers = {name: number for number, name in enumerate(names)}
    labels = torch.tensor([numbers[name] for name in classes])
    similarity, index = nearest(bank, queries, K)
    scores = vote(similarity, labels[index], len(names), TEMPERATURE)
    return float((scores.argmax(dim=1) == torch.tensor([numbers[name] for name in truth])).double().mean())


def copies(files: list[ImageFile], count: int, side: int) -> dict[str, NDArray[np.uint8]]:
    """Squares of originals and of their copies, by kind; ``shifted`` lose 5 to 15 % at two sides."""
    pairs = make_pairs(files, count, seed=1)
    rng = np.random.default_rng(5)
    pictures = [decode(content, short_side=decode_side(side)) for content in pairs.originals]
    found = {"originals": pictures, "shifted": [], "cut out": []}
    for kind, contents in pairs.copies.items():
        found[kind] = [decode(content, short_side=decode_side(side)) for content in contents]
    for picture in pictures:
        found["shifted"].append(_part(picture, rng, rng.uniform(0.85, 0.95, 2), corner=True))
        found["cut out"].append(_part(picture, rng, rng.uniform(0.4, 0.7, 2)))
    return {
        kind: np.stack([np.asarray(centre_square(one, side)) for one in pictures]) for kind, pictures in found.items()
    }


def _part(picture: Image.Image, rng: np.random.Generator, share: NDArray, corner: bool = False) -> Image.Image:
    sizes = [max(1, round(s * part)) for s, part in zip(picture.size, share, strict=True)]
    rest = [s - part for s, part in zip(picture.size, sizes, strict=True)]
    left, top = (int(r) * int(rng.integers(2)) if corner else int(rng.integers(r + 1)) for r in rest)
    return picture.crop((left, top, left + sizes[0], top + sizes[1]))


def near_duplicates(vectors: dict[str, Tensor]) -> dict[str, float]:
    originals = vectors["originals"]
    found = detect(originals, {kind: vectors[kind] for kind in KINDS})
    own = torch.arange(len(originals))
    right = {k: float(((vectors[k] @ originals.T).argmax(1) == own).double().mean()) for k in ("shifted", "cut out")}
    return {
        "recall at 99 %": round(found.recall, 3),
        "cropped at 99 %": round(found.recall_by_kind["cropped"], 3),
        **{f"{kind}, first": round(value, 3) for kind, value in right.items()},
    }


def costs(backbone: nn.Module, measured: Measured, side: int) -> list[dict[str, float]]:
    """Bytes of each description's float16 file, and milliseconds an image, in turns."""
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (BATCH, side, side, 3), np.uint8)
    encoders, sizes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, (one, reduction) in enumerate(zip(measured.descriptions, measured.reductions, strict=True)):
            network = UnitVectors(PooledStages(backbone, one, side), reduction=reduction)
            file = Path(folder) / f"{number}.onnx"
            save(with_preprocessing(in_half(network_graph(network, side)), side, {}), file)
            sizes.append(file.stat().st_size)
            encoders.append(Encoder(file, device="cpu", threads=1))
        times: list[list[float]] = [[] for _ in encoders]
        for _ in range(ROUNDS):
            for encoder, taken in zip(encoders, times, strict=True):
                encoder.embed_pixels(batch)
                start = time.perf_counter()
                for _ in range(REPEATS):
                    encoder.embed_pixels(batch)
                taken.append(1000 * (time.perf_counter() - start) / REPEATS / BATCH)
    return [
        {"bytes": size, "ms an image": round(statistics.median(taken), 2)}
        for size, taken in zip(sizes, times, strict=True)
    ]


def table(result: dict) -> str:
    rows = result["rows"]
    names = list(rows[0]["top1"])
    seconds = list(rows[0]["duplicates"])
    chosen = [name for name in names if name in result["chosen on"]]
    head = ["features", *([f"mean of {' '.join(chosen)}"] if chosen else []), *names, *seconds]
    head += ["noise level", "strangers above it", "ms", "MB"]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for row in rows:
        mean = [f"{100 * statistics.mean(row['top1'][name] for name in chosen):.1f}"] if chosen else []
        cells = [f"{100 * row['top1'][name]:.1f}" for name in names]
        cells += [f"{100 * row['duplicates'][name]:.0f}" for name in seconds]
        cells += [f"{row['noise level']:.2f}", f"{100 * row['strangers above it']:.0f}"]
        lines.append([row["features"], *mean, *cells, f"{row['ms an image']:.2f}", f"{row['bytes'] / 1e6:.1f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("sets", nargs="+", metavar="[choose:]NAME=TRAIN[:TEST]")
    parser.add_argument("--features", nargs="+", default=list(DEFAULT))
    parser.add_argument("--fit", type=Path, nargs="+", required=True)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--power", type=float, default=0.5)
    parser.add_argument("--gallery", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--fitted", type=int, default=4096)
    parser.add_argument("--duplicates", type=int, default=600)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    descriptions = [Features.parse(text) for text in given.features]
    descriptions = [one if one.dim is not None else one.reduced(given.dim, given.power) for one in descriptions]
    backbone = backbone_of(given.weights)
    measured = Measured(backbone, descriptions, given.side)
    measured.fit(squares_of(given.fit, given.fitted, given.side)[0])
    top: list[dict[str, float]] = [{} for _ in descriptions]
    banks: list[Tensor] = []
    strangers: list[list[Tensor]] = [[] for _ in descriptions]
    files: list[ImageFile] = []
    chosen = []
    for word in given.sets:
        name, _, both = word.removeprefix("choose:").partition("=")
        chosen += [name] if word.startswith("choose:") else []
        train, _, test = both.partition(":")
        (squares, classes, _), (other, truth, tested) = sides_of(train, test, given.gallery, given.queries, given.side)
        files += tested
        gallery, queries = measured.vectors(squares), measured.vectors(other)
        for index, (bank, asked) in enumerate(zip(gallery, queries, strict=True)):
            top[index][name] = round(top1(bank, classes, asked, truth), 4)
            if len(banks) < len(descriptions):
                banks.append(bank[:INDEXED])
            else:
                strangers[index].append(asked[:STRANGERS])
        print(name, [f"{100 * row[name]:.1f}" for row in top], flush=True)
    pictures = copies(files, given.duplicates, given.side)
    found = {kind: measured.vectors(squares) for kind, squares in pictures.items()}
    rows = []
    for index, (one, cost) in enumerate(zip(descriptions, costs(backbone, measured, given.side), strict=True)):
        noise = measure_noise(banks[index].numpy())
        assert noise is not None
        above = []
        for x in strangers[index]:
            levels = torch.from_numpy(noise.levels(x.numpy(), banks[index].numpy()))
            above.append(float(((x @ banks[index].T).amax(1) > levels).double().mean()))
        rows.append(
            {
                "features": str(one),
                "top1": top[index],
                "duplicates": near_duplicates({kind: vectors[index] for kind, vectors in found.items()}),
                "noise level": round(noise.typical, 4),
                "strangers above it": round(statistics.mean(above), 4) if above else 0.0,
                **cost,
            }
        )
    result = {
        "weights": Path(given.weights).name, "side": given.side, "fitted on": given.fitted, "gallery": given.gallery,
        "queries": given.queries, "duplicates": given.duplicates, "chosen on": chosen, "seed": 0,
        "processor": processor(), "torch": torch.__version__, "rows": rows,
    }  # fmt: skip
    write_result(result, given.out)
    print(table(result))


if __name__ == "__main__":
    main()
