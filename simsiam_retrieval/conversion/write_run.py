"""Converting a checkpoint file to a run folder. The folder appears complete or not at all."""

import hashlib
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import torchvision

from ..core.atomic_files import write_json
from ..core.errors import UserError
from ..core.version import __version__
from ..images.normalisation import IMAGENET, Normalisation
from ..training.config import from_dict
from ..training.run_folder import Run, load_backbone
from .layouts import Network, read_network
from .read_checkpoint import Weights, read_weights

RECIPE = "converted"  # in ``config.json``, in place of the name of a training recipe
UNKNOWN = "unknown: the file does not say"
SIMSIAM_HEADS = "projector and predictor of the file"
NO_HEADS = "none: backbone only"
IMAGE_SIZE, SMALL_IMAGE_SIZE = 224, 32  # pixels; the second for a 3x3 stem
CHECKED_SIDE = 64  # pixels of the images for the check at the end


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        network: The network that was found.
        image_size: Side in pixels at which images are embedded.
        shapes: Shape of every tensor of the file's network, by the file's names.
        beside: Other entries of the file that contain tensors -> number of tensors.
    """

    network: Network
    image_size: int
    shapes: dict[str, tuple[int, ...]]
    beside: dict[str, int]


def convert(
    file: Path,
    run: Path,
    *,
    layout: str = "auto",
    stem: str | None = None,
    image_size: int | None = None,
    normalisation: Normalisation = IMAGENET,
    licence: str | None = None,
) -> Conversion:
    """Create a run folder from a checkpoint of another training program.

    ``config.json`` gets only the settings that are known; its entry "converted" says where they come from.
    ``checkpoint.pt`` gets the backbone, and the heads if the file has heads like SimSiam's. The features are those of
    the source network.

    Args:
        file: The checkpoint.
        run: The new run folder.
        layout: See ``read_network``.
        stem: See ``read_network``.
        image_size: Side in pixels at which images are embedded. Weights do not show it; default 224, or 32 for a 3x3
            stem.
        normalisation: Normalisation that the weights were trained with.
        licence: Licence of the weights, as the user states it.

    Returns:
        What was found and used.

    Raises:
        UserError: The file is not such a checkpoint, or ``run`` exists already.
    """
    _refuse_used(run)
    weights = read_weights(file)
    try:
        network = read_network(weights.tensors, layout, stem)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    size = image_size
    if size is None:
        size = IMAGE_SIZE if network.stem == "imagenet" else SMALL_IMAGE_SIZE
    known = {"recipe": RECIPE, **network.settings, "image_size": size, **normalisation._asdict()}
    from_dict(known).check()
    description = {
        "config": known,
        "converted": _facts(file, weights, network, licence),
        "versions": {
            "simsiam-retrieval": __version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "python": platform.python_version(),
        },
    }
    run.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{run.name}.", suffix=".tmp", dir=run.parent))
    try:
        write_json(temporary / "config.json", description)
        Run(temporary).save_checkpoint({"step": 0, "model": network.state})
        _check(file, temporary)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)  # mkdtemp's 0700 would hide the folder from the group
        if run.is_dir():
            run.rmdir()  # it is empty: _refuse_used checked this
        temporary.rename(run)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}
    return Conversion(network, size, shapes, weights.beside)


def _refuse_used(run: Path) -> None:
    if run.is_dir() and not any(run.iterdir()):
        return
    if run.exists() or run.is_symlink():
        raise UserError(f"{run}: exists already; name a new folder for the run")


def _facts(file: Path, weights: Weights, network: Network, licence: str | None) -> dict[str, Any]:
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return {
        "file": file.name,
        "sha256": sha256,
        "layout": network.layout,
        "heads": SIMSIAM_HEADS if network.heads else NO_HEADS,
        "method": "simsiam" if network.heads and network.heads.settings["head_bn"] == "default" else "unknown",
        "training": UNKNOWN,
        "licence": licence,
        "left_out": network.left_out,
        "beside": weights.beside,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _check(file: Path, run: Path) -> None:
    """Check that the run folder loads and that its features are finite."""
    backbone, _ = load_backbone(run)
    pixels = torch.rand(2, 3, CHECKED_SIDE, CHECKED_SIDE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        if not bool(torch.isfinite(backbone(pixels)).all()):
            raise UserError(f"{file}: its weights give features that are not finite numbers; it cannot be used")
