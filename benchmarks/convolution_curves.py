"""The loss of one run with and without fast convolutions: ``python benchmarks/convolution_curves.py IMAGES --out PNG``.

Same images, seed and views; a row of metrics after each step. The curves part by rounding alone.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch

from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.training import training_report
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.loop import train
from simsiam_retrieval.training.pixel_store import load_store
from simsiam_retrieval.training.run_files import read_metrics
from simsiam_retrieval.training.run_folder import Run
from simsiam_retrieval.training.run_options import Options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--out", type=Path, required=True, help="PNG")
    options = parser.parse_args()

    training_report.ROW_SECONDS = 0
    config = Config(
        image_size=options.image_size, batch_size=options.batch_size, epochs=1000, steps=options.steps, held_out=0
    )
    store = load_store(list_images([options.images]).images[::4], config.store_side)
    curves = {}
    for name, fast in (("PyTorch's convolutions", False), ("fast convolutions", True)):
        with tempfile.TemporaryDirectory() as folder:
            run = Run(Path(folder))
            train(config, store, run, device=torch.device("cpu"), options=Options(fast_convolutions=fast))
            curves[name] = [row["loss"] for row in read_metrics(run.path)]
    before, after = curves.values()
    apart = [abs(a - b) for a, b in zip(before, after, strict=True)]
    last = slice(-options.steps // 4, None)
    print(
        f"{options.steps} steps at {options.image_size} px, batch {options.batch_size}: mean loss of the last quarter "
        f"{statistics.mean(before[last]):.4f} and {statistics.mean(after[last]):.4f}; apart by {apart[0]:.1e} "
        f"at the first step, {statistics.mean(apart[:20]):.1e} in the first 20, "
        f"{statistics.mean(apart[last]):.1e} in the last quarter"
    )

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for (name, curve), style in zip(curves.items(), ("-", "--"), strict=True):
        axes.plot(range(1, len(curve) + 1), curve, style, linewidth=1.2, label=name)
    axes.set(
        xlabel="step", ylabel="loss", title=f"ResNet-18, {options.image_size} px, batch {options.batch_size}, one seed"
    )
    axes.legend()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=120)


if __name__ == "__main__":
    main()
