"""``python -m simsiam_retrieval.transfer RUN_OR_ENCODER --train DIR``."""

import dataclasses
import json
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import tyro

from .core import cli
from .core.errors import UserError
from .detection.detection_settings import Settings, check_lrs, recipe, seeds_from

EXAMPLES = """examples:
  transfer runs/photos --train ./VOC2007 --test-split test"""


@dataclass(frozen=True)
class Arguments(Settings):
    """Fine-tune a detector from pretrained weights, beside the same network with random ones (the paper's table 5).

    Faster R-CNN, or with --masks Mask R-CNN, on a folder in VOC's or COCO's layout, with COCO's metrics. Ctrl-C keeps
    a checkpoint; the same command with the same --out continues.
    """

    encoders: tyro.conf.Positional[tuple[str, ...]] = ("default",)
    """Weights to start from: runs, .onnx encoders, hf://OWNER/NAME, default (the shipped one), or files for convert."""
    train: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Folder to train on, in VOC's layout (JPEGImages, Annotations, ImageSets) or COCO's (images, annotations).
    May be repeated, as for VOC 07+12."""
    test: Path | None = None
    """Folder to measure on. Default: the first of --train."""
    train_split: str | None = None
    """Split to train on. Default: train, or trainval."""
    val_split: str | None = None
    """Split that selects the learning rate. Default: val."""
    test_split: str | None = None
    """Split to measure on. Default: test, or val."""
    lr: tuple[float, ...] = (0.02,)
    """Learning rates; of several, each initialisation keeps the one with the best AP on the validation split."""
    seeds: int = 1
    """Number of seeds, for mean and standard deviation.
    A seed sets the heads, the order, the crops and the random weights."""
    seed: int = 0
    """The first seed."""
    random: bool = True
    """Also fine-tune from random weights."""
    backbone: Literal["resnet18", "resnet34", "resnet50"] | None = None
    """Network of the random weights. Default: that of the first encoder."""
    out: Path | None = None
    """Folder of the comparison. Default: a new one under runs/."""
    json: bool = False
    """Print JSON instead of a table."""
    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:N."""
    workers: int | None = None
    """Threads that decode images during training. Default: 4 with a GPU, none without."""
    checkpoint_minutes: float = 5
    """Minutes between checkpoints; 0 writes one after every step."""


def main() -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        UserError: An option or an input cannot work.
    """
    argv = sys.argv[1:]
    arguments = cli.parse(Arguments, "transfer", argv, default=_defaults(argv), examples=EXAMPLES)
    settings = Settings(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Settings)})
    settings.check()
    if not arguments.train:
        raise UserError("give a folder with boxes to train on: --train DIR, in VOC's or COCO's layout")
    for folder in [*arguments.train, *([arguments.test] if arguments.test else [])]:
        if not folder.expanduser().is_dir():
            raise UserError(f"{folder}: no such folder")
    lrs, seeds = check_lrs(arguments.lr), seeds_from(arguments.seed, arguments.seeds)
    # imported here, because torch takes seconds and --help must be fast
    try:
        import pycocotools  # noqa: F401
    except ImportError:
        raise UserError("COCO's metrics need pycocotools; pip install 'simsiam-retrieval[transfer]'") from None
    from .detection.compare_initialisations import Plan, compare
    from .detection.comparison_report import markdown
    from .detection.dataset_parts import read_parts
    from .detection.detection_device import pick_machine
    from .detection.initialisations import RANDOM, open_initialisations

    names = list(arguments.encoders)
    if arguments.random and RANDOM not in names:
        names.append(RANDOM)
    # before reading the images, which takes long
    machine = pick_machine(settings, arguments.device, arguments.workers, arguments.checkpoint_minutes)
    plan = Plan(open_initialisations(names, arguments.backbone), lrs, seeds)
    parts = read_parts(
        arguments.train,
        arguments.test,
        train_split=arguments.train_split,
        val_split=arguments.val_split,
        test_split=arguments.test_split,
        choosing=len(lrs) > 1,
        masks=settings.masks,
        workers=arguments.workers,
    )
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    out = arguments.out or Path("runs") / f"transfer-{stamp}"
    content = compare(plan, parts, settings, out, machine)
    if content is None:
        cli.remark(f"stopped; run the same command{'' if arguments.out else f' with --out {out}'} to continue")
        return cli.CTRL_C
    print(json.dumps(content, indent=2) if arguments.json else markdown(content))
    cli.remark(f"results in {out}")
    return cli.DONE


def _defaults(argv: list[str]) -> Arguments:
    """The recipe's settings, so that help shows them and options override them."""
    name = "small"
    for index, word in enumerate(argv):
        if word == "--recipe" and index + 1 < len(argv):
            name = argv[index + 1]
        elif word.startswith("--recipe="):
            name = word.partition("=")[2]
    return Arguments(**dataclasses.asdict(recipe(name)))


if __name__ == "__main__":
    cli.run(main)
