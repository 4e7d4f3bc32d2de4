"""Training speed beside two peers, on one machine, in one run: ``python benchmarks/train_throughput.py IMAGES``.

Contenders take turns (A B C A B C ...), each a few seconds a round; medians over rounds are reported.

- ours: the package's own loop: images decoded once, both views made on the device in batches
- before: the same loop with PyTorch's own convolutions, ``--no-fast-convolutions``
- plain: the usual PyTorch loop: PIL transforms in DataLoader workers, one a core, both views from one decode
- lightly: lightly's SimSiam heads, loss, transform and data set, as in its documentation

All train the same torchvision ResNet at the same batch size and precision, SGD with momentum. With ``--augmentation``
the two ways to make views are measured alone, one thread each, images in memory.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from hardware import processor
from torchvision.transforms.functional import to_pil_image
from training_contenders import CASES, CONTENDERS, Case, Clock, Step, pil_views

from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.images.worker_pool import available_cpus
from simsiam_retrieval.training import augmentation
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.freed_memory import keep_freed_memory
from simsiam_retrieval.training.loop import _bfloat16_helps, augmentation_of, pick_device
from simsiam_retrieval.training.pixel_store import load_store


def run_for(
    steps: Step, seconds: float, warm: int, device: torch.device, now: Callable[[], float] = time.perf_counter
) -> tuple[int, float, dict[str, float]]:
    """Steps done, seconds taken and seconds by part; ``warm`` steps before do not count."""
    for _ in range(warm):
        next(steps)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    parts: dict[str, float] = {}
    began, count = now(), 0
    while count < 2 or now() - began < seconds:
        for part, spent in next(steps).items():
            parts[part] = parts.get(part, 0.0) + spent
        count += 1
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return count, now() - began, parts


def measure(
    name: str, case: Case, contenders: list[str], rounds: int, seconds: float, *, cpu_time: bool = False
) -> dict:
    """Rates of all contenders, in turns."""
    steps = {contender: CONTENDERS[contender](case) for contender in contenders}
    # a paused DataLoader fills its queue: those batches are not counted
    queued = 2 * available_cpus() + 1
    rates: dict[str, list[float]] = {contender: [] for contender in contenders}
    split: dict[str, float] = {}
    for number in range(rounds):
        for contender in contenders:
            warm = 1 if contender in ("ours", "before") else queued
            now = time.process_time if cpu_time else time.perf_counter
            count, took, _ = run_for(steps[contender], seconds, warm + 2 * (number == 0), case.device, now)
            rates[contender].append(count * case.config.batch_size / took)
            print(f"{name} round {number + 1}: {contender} {rates[contender][-1]:.1f} images/s", file=sys.stderr)
    if "ours" in steps:
        Clock.split = True
        _, took, split = run_for(steps["ours"], seconds, 1, case.device)
        Clock.split = False
        split = {part: spent / took for part, spent in split.items()}
    for generator in steps.values():
        generator.close()
    median = {contender: statistics.median(values) for contender, values in rates.items()}
    return {"batch_size": case.config.batch_size, "images_per_second": rates, "median": median, "split": split}


def augmentation_alone(files: list[Path], rounds: int, seconds: float) -> dict:
    """Views a second from decoded images in memory: ours in batches, PIL's one by one; a thread each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    results = {}
    for size in (32, 128, 224):
        config = CASES["resnet18-32"] if size == 32 else Config(image_size=size)
        store = load_store(list_images(files[:256]).images, config.store_side)
        pixels, aspect = torch.from_numpy(store.take(np.arange(len(store)))), torch.from_numpy(store.aspect)
        pictures = [to_pil_image(image) for image in pixels]
        settings, transform = augmentation_of(config), pil_views(config)

        def batch(step: int, s=settings, p=pixels, a=aspect) -> int:
            augmentation.apply(s, p, augmentation.draw(s, a, torch.Generator().manual_seed(step)))
            return len(p)

        def one(step: int, t=transform, p=pictures) -> int:
            return len(t(p[step % len(p)]))

        rates: dict[str, list[float]] = {"ours": [], "pil": []}
        for _ in range(rounds):
            for name, make in (("ours", batch), ("pil", one)):
                make(0)
                began, views, step = time.perf_counter(), 0, 0
                while time.perf_counter() - began < seconds:
                    views, step = views + make(step), step + 1
                rates[name].append(views / (time.perf_counter() - began))
        median = {name: statistics.median(values) for name, values in rates.items()}
        results[str(size)] = {"views_per_second": rates, "median": median, "ratio": median["ours"] / median["pil"]}
        print(f"augmentation alone at {size} px: {results[str(size)]['ratio']:.2f} x PIL", file=sys.stderr)
    torch.set_num_threads(threads)
    return results


