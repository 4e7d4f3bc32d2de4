"""Does training on one's own folder pay? ``own_folder.py NAME=TRAIN[:TEST]… --out FILE.json [--passes N] [--seed S]``.

Each domain's images are embedded by the shipped encoder; by its weights and by random ones with PCA fitted to TRAIN; by
networks trained on TRAIN without labels (``pretrain --recipe own-folder``, so many image-passes) from either, and from
the shipped one with colours changed less; and as pixels, plain and whitened. All networks have the shipped encoder's
features, at its size. Without TEST one half of TRAIN, drawn at random, is embedded, trained and fitted on, and the
other half tested. Class names are the folders' that hold the images; only measuring knows them:

- kNN: top-1 of 20 neighbours of the test images among the training images, voting as ``probe`` does.
- linear: multinomial logistic regression on all training images; its penalty is the best of four on a held-out fifth.
- 5 labels a class: ``probe``'s few-shot protocol, ten draws; classes with fewer training images are left out.
- near-duplicates: of altered copies of test images, recall at 99 % precision, in all and of crops (``probe``'s kinds).
"""

import argparse
import dataclasses
import json
import os
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from features import Images, Measured, sides_of, top1
from hardware import processor
from numpy.typing import NDArray
from torch import Tensor, nn

import simsiam_retrieval
from simsiam_retrieval.encoder.find_encoder import default_encoder_file
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.evaluation.centre_squares import decode_side
from simsiam_retrieval.evaluation.extractors import PixelExtractor, unit_rows
from simsiam_retrieval.evaluation.fewshot import few_shot
from simsiam_retrieval.evaluation.linear_probe import common_scale
from simsiam_retrieval.evaluation.logistic_regression import solve
from simsiam_retrieval.evaluation.near_duplicates import KINDS, detect, make_pairs
from simsiam_retrieval.images.decode import centre_square, decode
from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.methods.bn_folding import backbone_from_onnx, reduction_from_onnx
from simsiam_retrieval.methods.feature_description import Features
from simsiam_retrieval.metrics.whitening import COMPONENTS, POWER, Whitening, fit_whitening
from simsiam_retrieval.training import loop
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.initial_weights import initial_backbone
from simsiam_retrieval.training.pixel_store import load_store
from simsiam_retrieval.training.recipes import recipe
from simsiam_retrieval.training.run_folder import Run, load_backbone
from simsiam_retrieval.training.run_options import Options

SHOTS, PENALTIES = 5, (1e-1, 1e-2, 1e-3, 1e-4)  # penalties are per image
WEAK_COLOURS = {"jitter": 0.4, "grey": 0.0}  # --jitter 0.4 --grey 0
COLUMNS = ("kNN", "linear", "5 labels a class", "near-duplicates", "cropped")


@dataclass(frozen=True)
class Domain:
    """A folder's two sides as squares, and altered copies of its test images by kind."""

    name: str
    train: Images
    test: Images
    pairs: dict[str, NDArray[np.uint8]]

    def squares(self) -> list[NDArray[np.uint8]]:
        """Everything that is to be embedded: training, test, originals and each kind of copies."""
        return [self.train[0], self.test[0], *self.pairs.values()]


def read_domain(word: str, images: int, queries: int, duplicates: int, side: int) -> Domain:
    """The domain that NAME=TRAIN[:TEST] names."""
    name, _, both = word.partition("=")
    train, _, test = both.partition(":")
    known, asked = sides_of(train, test, images, queries, side)
    found = make_pairs(asked[2], duplicates, seed=1)
    pictures = {"originals": found.originals, **found.copies}
    squares = {
        kind: np.stack([np.asarray(centre_square(decode(one, short_side=decode_side(side)), side)) for one in contents])
        for kind, contents in pictures.items()
    }
    return Domain(name, known, asked, squares)


def trained(config: Config, domain: Domain, initial: nn.Module | None) -> tuple[nn.Module, float]:
    """The backbone after training on the domain's training images, and the CPU seconds of it."""
    files = sorted(domain.train[2], key=lambda file: str(file.path))
    store = load_store(files, config.store_side)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        run.write(config)
        began = time.process_time()
        usual = Options(checkpoint_minutes=1e6)
        loop.train(config, store, run, device=torch.device("cpu"), initial=initial, options=usual)
        return load_backbone(run.path)[0].eval(), time.process_time() - began


def fitted(parts: list[Tensor], power: float) -> list[Tensor]:
    """Everything behind PCA that is fitted to the training images, the first part."""
    reduction = fit_whitening(parts[0], COMPONENTS, power=power)
    return [reduction(part) for part in parts]


def measured(domain: Domain, parts: list[Tensor], seed: int) -> dict[str, float]:
    """The columns of one row, in percent."""
    train, test, originals, *copies = parts
    names = sorted({*domain.train[1], *domain.test[1]})
    numbers = {name: number for number, name in enumerate(names)}
    labels, truth = (torch.tensor([numbers[name] for name in side[1]]) for side in (domain.train, domain.test))
    found = detect(originals, dict(zip(KINDS, copies, strict=True)))
    values = (
        top1(train, domain.train[1], test, domain.test[1]),
        linear(train, labels, test, truth, len(names), seed),
        with_few(train, labels, test, truth, seed),
        found.recall,
        found.recall_by_kind["cropped"],
    )
    return {column: round(100 * value, 2) for column, value in zip(COLUMNS, values, strict=True)}


