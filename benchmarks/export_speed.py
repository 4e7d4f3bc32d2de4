"""Images per second of an exported encoder beside torch: ``export_speed.py OUT [--run RUN --held-out FOLDER]``.

Torch eager, torch.compile, ONNX Runtime in fp32, fp16 and int8, and OpenVINO where it is installed, of ResNet-18 and
ResNet-50 at 224 px (fresh weights: speed does not depend on them), and of a run at its own size, with recall@10 of
its neighbours on images that were held out. First the thread settings are measured, at batch 8, and the best of each
engine is kept. Then the engines take turns, round after round; the table has medians over rounds.

Everything gets float pixels, preprocessing is left out: torch does not have it. Writes OUT.json and OUT.md.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from hardware import processor
from simsiam_retrieval.export.export_run import Settings, export_files  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.exported_network import UnitVectors  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.graph import PIXELS, network_graph  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.half_precision import in_half  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.int8 import calibrate, has_vnni  # pyright: ignore[reportMissingImports]
from torch import nn

from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.training.run_folder import load_backbone

Call = Callable[[np.ndarray], object]


@dataclass(frozen=True)
class Row:
    """One engine on one network at one batch size."""

    network: str
    engine: str
    batch: int
    threads: int
    images_per_second: float  # median over rounds, wall clock
    least: float
    most: float
    images_per_cpu_second: float  # median; of all threads together, for machines that are not quiet
    against_eager: float  # images_per_second over torch eager's


def torch_eager(module: nn.Module, threads: int) -> Call:
    def call(pixels: np.ndarray) -> object:
        with torch.inference_mode():
            return module(torch.from_numpy(pixels)).numpy()

    return _with_threads(call, threads)


def torch_compiled(module: nn.Module, threads: int) -> Call:
    compiled = torch.compile(module, dynamic=False)

    def call(pixels: np.ndarray) -> object:
        with torch.inference_mode():
            return compiled(torch.from_numpy(pixels)).numpy()

    return _with_threads(call, threads)


def _with_threads(call: Call, threads: int) -> Call:
    def timed(pixels: np.ndarray) -> object:
        torch.set_num_threads(threads)
        return call(pixels)

    return timed


def ort(graph: onnx.ModelProto, threads: int, provider: str = "CPUExecutionProvider") -> Call:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=[provider])
    if provider not in session.get_providers():
        raise RuntimeError(f"{provider} is not used")
    return lambda pixels: session.run(None, {PIXELS: pixels})


def openvino(graph: onnx.ModelProto, threads: int, arithmetic: str) -> Call:
    import openvino as ov  # pyright: ignore[reportMissingImports]

    core = ov.Core()
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(graph, Path(folder) / "network.onnx")
        # left alone, it takes bfloat16 where the processor has it, for files in float32
        config = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": arithmetic,
        }
        compiled = core.compile_model(core.read_model(Path(folder) / "network.onnx"), "CPU", config)
    return lambda pixels: compiled([pixels])


def has_openvino() -> bool:
    try:
        import openvino  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    return True


def engines(module: UnitVectors, size: int, squares: np.ndarray, *, compiled: bool) -> dict[str, Callable[[int], Call]]:
    """Ways to run ``module``, by name: each takes the number of threads."""
    fp32 = network_graph(module, size)
    fp16, int8 = in_half(fp32), calibrate(fp32, squares).quantised()
    found: dict[str, Callable[[int], Call]] = {"torch eager": lambda threads: torch_eager(module, threads)}
    if compiled:
        found["torch.compile"] = lambda threads: torch_compiled(module, threads)
    graphs = {"fp32": fp32, "fp16": fp16, "int8": int8}
    for name, graph in graphs.items():
        found[f"ONNX Runtime {name}"] = lambda threads, graph=graph: ort(graph, threads)
    if has_openvino():
        for name, graph, arithmetic in (("fp32", fp32, "f32"), ("bf16", fp32, "bf16"), ("int8", int8, "f32")):
            found[f"OpenVINO {name}"] = lambda threads, graph=graph, arithmetic=arithmetic: openvino(
                graph, threads, arithmetic
            )
    return found


def timed(call: Call, pixels: np.ndarray, seconds: float) -> tuple[float, float]:
    """Images per second of wall clock, and of CPU time, over at least ``seconds``."""
    images, wall, cpu = 0, time.perf_counter(), time.process_time()
    while images == 0 or time.perf_counter() - wall < seconds:
        call(pixels)
        images += len(pixels)
    return images / (time.perf_counter() - wall), images / (time.process_time() - cpu)


def best_threads(make: Callable[[int], Call], pixels: np.ndarray, seconds: float, rounds: int) -> dict[int, float]:
    """Images per second by number of threads, in turns."""
    calls = {threads: make(threads) for threads in sorted({1, os.cpu_count() or 1})}
    for call in calls.values():
        call(pixels)
    speeds = {threads: [] for threads in calls}
    for _ in range(rounds):
        for threads, call in calls.items():
            speeds[threads].append(timed(call, pixels, seconds)[0])
    return {threads: statistics.median(found) for threads, found in speeds.items()}


def compare(
    name: str, module: UnitVectors, size: int, squares: np.ndarray, arguments: argparse.Namespace
) -> tuple[list[Row], dict[str, dict[int, float]]]:
    """Rows of one network, and the thread settings that were tried."""
    made = engines(module, size, squares, compiled=not arguments.no_compile)
    generator = np.random.default_rng(0)
    pixels = {n: generator.integers(0, 256, (n, 3, size, size)).astype(np.float32) for n in arguments.batches}
    tried, calls, taken = {}, {}, {}
    for engine, make in made.items():
        tried[engine] = best_threads(make, pixels.get(8, pixels[max(pixels)]), arguments.seconds, 3)
        taken[engine] = max(tried[engine], key=lambda threads: tried[engine][threads])
        calls[engine] = make(taken[engine])
        print(f"{name}: {engine}: {_threads_text(tried[engine])}", file=sys.stderr, flush=True)
    rows: list[Row] = []
    for batch, some in pixels.items():
        speeds: dict[str, list[tuple[float, float]]] = {engine: [] for engine in calls}
        for call in calls.values():
            call(some)  # compiles for this batch size
        for _ in range(arguments.rounds):
            for engine, call in calls.items():
                speeds[engine].append(timed(call, some, arguments.seconds))
        eager = statistics.median(wall for wall, _ in speeds["torch eager"])
        for engine, measured in speeds.items():
            walls = [wall for wall, _ in measured]
            median, cpu = statistics.median(walls), statistics.median(cpu for _, cpu in measured)
            row = Row(name, engine, batch, taken[engine], median, min(walls), max(walls), cpu, median / eager)
            rows.append(row)
            print(f"{name}: batch {batch}: {engine}: {median:.1f}/s ({row.against_eager:.2f}x)", file=sys.stderr)
    return rows, tried


def _threads_text(speeds: dict[int, float]) -> str:
    return ", ".join(f"{threads} threads {speed:.1f}/s" for threads, speed in speeds.items())


def lively(name: str) -> nn.Module:
    """A fresh network whose residual branches are open: they start at zero, which int8 would see as nothing."""
    torch.manual_seed(0)
    backbone = build_backbone(name)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.constant_(module.weight, 0.5)
    return backbone


def parity(run: Path, held_out: list[Path], calibrate_on: Path | None) -> list[dict]:
    """What the export's own report says of the run's three files, for each folder of held-out images."""
    rows = []
    for folder, precision in itertools.product(held_out, ("fp32", "fp16", "int8")):
        with tempfile.TemporaryDirectory() as scratch:
            settings = Settings(held_out=folder, images=4000, force=True, calibrate=calibrate_on)
            (exported,) = export_files(run, {precision: Path(scratch) / "encoder.onnx"}, settings)
        facts = {"folder": f"{folder.parent.name}/{folder.name}", "precision": precision, "bytes": exported.size}
        rows.append({**facts, **exported.parity.as_dict()})
    return rows


def markdown(rows: list[Row], checked: list[dict]) -> str:
    """The two tables."""
    lines = []
    for network in dict.fromkeys(row.network for row in rows):
        mine = [row for row in rows if row.network == network]
        batches = sorted({row.batch for row in mine})
        lines += ["", f"**{network}**", ""]
        lines.append("| images/s (times torch eager) | threads | " + " | ".join(f"batch {b}" for b in batches) + " |")
        lines.append("| --- | ---: |" + " ---: |" * len(batches))
        for engine in dict.fromkeys(row.engine for row in mine):
            found = {row.batch: row for row in mine if row.engine == engine}
            cells = [f"{found[b].images_per_second:.1f} ({found[b].against_eager:.2f})" for b in batches]
            lines.append(f"| {engine} | {found[batches[0]].threads} | " + " | ".join(cells) + " |")
    if checked:
        lines += ["", "| held-out images | file | MB | largest difference | least cosine | recall@10 | kNN, torch's |"]
        lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
        for row in checked:
            knn = "" if row["knn"] is None else f"{100 * row['knn']:.1f}, {100 * row['knn_torch']:.1f}"
            lines.append(
                f"| {row['folder']} ({row['images']}) | {row['precision']} | {row['bytes'] / 1e6:.1f} | "
                f"{row['largest_difference']:.1e} | {row['smallest_cosine']:.6f} | {row['recall_at_10']:.4f} | {knn} |"
            )
    return "\n".join(lines).strip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="OUT.json and OUT.md are written")
    parser.add_argument("--networks", nargs="*", default=["resnet18", "resnet50"])
    parser.add_argument("--size", type=int, default=224, help="pixels, of the fresh networks")
    parser.add_argument("--run", type=Path, help="also this run, at its own size, with parity")
    parser.add_argument("--held-out", type=Path, nargs="*", default=[], help="folders to check the run's files on")
    parser.add_argument("--calibrate", type=Path, help="images for int8; by default the run's")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="per engine and round")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    arguments = parser.parse_args()
    modules = [
        (f"{name} at {arguments.size} px", UnitVectors(lively(name)), arguments.size) for name in arguments.networks
    ]
    if arguments.run is not None:
        backbone, config = load_backbone(arguments.run)
        modules.append((f"{config.backbone} at {config.image_size} px", UnitVectors(backbone), config.image_size))
    rows: list[Row] = []
    tried = {}
    for name, module, size in modules:
        squares = np.random.default_rng(1).integers(0, 256, (16, size, size, 3), np.uint8)
        found, tried[name] = compare(name, module, size, squares, arguments)
        rows += found
    checked = parity(arguments.run, arguments.held_out, arguments.calibrate) if arguments.run is not None else []
    facts = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "vnni": has_vnni(),
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__},
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "threads_tried": tried,
        "rows": [asdict(row) for row in rows],
        "parity": checked,
    }
    arguments.out.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    text = markdown(rows, checked)
    arguments.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
