"""Images per second of a ResNet on a GPU: torch eager and compiled in bfloat16 beside ONNX Runtime, in turns.

``gpu_inference.py OUT.json [--networks resnet18 resnet50] [--size 224] [--batches 1 32 256] [--no-compile]``

Pixels come from the host and vectors go back there, as in indexing. Weights are fresh: speed does not depend on them.
Differences from torch in float32 stand beside the speeds. With ``--device cpu`` it shows that it runs, and no more.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from export_speed import lively
from hardware import processor
from result_file import write_result
from simsiam_retrieval.export.exported_network import UnitVectors  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.graph import PIXELS, network_graph  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.half_precision import in_half  # pyright: ignore[reportMissingImports]

Call = Callable[[np.ndarray], np.ndarray]
PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


def in_torch(module: UnitVectors, device: str, dtype: torch.dtype, *, compiled: bool) -> Call:
    module = module.to(device, memory_format=torch.channels_last)
    network = torch.compile(module, dynamic=False) if compiled else module

    @torch.inference_mode()
    def call(pixels: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(pixels).to(device, memory_format=torch.channels_last)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            return network(x).float().cpu().numpy()

    return call


def in_onnxruntime(graph, device: str) -> Call | None:
    """None where ONNX Runtime has no provider for the device."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=[PROVIDERS[device]])
    if PROVIDERS[device] not in session.get_providers():
        print(
            f"{PROVIDERS[device]} is not used here, its rows are left out: onnxruntime-gpu is needed", file=sys.stderr
        )
        return None
    return lambda pixels: np.asarray(session.run(None, {PIXELS: pixels})[0])


def images_per_second(call: Call, pixels: np.ndarray, seconds: float) -> float:
    images, start = 0, time.perf_counter()
    while images == 0 or time.perf_counter() - start < seconds:
        call(pixels)
        images += len(pixels)
    return images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--networks", nargs="*", default=["resnet18", "resnet50"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 32, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--device", choices=PROVIDERS, default="cuda")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    given = parser.parse_args()

    rows = []
    print("| network | engine | batch | images/s | times eager | largest difference |\n|" + " --- |" * 6)
    for name in given.networks:
        backbone = lively(name).eval()
        graph = network_graph(UnitVectors(backbone), given.size)
        every = {
            "torch float32": in_torch(UnitVectors(backbone), given.device, torch.float32, compiled=False),
            "torch bfloat16": in_torch(UnitVectors(backbone), given.device, torch.bfloat16, compiled=False),
            "ONNX Runtime fp32": in_onnxruntime(graph, given.device),
            "ONNX Runtime fp16": in_onnxruntime(in_half(graph), given.device),
        }
        if given.compile:
            every["torch bfloat16 compiled"] = in_torch(
                UnitVectors(backbone), given.device, torch.bfloat16, compiled=True
            )
        calls = {engine: call for engine, call in every.items() if call is not None}
        generator = np.random.default_rng(0)
        for batch in given.batches:
            pixels = generator.integers(0, 256, (batch, 3, given.size, given.size)).astype(np.float32)
            expected = calls["torch float32"](pixels)
            off = {engine: float(np.abs(call(pixels) - expected).max()) for engine, call in calls.items()}
            speeds: dict[str, list[float]] = {engine: [] for engine in calls}
            for _ in range(given.rounds):
                for engine, call in calls.items():
                    speeds[engine].append(images_per_second(call, pixels, given.seconds))
            eager = statistics.median(speeds["torch bfloat16"])
            for engine, found in speeds.items():
                median = statistics.median(found)
                row = {"network": name, "engine": engine, "batch": batch, "images_per_second": round(median, 1)}
                row |= {"least": round(min(found), 1), "most": round(max(found), 1), "times_eager": median / eager}
                rows.append({**row, "largest_difference": off[engine]})
                print(f"| {name} | {engine} | {batch} | {median:.0f} | {median / eager:.2f} | {off[engine]:.1e} |")
    about = {
        "device": torch.cuda.get_device_name() if given.device == "cuda" else processor(),
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
        "size": given.size,
        "rounds": given.rounds,
        "seconds": given.seconds,
    }
    write_result({**about, "rows": rows}, given.out)


if __name__ == "__main__":
    main()
