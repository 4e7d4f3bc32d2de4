"""What learns most in equal CPU time: ``python benchmarks/recipe_study.py FOLDER… --test NAME=TRAIN:TEST … --out DIR``.

Every variant trains from random weights on the images of the FOLDERs, without labels, for the same CPU seconds of one
thread. A short trial measures its seconds a step; the number of steps, and with it the cosine schedule, follows.
Training halts at each third of the time. Then the network is measured on labelled images: top-1 of 20 neighbours and
of a linear classifier, on features of the last stage (averaged) and on those of the middle (stage 2 on a 4 x 4 grid and
stage 3 on a 2 x 2 grid, reduced by PCA to 256 numbers, power 0.5). All seeds of a variant start from different weights
and see different views. ``DIR/runs.jsonl`` gets a line for each run; runs that are there are not repeated. At the end,
and with ``--report`` alone, the table and the plot over CPU seconds are written from it.
"""

import argparse
import contextlib
import dataclasses
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from features import Measured, squares_of, top1
from hardware import processor
from numpy.typing import NDArray
from torch import Tensor, nn

from simsiam_retrieval.evaluation.linear_probe import fit
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.methods.feature_description import Features
from simsiam_retrieval.training.build_model import build_model
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.loop import Interrupted, train
from simsiam_retrieval.training.pixel_store import ImageStore, load_store
from simsiam_retrieval.training.recipes import recipe
from simsiam_retrieval.training.run_folder import Run, load_backbone
from simsiam_retrieval.training.run_options import Options

SIDE = 64  # of the images that are measured, in pixels
STORE = 72  # side of the squares that views are cut from
GALLERY, QUERIES, FITTED = 2500, 1500, 2500
PARTS = 3  # measurements in a run
TRIAL = (4, 12)  # steps that do not count, and steps that do
SMALL = {"image_size": 32, "min_scale": 0.05, "batch_size": 512, "base_lr": 0.1, "weight_decay": 5e-4}
SIMCLR = {
    "method": "simclr", "base_lr": 0.1, "weight_decay": 5e-4, "temperature": 0.2, "projector_layers": 2,
    "projector_hidden_dim": 1024,
}  # fmt: skip

VARIANTS: dict[str, dict[str, Any]] = {
    "SimSiam, 64 px": {},
    "SimSiam, 64 px, guided stop-gradient": {"guided": True},
    "SimSiam, 64 px, 2 small views and a cutout, own predictors": {"small_views": 2, "cutout_views": 1},
    "SimSiam, 64 px, 2 small views and a cutout, shared predictor": {
        "small_views": 2, "cutout_views": 1, "view_predictors": "shared",
    },
    "SimSiam, 64 px, learning rate 0.1, warm-up": {"base_lr": 0.1, "warmup_epochs": 0.05},
    "SimSiam, 32 px": SMALL,
    "BYOL, 32 px": {**SMALL, "method": "byol", "target_momentum": 0.99},
    "SimCLR, 64 px": SIMCLR,
    "SimCLR, 32 px": SMALL | SIMCLR,
    "SimCLR, 32 px, three stages": {**SMALL, **SIMCLR, "backbone": "resnet18-3stages"},
    "SimCLR, 32 px, three stages, LARS": {
        **SMALL, **SIMCLR, "backbone": "resnet18-3stages", "optimizer": "lars", "base_lr": 0.3, "weight_decay": 1e-6,
        "warmup_epochs": 0.1,
    },
    "SimSiam, 32 px, three stages": {**SMALL, "backbone": "resnet18-3stages"},
    "SimCLR, 32 px, three stages, recompressed": {
        **SMALL, **SIMCLR, "backbone": "resnet18-3stages", "recompress": 0.5,
    },
}  # fmt: skip


def config_of(settings: dict[str, Any], seed: int) -> Config:
    """The settings of a variant: those of the recipe photos at 64 px where it does not say otherwise."""
    usual = recipe("photos", settings.get("method", "simsiam"))
    given = {"image_size": 64, "store_size": STORE, "held_out": 0, "epochs": 100_000, "seed": seed}
    config = dataclasses.replace(usual, **(given | settings))
    config.check()
    return config


def seconds_a_step(config: Config, store: ImageStore) -> float:
    """CPU seconds, measured by a trial that is thrown away."""
    times: list[float] = []

    def enough() -> bool:
        times.append(time.process_time())
        return len(times) > sum(TRIAL)

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Interrupted):
        train(config, store, Run(Path(folder)), device=torch.device("cpu"), enough=enough, options=quiet())
    return (times[-1] - times[TRIAL[0]]) / TRIAL[1]


def quiet() -> Options:
    return Options(checkpoint_minutes=10_000)


class Tests:
    """Labelled images, read once."""

    def __init__(self, words: list[str]) -> None:
        self.sets: dict[str, tuple[NDArray[np.uint8], list[str], NDArray[np.uint8], list[str]]] = {}
        for word in words:
            name, _, both = word.partition("=")
            gallery, queries = both.split(":")
            bank, classes, _ = squares_of([Path(gallery)], GALLERY, SIDE)
            asked, truth, _ = squares_of([Path(queries)], QUERIES, SIDE)
            self.sets[name] = bank, classes, asked, truth

    def measure(self, backbone: nn.Module) -> dict[str, dict[str, float]]:
        """Top-1 in percent for each set."""
        last = "stage4" if list(backbone.get_submodule("layer4").children()) else "stage3"
        middle = Features.parse("stage2@4x4,stage3@2x2").reduced(256, 0.5)
        found: dict[str, dict[str, float]] = {}
        for name, (bank, classes, asked, truth) in self.sets.items():
            measured = Measured(backbone.eval(), [Features.parse(last), middle], SIDE)
            measured.fit(bank[:FITTED])
            row = found[name] = {}
            both = zip(measured.vectors(bank), measured.vectors(asked), strict=True)
            for kind, (gallery, queries) in zip(("last", "middle"), both, strict=True):
                row[f"{kind}, kNN"] = round(100 * top1(gallery, classes, queries, truth), 2)
                row[f"{kind}, linear"] = round(100 * linear(gallery, classes, queries, truth), 2)
        return found


