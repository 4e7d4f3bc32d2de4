"""``python -m simsiam_retrieval.export RUN``."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from simsiam_retrieval.core import cli
from simsiam_retrieval.core.errors import UserError

EXAMPLES = """examples:
  export runs/photos                        writes runs/photos/encoder.onnx, checked against PyTorch
  export runs/photos --precision int8       smaller, and faster on CPUs"""


@dataclass(frozen=True)
class Arguments:
    """Turn a run folder into ONNX files with their preprocessing inside, each checked against torch."""

    run: tyro.conf.Positional[Path]
    """Run folder that pretrain or convert wrote."""
    precision: str = "fp32"
    """fp32, fp16 (GPU) or int8 (CPU); several at once with commas."""
    out: Path | None = None
    """File to write, of a single precision; by default RUN/encoder.onnx, encoder_fp16.onnx, encoder_int8.onnx."""
    image_size: int | None = None
    """Side at which images are embedded; by default the one trained at."""
    features: str | None = None
    """Which stages, pooled on which grid, such as stage2@4x4,stage3@2x2*0.5,flip,pca256^0.5; by default the last stage,
    averaged, or the features of the encoder that the run began from."""
    layer: str | None = None
    """Features of this layer, averaged over the image, such as layer3; by default the whole backbone."""
    with_projector: bool = False
    """Projections, from the run's projector, in place of the backbone's features."""
    dim: int | None = None
    """Length of the vectors, by PCA inside the graph."""
    whiten: bool = False
    """Whiten them, so that principal axes count more alike; dimension and power follow from the number of images."""
    whiten_power: float | None = None
    """How far, up to 1, at which every principal axis counts the same."""
    fit: Path | None = None
    """Folder of images to fit PCA to; by default the run's."""
    calibrate: Path | None = None
    """Folder of images that int8 ranges are taken from; by default the run's."""
    held_out: Path | None = None
    """Folder of images to check on; by default those of the run's that calibration left out."""
    images: int = 512
    """Images to check on."""
    float_layers: int | None = None
    """Convolutions that int8 leaves in float32, from the first; by default as few as reach the bound."""
    licence: str | None = None
    """What the file says about its licence, such as CC-BY-4.0."""
    force: bool = False
    """Write a file even below its bound."""


def main() -> None:
    arguments = cli.parse(Arguments, "export", examples=EXAMPLES)
    precisions = list(dict.fromkeys(word.strip() for word in arguments.precision.split(",") if word.strip()))
    if not set(precisions) <= {"fp32", "fp16", "int8"} or not precisions:
        raise UserError(f"--precision {arguments.precision}: choose from fp32, fp16, int8, separated by commas")
    if arguments.out is not None and len(precisions) > 1:
        raise UserError("--out names one file; leave it out for several precisions")
    from .export_report import FILES, table
    from .export_run import Settings, export_files

    files = {name: arguments.out or arguments.run / FILES[name] for name in precisions}
    settings = Settings(
        image_size=arguments.image_size,
        features=arguments.features,
        layer=arguments.layer,
        with_projector=arguments.with_projector,
        dim=arguments.dim,
        whiten=arguments.whiten,
        whiten_power=arguments.whiten_power,
        float_layers=arguments.float_layers,
        calibrate=arguments.calibrate,
        fit=arguments.fit,
        held_out=arguments.held_out,
        images=arguments.images,
        licence=arguments.licence,
        force=arguments.force,
    )
    exported = export_files(arguments.run, files, settings, cli.remark)
    cli.remark(f"checked against torch on {exported[0].checked_on}:")
    cli.remark(table(exported))
    for row in exported:
        if row.refused is None:
            print(row.file)
    refused = [row.refused for row in exported if row.refused is not None]
    if refused:
        raise UserError("; ".join(refused))


if __name__ == "__main__":
    cli.run(main)
