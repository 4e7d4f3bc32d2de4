"""Ways to pretrain on a few thousand photos, side by side: ``python benchmarks/small_data.py CLOTHING RESULTS.jsonl``.

CLOTHING holds train/, validation/ and test/ with one subfolder a class. Each variant trains on the pictures of train/
without their labels. Then: kNN (k = 20) of each training photo among the others, which is what decides, since 3,068
photos tell more than 341; kNN of validation and test photos; the same on whitened features. Finished variants
are not run again.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simsiam_retrieval.core.paths import absolute
from simsiam_retrieval.evaluation.extractors import unit_rows
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.images.normalisation import IMAGENET
from simsiam_retrieval.metrics.whitening import fit_whitening
from simsiam_retrieval.training import augmentation, loop
from simsiam_retrieval.training.build_model import build_model
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.initial_weights import initial_backbone
from simsiam_retrieval.training.knn_monitor import folder_labels
from simsiam_retrieval.training.pixel_store import ImageStore, load_store
from simsiam_retrieval.training.recipes import recipe
from simsiam_retrieval.training.run_folder import Run, load_backbone

SIDE = 64  # of views and of what is measured, in pixels
STORED = 192  # side of the squares that centre crops are taken from
NEIGHBOURS, TEMPERATURE = 20, 0.1
WEAK = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05, "grey_probability": 0.0}
SETS = ("train", "validation", "test")

# init: weights to start from; views: changes to the augmentation; all else: settings
VARIANTS: dict[str, dict[str, Any]] = {
    "photos, 20 epochs": {"epochs": 20, "batch_size": 128, "base_lr": 0.05, "weight_decay": 1e-4},
    "lr 0.1, 20 epochs": {"epochs": 20, "base_lr": 0.1},
    "lr 0.2, 20 epochs": {"epochs": 20, "base_lr": 0.2},
    "lr 0.1, 60 epochs": {"epochs": 60, "base_lr": 0.1},
    "weak views, 30 epochs": {
        "epochs": 30, "base_lr": 0.05, "weight_decay": 1e-4, "min_scale": 0.5, "blur": 0.0, "views": WEAK,
    },
    "shipped, lr 0.05, 15 epochs": {"init": "default", "epochs": 15, "base_lr": 0.05, "weight_decay": 1e-4},
    "shipped, lr 0.01, 15 epochs": {"init": "default", "epochs": 15, "base_lr": 0.01, "weight_decay": 1e-4},
    "shipped, lr 0.01, weak views, 15 epochs": {
        "init": "default", "epochs": 15, "base_lr": 0.01, "weight_decay": 1e-4, "min_scale": 0.5, "blur": 0.0,
        "views": WEAK,
    },
    "shipped, lr 0.03, crops from 0.08, 60 epochs": {
        "init": "default", "epochs": 60, "base_lr": 0.03, "min_scale": 0.08,
    },
}  # fmt: skip

Extract = Callable[[Tensor], Tensor]  # float (n, 3, SIDE, SIDE), normalised -> (n, d)


def features(extract: Extract, store: ImageStore, side: int = SIDE) -> Tensor:
    """Unit features of centre crops, (n, d)."""
    settings = augmentation.Augmentation(image_size=side)
    drawn, found = augmentation.centre(torch.from_numpy(store.aspect)), []
    for rows in torch.arange(len(store)).split(128):
        part = augmentation.Parameters(*(tensor[rows] for tensor in drawn))
        with torch.inference_mode():
            found.append(extract(augmentation.apply(settings, torch.from_numpy(store.take(rows.numpy())), part)))
    return unit_rows(torch.cat(found).numpy())


def knn(train: Tensor, labels: Tensor, queries: Tensor, truth: Tensor, *, leave_out_self: bool = False) -> float:
    """Top-1 in percent of weighted kNN."""
    similarity = queries @ train.T
    if leave_out_self:
        similarity.fill_diagonal_(-torch.inf)
    near, index = similarity.topk(NEIGHBOURS)
    votes = torch.zeros(len(queries), int(labels.max()) + 1).scatter_add_(1, labels[index], (near / TEMPERATURE).exp())
    return round(100 * float((votes.argmax(dim=1) == truth).float().mean()), 2)


def measure(extract: Extract, stores: dict[str, ImageStore], labels: dict[str, Tensor], side: int = SIDE) -> dict:
    """kNN top-1 of all sets, plain and whitened."""
    found = {name: features(extract, store, side) for name, store in stores.items()}
    whiten = fit_whitening(found["train"])
    result = {}
    for kind, vectors in (("plain", found), ("whitened", {name: whiten(x) for name, x in found.items()})):
        train, own = vectors["train"], labels["train"]
        result[kind] = {
            "train, leave one out": knn(train, own, train, own, leave_out_self=True),
            **{name: knn(train, own, vectors[name], labels[name]) for name in SETS[1:]},
        }
    return result


def trained(variant: dict[str, Any], data: Path, folder: Path) -> nn.Module:
    """The backbone of one variant."""
    settings = dict(variant)
    init, changes = settings.pop("init", None), settings.pop("views", {})
    config = dataclasses.replace(recipe("small-data"), image_size=SIDE, held_out=128, **settings)
    usual = loop.augmentation_of
    loop.augmentation_of = lambda given: dataclasses.replace(usual(given), **changes)
    try:
        store = load_store(list_images([data]).images, config.store_side)
        folder.mkdir(parents=True)
        Run(folder).write(config)
        initial = None if init is None else initial_backbone(init, config)
        loop.train(config, store, Run(folder), device=loop.pick_device(), initial=initial)
    finally:
        loop.augmentation_of = usual
    return load_backbone(folder)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path, help="file that a line of JSON is added to for each variant")
    parser.add_argument("--runs", type=Path, default=Path("runs/small-data"))
    options = parser.parse_args()

    stores = {name: load_store(list_images([options.data / name]).images, STORED) for name in SETS}
    labels = {
        name: folder_labels([file.path for file in store.files], [absolute(options.data / name)])
        for name, store in stores.items()
    }
    lines = options.results.read_text(encoding="utf-8").splitlines() if options.results.exists() else []
    done = {json.loads(line)["name"] for line in lines}

    def keep(name: str, result: dict, **facts: Any) -> None:
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, **facts, "knn": result}) + "\n")
        print(name, result)

    torch.manual_seed(0)
    networks = {
        "random weights": build_model(Config()).backbone.eval(),
        "shipped encoder": initial_backbone("default", Config()).eval(),
    }
    for name, network in networks.items():
        if name not in done:
            keep(name, measure(network, stores, labels))
    if "raw pixels, 32 x 32" not in done:
        mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
        keep("raw pixels, 32 x 32", measure(lambda x: (x * std + mean).flatten(1), stores, labels, side=32))
    for name, variant in VARIANTS.items():
        if name not in done:
            began = time.monotonic()
            folder = options.runs / f"{np.datetime64('now')}".replace(":", "")
            backbone = trained(variant, options.data / "train", folder)
            facts = {key: value for key, value in variant.items() if key != "views"}
            keep(
                name,
                measure(backbone, stores, labels),
                settings=facts,
                minutes=round((time.monotonic() - began) / 60, 1),
            )


if __name__ == "__main__":
    main()
