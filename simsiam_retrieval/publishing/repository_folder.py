"""The folder that is uploaded to the Hub. It is written completely or not at all."""

import glob
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.version import __version__
from ..encoder.hub import FORMAT, SECTION
from .card_metadata import Stated
from .evaluation_results import parse_datasets, result_files
from .model_card import model_card
from .monitor_curves import draw_curves
from .run_facts import Facts
from .timm_weights import save_weights, timm_config

WEIGHTS = "model.safetensors"
PREPROCESSING = "preprocessor_config.json"
PICTURE = "curves.png"
LEFT_SECONDS = 3600  # a folder that nothing was written to for so long was left by a process that was killed
BILINEAR = 2  # Pillow's number for bilinear resampling


@dataclass(frozen=True)
class File:
    """A file of the folder.

    Attributes:
        path: Path in the repository, with "/".
        size: Size in bytes.
        sha256: Checksum.
    """

    path: str
    size: int
    sha256: str


def write_folder(facts: Facts, stated: Stated, eval_datasets: Sequence[str], out: Path) -> list[File]:
    """Write the model repository of a run. Equal input gives equal bytes.

    A folder that this function wrote earlier is replaced in one step.

    Args:
        facts: The run.
        stated: The publisher's statements.
        eval_datasets: Values of ``--eval-dataset``; see ``parse_datasets``.
        out: The folder.

    Returns:
        The files, sorted by path.

    Raises:
        UserError: ``out`` contains anything else, or the run's files do not belong together.
    """
    datasets = parse_datasets(eval_datasets, facts.reports)
    refuse_used(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(out)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    try:
        (temporary / "onnx").mkdir()
        for encoder in facts.encoders:
            shutil.copyfile(encoder.source, temporary / encoder.path)
        save_weights(facts, temporary / WEIGHTS)
        _write_json(temporary / PREPROCESSING, _preprocessing(facts))
        checked = [encoder.path for encoder in facts.encoders] + [WEIGHTS, PREPROCESSING]
        checksums = {path: _sha256(temporary / path) for path in checked}
        _write_json(temporary / "config.json", {**timm_config(facts), SECTION: _section(facts, checksums)})
        picture = PICTURE if draw_curves(facts.metrics, temporary / PICTURE) else None
        for path, text in result_files(facts.reports, datasets).items():
            (temporary / path).parent.mkdir(exist_ok=True)
            (temporary / path).write_text(text, encoding="utf-8")
        card = model_card(facts, stated, datasets, checksums, picture=picture)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        files = list_folder(temporary)
        _take_place(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return files


def list_folder(folder: Path) -> list[File]:
    """List the files of a folder that is uploaded to the Hub.

    Args:
        folder: The folder.

    Returns:
        The files, sorted by path.
    """
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [File(path.relative_to(folder).as_posix(), path.stat().st_size, _sha256(path)) for path in found]


def refuse_used(out: Path) -> None:
    """Check that a folder may be written: it does not exist, is empty, or was written by ``write_folder``.

    Args:
        out: The folder.

    Raises:
        UserError: It is anything else.
    """
    if not out.exists() and not out.is_symlink():
        return
    if out.is_dir() and not out.is_symlink() and (not any(out.iterdir()) or _is_ours(out)):
        return
    raise UserError(f"{out}: exists already, and publish did not write it; choose another --out")


def _is_ours(folder: Path) -> bool:
    try:
        return SECTION in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _section(facts: Facts, checksums: dict[str, str]) -> dict[str, Any]:
    encoder, described = facts.default.encoder, facts.described
    kept = {key: described[key] for key in ("versions", "commit", "device", "started") if key in described}
    data = {key: value for key, value in described.get("data", {}).items() if key in ("images", "fingerprint")}
    return {
        "format": FORMAT,
        "version": __version__,
        "default": facts.default.path,
        "identity": encoder.identity,
        "dim": encoder.dim,
        "image_size": encoder.image_size,
        "backbone": facts.config.backbone,
        "stem": facts.config.stem,
        "training": facts.known,
        **({"data": data} if data else {}),
        **kept,
        "files": checksums,
    }


def _preprocessing(facts: Facts) -> dict[str, Any]:
    """The preprocessing, in the form of transformers' image processors, for programs that use the weights."""
    side = facts.default.encoder.image_size
    return {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": BILINEAR,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(facts.config.mean),
        "image_std": list(facts.config.std),
    }


def _remove_leftovers(out: Path) -> None:
    """Remove what a process that was killed left beside ``out``; not what another one may be writing."""
    for folder in out.parent.glob(f".{glob.escape(out.name)}.*"):
        if (
            folder.suffix in (".tmp", ".old")
            and folder.is_dir()
            and time.time() - folder.stat().st_mtime > LEFT_SECONDS
        ):
            shutil.rmtree(folder, ignore_errors=True)


def _take_place(temporary: Path, out: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o777 & ~mask)  # mkdtemp's 0700 would hide the folder from the group
    if not out.exists():
        temporary.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.parent))
    out.rename(old / out.name)
    temporary.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