def linear(bank: Tensor, classes: list[str], queries: Tensor, truth: list[str]) -> float:
    names = {name: number for number, name in enumerate(sorted({*classes, *truth}))}
    probe = fit(bank, torch.tensor([names[name] for name in classes]), len(names), steps=400)
    right = probe.scores(queries).argmax(dim=1) == torch.tensor([names[name] for name in truth])
    return float(right.double().mean())


def run(config: Config, store: ImageStore, tests: Tests, budget: float) -> dict[str, Any]:
    """Train for ``budget`` CPU seconds and measure at each part of them."""
    each = seconds_a_step(config, store)
    steps = max(PARTS, int(budget / each))
    config = dataclasses.replace(config, steps=steps)
    points: list[dict[str, Any]] = []
    used = 0.0
    with tempfile.TemporaryDirectory() as folder:
        there = Run(Path(folder))
        there.write(config)
        done = 0
        for part in range(1, PARTS + 1):
            until = round(steps * part / PARTS)
            left, start = until - done, time.process_time()

            def enough() -> bool:
                nonlocal left
                left -= 1
                return left <= 0

            with contextlib.suppress(Interrupted):
                train(config, store, there, device=torch.device("cpu"), resume=done > 0, enough=enough, options=quiet())
            used += time.process_time() - start
            done = until
            points.append(
                {"step": done, "cpu_seconds": round(used, 1), "top1": tests.measure(load_backbone(there.path)[0])}
            )
    return {"steps": steps, "images": steps * config.batch_size, "seconds_a_step": round(each, 4), "points": points}


def report(out: Path) -> None:
    """Table and plot of what ``runs.jsonl`` holds."""
    rows = [json.loads(line) for line in (out / "runs.jsonl").read_text(encoding="utf-8").splitlines()]
    sets = list(rows[0]["points"][-1]["top1"])
    kinds = ["last, kNN", "last, linear", "middle, kNN", "middle, linear"]
    names = list(dict.fromkeys(row["variant"] for row in rows))
    lines = [["variant", "seeds", "images", *(f"{name}: {kind}" for name in sets for kind in kinds)]]
    lines.append(["---", *["--:"] * (len(lines[0]) - 1)])
    for name in names:
        own = [row for row in rows if row["variant"] == name]
        cells = []
        for test in sets:
            for kind in kinds:
                values = [row["points"][-1]["top1"][test][kind] for row in own]
                spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.1f}{spread}")
        images = statistics.mean(row["images"] for row in own)
        lines.append([name, str(len(own)), f"{images:,.0f}", *cells])
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(sets), figsize=(6 * len(sets), 5), layout="constrained", squeeze=False)
    for axis, test in zip(axes[0], sets, strict=True):
        for index, name in enumerate(names):
            own = [row for row in rows if row["variant"] == name]
            points = list(zip(*(row["points"] for row in own), strict=True))
            seconds = [statistics.mean(one["cpu_seconds"] for one in point) for point in points]
            values = [statistics.mean(one["top1"][test]["middle, kNN"] for one in point) for point in points]
            style = ("-", "--", ":")[index // 10]
            axis.plot(
                seconds, values, style, marker="o", markersize=3, linewidth=1.2, label=name, color=f"C{index % 10}"
            )
        axis.set(xlabel="CPU seconds of training, one thread", ylabel="kNN top-1 in percent, middle stages", title=test)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, loc="outside lower center", ncols=2)
    figure.savefig(out / "over-time.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--test", nargs="+", default=[], metavar="NAME=TRAIN:TEST")
    parser.add_argument("--cpu-minutes", type=float, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", action="store_true", help="only the table and the plot, of what is there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    lines = given.out / "runs.jsonl"
    if not given.report:
        before = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
        done = {(row["variant"], row["seed"]) for row in before}
        tests = Tests(given.test)
        store = load_store(list_images(given.folders).images, STORE)
        facts = {
            "cpu_minutes": given.cpu_minutes, "data": ["/".join(folder.parts[-2:]) for folder in given.folders],
            "stored": len(store),
            "gallery": GALLERY, "queries": QUERIES, "processor": processor(), "torch": torch.__version__,
            "python": platform.python_version(),
        }  # fmt: skip

        def keep(variant: str, seed: int, found: dict[str, Any]) -> None:
            with lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"variant": variant, "seed": seed, **found, **facts}) + "\n")
            print(variant, seed, found["points"][-1], flush=True)

        for seed in given.seeds:
            if ("random weights", seed) not in done:
                torch.manual_seed(seed)
                random = tests.measure(build_model(Config()).backbone)
                points = [{"step": 0, "cpu_seconds": 0.0, "top1": random}] * PARTS
                keep("random weights", seed, {"steps": 0, "images": 0, "seconds_a_step": 0, "points": points})
            for variant in given.variants:
                if (variant, seed) not in done:
                    keep(variant, seed, run(config_of(VARIANTS[variant], seed), store, tests, 60 * given.cpu_minutes))
    report(given.out)


if __name__ == "__main__":
    main()