def hardware(device: torch.device) -> dict:
    return {
        "cpu": processor(),
        "cores": available_cpus(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
    }


def table(report: dict) -> str:
    """The report in Markdown."""
    machine = report["hardware"]
    lines = [f"{machine['gpu'] or machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}", ""]
    if report["training"]:
        lines += _training_tables(report)
    if report["augmentation"]:
        lines += ["", "| views alone, one thread | ours, views/s | PIL, views/s | ratio |", "| --- | --- | --- | --- |"]
        for size, result in report["augmentation"].items():
            median = result["median"]
            lines.append(f"| {size} px | {median['ours']:.0f} | {median['pil']:.0f} | {result['ratio']:.1f} |")
    return "\n".join(lines)


def _training_tables(report: dict) -> list[str]:
    lines = []
    lines += ["| case | batch | contender | images/s, median | of ours |", "| --- | --- | --- | --- | --- |"]
    for name, case in report["training"].items():
        for contender, rate in case["median"].items():
            share = rate / case["median"]["ours"] if "ours" in case["median"] else float("nan")
            lines.append(f"| {name} | {case['batch_size']} | {contender} | {rate:.1f} | {share:.2f} |")
    lines += ["", "| case | data | augment | forward | backward | optimizer |", "| --- | --- | --- | --- | --- | --- |"]
    for name, case in report["training"].items():
        parts = ("data", "augment", "forward", "backward", "optimizer")
        lines.append(f"| {name} | " + " | ".join(f"{100 * case['split'].get(part, 0):.1f} %" for part in parts) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of images, at least 256")
    parser.add_argument("--small-images", type=Path, help="folder of images of about 32 px, for resnet18-32")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES), help="none: views alone")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of a round")
    parser.add_argument("--batch-size", type=int, help="instead of the case's own")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count this process's CPU time, one thread, for a machine that is busy with other things; "
        "not for contenders with worker processes",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--augmentation", action="store_true", help="also measure the two ways to make views alone")
    parser.add_argument("--out", type=Path, help="JSON file for the report")
    options = parser.parse_args()

    if options.cpu_time:
        if not set(options.contenders) <= {"ours", "before"}:
            parser.error("--cpu-time sees this process alone: --contenders ours before")
        torch.set_num_threads(1)
    torch.manual_seed(0)
    device = pick_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()  # as pretrain does; it serves all contenders
    report = {
        "hardware": hardware(device),
        "settings": {"rounds": options.rounds, "seconds": options.seconds, "cpu_time": options.cpu_time, "seed": 0},
        "training": {},
        "augmentation": {},
    }

    def keep() -> None:
        if options.out:  # after each case, so that a run that is cut keeps what it measured
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

    for name in options.cases:
        config = CASES[name]
        if options.batch_size:
            config = Config(**{**vars(config), "batch_size": options.batch_size})
        folder = options.small_images if "-32" in name and options.small_images else options.images
        files = [file.path for file in list_images([folder]).images][:: 1 if device.type == "cuda" else 4]
        case = Case(config, files, device, _bfloat16_helps(device, config))
        report["training"][name] = measure(
            name, case, options.contenders, options.rounds, options.seconds, cpu_time=options.cpu_time
        )
        keep()
    if options.augmentation:
        files = [file.path for file in list_images([options.images]).images]
        report["augmentation"] = augmentation_alone(files, options.rounds, options.seconds / 2)
    keep()
    print(table(report))


if __name__ == "__main__":
    main()
