"""Milliseconds of each way to compute a convolution on a CPU, by shape: ``python benchmarks/convolution_ways.py``.

What the rules in ``methods/small_map_layers.py`` rest on. One thread; CPU time, the least of some runs, so that other
programs on the machine matter little. The shapes are those of ResNet-18's stages at 32 and 64 px.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from hardware import processor
from torch import Tensor

from simsiam_retrieval.methods.small_map_layers import choose
from simsiam_retrieval.methods.small_maps import Shape, Ways, convolve
from simsiam_retrieval.training.freed_memory import keep_freed_memory

# channels in and out, kernel, stride, side of the input map
SHAPES = [
    (64, 64, 3, 1, 16),
    (64, 128, 3, 2, 16),
    (128, 128, 3, 1, 8),
    (128, 256, 3, 2, 8),
    (128, 256, 1, 2, 8),
    (256, 256, 3, 1, 4),
    (256, 512, 3, 2, 4),
    (256, 512, 1, 2, 4),
    (512, 512, 3, 1, 2),
    (256, 256, 3, 1, 2),
    (256, 512, 3, 2, 2),
    (512, 512, 3, 1, 1),
]
TYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
DENSE_BLOCKS = 64  # beyond, the dense matrix is hopeless and slow to try


def least(call: Callable[[], object], runs: int) -> float:
    """Milliseconds of CPU time."""
    call()
    took = []
    for _ in range(runs):
        began = time.process_time()
        call()
        took.append(time.process_time() - began)
    return 1000 * min(took)


def measure(shape: Shape, images: int, dtype: torch.dtype, ways: Ways, runs: int) -> list[float]:
    """Milliseconds of the values, the gradient of the input and that of the weight."""

    def tensor(*size: int) -> Tensor:
        return torch.randn(size).to(dtype, memory_format=torch.channels_last)

    x, weight = (
        tensor(images, shape.channels_in, *shape.map_in),
        tensor(shape.channels_out, shape.channels_in, *shape.kernel),
    )
    weight = weight.float()
    grad = tensor(images, shape.channels_out, *shape.map_out)
    found = [least(lambda: convolve(x, weight, shape, ways), runs)]
    for wanted in (x, weight):
        wanted.requires_grad_()
        y = convolve(x, weight, shape, ways)
        found.append(least(lambda w=wanted, v=y: torch.autograd.grad(v, w, grad, retain_graph=True), runs))
        wanted.requires_grad_(False)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--types", nargs="+", choices=TYPES, default=["bfloat16"])
    parser.add_argument("--out", type=Path, help="JSON file for the report")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    torch.manual_seed(0)
    amx = torch.cpu._is_amx_tile_supported()
    print(f"{processor()}, AMX: {amx}, torch {torch.__version__}, {options.images} images, one thread; milliseconds of")
    print("values / gradient of the input / gradient of the weight\n")
    print(
        "| type | convolution | library | patches, taps | dense, taps | chosen |\n| --- | --- | --- | --- | --- | --- |"
    )
    rows = []
    for name in options.types:
        for channels_in, channels_out, kernel, stride, side in SHAPES:
            pad = kernel // 2
            shape = Shape(channels_in, channels_out, (kernel, kernel), (stride, stride), (pad, pad), (side, side))
            milliseconds = {}
            for way in ("library", "patches", "dense"):
                if way != "dense" or shape.blocks <= DENSE_BLOCKS:
                    ways = Ways(way, way, "library" if way == "library" else "taps")
                    milliseconds[way] = measure(shape, options.images, TYPES[name], ways, options.runs)
            chosen = choose(shape, options.images, TYPES[name], matrix_unit=amx)
            said = f"{channels_in} to {channels_out}, {kernel}x{kernel}/{stride}, map {side}x{side}"
            cells = [
                " / ".join(f"{value:.2f}" for value in milliseconds[way]) if way in milliseconds else ""
                for way in ("library", "patches", "dense")
            ]
            print(f"| {name} | {said} | {' | '.join(cells)} | {', '.join(chosen)} |", flush=True)
            rows.append({"type": name, "convolution": said, "milliseconds": milliseconds, "chosen": chosen})
    if options.out:
        report = {"cpu": processor(), "amx": amx, "torch": torch.__version__, "images": options.images, "rows": rows}
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
