"""``python -m simsiam_retrieval.export RUN``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from simsiam_retrieval import cli


@dataclass(frozen=True)
class Arguments:
    """Turn a run folder into one ONNX file with its preprocessing inside."""

    run: tyro.conf.Positional[Path]
    """Run folder that pretrain wrote."""
    out: Path | None = None
    """File to write; by default RUN/encoder.onnx, where index and probe look for it."""
    precision: Literal["fp32", "fp16"] = "fp32"
    """How weights are stored; fp16 halves the file and computes in float32."""
    image_size: int | None = None
    """Side at which images are embedded; by default the one trained at."""


def main() -> None:
    arguments = cli.parse(Arguments, "export")
    from .encoder import export_run

    file = arguments.out or arguments.run / "encoder.onnx"
    parity = export_run(arguments.run, file, precision=arguments.precision, image_size=arguments.image_size)
    cli.remark(
        f"checked against torch on {parity.images} images: largest difference {parity.largest_difference:.1e}, "
        f"smallest cosine {parity.smallest_cosine:.6f}"
    )
    print(file)


if __name__ == "__main__":
    cli.run(main)
