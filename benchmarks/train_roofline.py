"""How near training comes to the limit: ``python benchmarks/train_roofline.py REPORT.json [--out FILE.json]``.

REPORT is what ``benchmarks/train_throughput.py`` wrote on this machine. The limit: the operations of a step (PyTorch's
own counter; values and both gradients of every convolution and product) at the speed of large bfloat16 products of
matrices on all cores. Direct convolutions cannot be faster than that.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import torch
from hardware import processor
from torch.utils.flop_counter import FlopCounterMode
from training_contenders import CASES

from simsiam_retrieval.training.build_model import build_model
from simsiam_retrieval.training.config import Config

SIDES = (1024, 2048, 4096)  # of the products whose speed is the limit


def operations(config: Config) -> int:
    """Floating-point operations of a step, per image (two views)."""
    model = build_model(config).train()
    views = [torch.rand(2, 3, config.image_size, config.image_size) for _ in range(2)]
    with FlopCounterMode(display=False) as counter:
        model(*views).loss.backward()
    return counter.get_total_flops() // 2


def product_speed() -> float:
    """Operations a second of the fastest of some large bfloat16 products."""
    best = 0.0
    for side in SIDES:
        left, right = (torch.randn(side, side).bfloat16() for _ in range(2))
        for _ in range(7):
            start = time.perf_counter()
            torch.mm(left, right)
            best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    report = json.loads(given.report.read_text(encoding="utf-8"))
    speed = product_speed()
    rows = {}
    print("| case | operations an image, 10^9 | limit, images/s | ours | before |\n| --- | --: | --: | --: | --: |")
    for name, measured in report["training"].items():
        config = dataclasses.replace(CASES[name], batch_size=measured["batch_size"])
        each = operations(config)
        limit = speed / each
        shares = {who: value / limit for who, value in measured["median"].items()}
        rows[name] = {"operations_per_image": each, "limit_images_per_second": limit, "share_of_limit": shares}
        cells = (f"{100 * shares[who]:.0f} %" for who in ("ours", "before") if who in shares)
        print(f"| {name} | {each / 1e9:.2f} | {limit:,.0f} | {' | '.join(cells)} |")
    if given.out:
        facts = {"processor": processor(), "threads": torch.get_num_threads(), "torch": torch.__version__}
        text = json.dumps({**facts, "product_operations_per_second": speed, "cases": rows}, indent=1)
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