def linear(train: Tensor, labels: Tensor, test: Tensor, truth: Tensor, classes: int, seed: int) -> float:
    """Accuracy of logistic regression, the penalty chosen on a held-out fifth of the training images."""
    scale, length = common_scale(train), train.shape[1] ** 0.5
    x, queries = scale(train) / length, scale(test) / length
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    held, rest = order[: len(x) // 5], order[len(x) // 5 :]

    def accuracy(penalty: float, rows: Tensor, asked: Tensor, wanted: Tensor) -> float:
        scores = solve(x[rows], labels[rows], classes, penalty).scores(asked)
        return float((scores.argmax(1) == wanted).double().mean())

    best = max(PENALTIES, key=lambda penalty: accuracy(penalty, rest, x[held], labels[held]))
    return accuracy(best, order, queries, truth)


def with_few(train: Tensor, labels: Tensor, test: Tensor, truth: Tensor, seed: int) -> float:
    """Accuracy with ``SHOTS`` labels a class, among the classes that have them."""
    count = torch.bincount(labels, minlength=int(truth.max()) + 1)
    kept = (count >= SHOTS).nonzero()[:, 0]
    number = torch.full((len(count),), -1).scatter(0, kept, torch.arange(len(kept)))
    known, asked = number[labels] >= 0, number[truth] >= 0
    (found,) = few_shot(
        train[known], number[labels[known]], test[asked], number[truth[asked]], len(kept), [SHOTS],
        common_scale(train), seed=seed,
    )  # fmt: skip
    return found.top1


def rows_of(domain: Domain, shipped: Path, passes: int, seed: int) -> list[dict[str, Any]]:
    """All rows of a domain's table."""
    encoder = Encoder(shipped, device="cpu", threads=1)
    whole = Features.parse(encoder.metadata["features"])
    plain = dataclasses.replace(whole, dim=None, power=0.0)
    sides, rows = domain.squares(), []

    def embedded(backbone: nn.Module) -> list[Tensor]:
        network = Measured(backbone, [plain], encoder.image_size)
        return [network.vectors(squares)[0] for squares in sides]

    def note(name: str, parts: list[Tensor], **facts: Any) -> None:
        rows.append({"domain": domain.name, "features": name, **measured(domain, parts, seed), **facts})
        print(json.dumps(rows[-1]), flush=True)

    config = recipe("own-folder")
    steps = passes // config.batch_size
    per_epoch = max(1, int(len(domain.train[0]) * 0.95) // config.batch_size)
    config = dataclasses.replace(config, steps=steps, epochs=-(-steps // per_epoch), seed=seed)
    parts = embedded(backbone_from_onnx(shipped))
    stored = reduction_from_onnx(shipped)
    assert stored is not None
    note("the shipped encoder", [Whitening(*stored)(part) for part in parts])
    note("its weights, PCA fitted to the folder", fitted(parts, POWER))
    backbone, seconds = trained(config, domain, initial_backbone("default", config))
    note("trained on the folder from the shipped weights", fitted(embedded(backbone), POWER), seconds=round(seconds))
    weak = dataclasses.replace(config, **WEAK_COLOURS)
    backbone, seconds = trained(weak, domain, initial_backbone("default", config))
    note("the same, colours changed less", fitted(embedded(backbone), POWER), seconds=round(seconds))
    torch.manual_seed(seed)
    note("random weights", fitted(embedded(build_backbone(config.backbone)), POWER))
    backbone, seconds = trained(config, domain, None)
    note("trained on the folder from random weights", fitted(embedded(backbone), POWER), seconds=round(seconds))
    pixels = [unit_rows(PixelExtractor().embed_squares(squares)) for squares in sides]
    note("pixels", pixels)
    note("whitened pixels", fitted(pixels, POWER))
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [["domain", "features", *COLUMNS, "CPU seconds of training"]]
    lines.append(["---", "---", *["--:"] * (len(COLUMNS) + 1)])
    for row in rows:
        values = [f"{row[column]:.1f}" for column in COLUMNS]
        lines.append([row["domain"], row["features"], *values, str(row.get("seconds", ""))])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domains", nargs="+", metavar="NAME=TRAIN[:TEST]")
    parser.add_argument("--passes", type=int, default=120_000, help="image-passes of each training")
    parser.add_argument("--images", type=int, default=3000, help="training images of a domain, at most")
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--duplicates", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of training, and of the draws that measure")
    parser.add_argument("--out", type=Path, required=True, help="domains that are in it already are not run again")
    given = parser.parse_args()
    shipped = default_encoder_file()
    encoder = Encoder(shipped, device="cpu", threads=1)
    asked = {"passes": given.passes, "images": given.images, "queries": given.queries, "seed": given.seed}
    result: dict[str, Any] = {
        "encoder": encoder.identity, "features": encoder.metadata["features"], **asked, "duplicates": given.duplicates,
        "recipe": dataclasses.asdict(recipe("own-folder")), "version": simsiam_retrieval.__version__,
        "torch": torch.__version__, "python": platform.python_version(), "processor": processor(),
        "cores": os.cpu_count(), "threads": torch.get_num_threads(), "rows": [],
    }  # fmt: skip
    if given.out.exists():
        before = json.loads(given.out.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(result))  # tuples become lists, as in the file
        if any(before[key] != now[key] for key in ("encoder", "recipe", *asked)):
            raise SystemExit(f"{given.out}: of other settings; name another --out")
        result["rows"] = before["rows"]
    done = {row["domain"] for row in result["rows"]}
    for word in given.domains:
        if word.partition("=")[0] not in done:
            domain = read_domain(word, given.images, given.queries, given.duplicates, encoder.image_size)
            result["rows"] += rows_of(domain, shipped, given.passes, given.seed)
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result["rows"]))


if __name__ == "__main__":
    main()
