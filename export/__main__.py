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
    """Precision: fp32, fp16 (GPU) or int8 (CPU); several with commas."""
    out: Path | None = None
    """File to write, for a single precision. Default: RUN/encoder.onnx, encoder_fp16.onnx, encoder_int8.onnx."""
    image_size: int | None = None
    """Side at which images are embedded, in pixels. Default: that of training."""
    features: str | None = None
    """Stages and the grids they are pooled on, such as stage2@4x4,stage3@2x2*0.5,flip,pca256^0.75.
    Default: the last stage, averaged, or the features of the encoder that the run began from."""
    layer: str | None = None
    """Use the features of this layer, averaged over the image, such as layer3. Default: the whole backbone."""
    with_projector: bool = False
    """Use the projections of the run's projector, in place of the backbone's features."""
    dim: int | None = None
    """Number of values of a vector, by PCA inside the graph."""
    whiten: bool = False
    """Whiten the features with PCA; their number and the power follow from the number of images."""
    whiten_power: float | None = None
    """Power of whitening, 0 to 1; 1 gives every principal axis the same variance."""
    fit: Path | None = None
    """Folder of images to fit PCA to. Default: the run's images."""
    calibrate: Path | None = None
    """Folder of images that int8 ranges come from. Default: the run's images."""
    held_out: Path | None = None
    """Folder of images to check on. Default: those of the run's images that calibration left out."""
    images: int = 512
    """Number of images to check on."""
    float_layers: int | None = None
    """First convolutions that int8 leaves in float32. Default: as few as reach the bound."""
    licence: str | None = None
    """Licence that the file states, such as CC-BY-4.0. Default: the run's, if it has one."""
    force: bool = False
    """Write a file even below its bound."""


def main() -> None:
    """Run the command.

    Raises:
        UserError: An option is wrong, or a file is below its bound.
    """
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
