"""The facts about a run that its files contain, for the model card. Imports no torch."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.paths import absolute
from ..core.text import printable
from ..encoder.onnx_encoder import Encoder
from ..evaluation.probe_reports import load_reports
from ..methods.backbone import whole_network
from ..training.config import Config
from ..training.run_files import read_description, read_metrics, stored_config

# (precision, name in the run folder, name in the repository)
ENCODERS = (
    ("fp32", "encoder.onnx", "onnx/model.onnx"),
    ("fp16", "encoder_fp16.onnx", "onnx/model_fp16.onnx"),
    ("int8", "encoder_int8.onnx", "onnx/model_int8.onnx"),
)
EXPORT_REPORT = "export.json"
# folder names that say nothing without the name of their parent folder
GENERIC = frozenset(("train", "training", "val", "valid", "validation", "test", "testing", "images", "photos", "data"))


@dataclass(frozen=True)
class OnnxFile:
    """An exported encoder that goes into the repository.

    Attributes:
        precision: "fp32", "fp16" or "int8".
        source: The file in the run folder.
        path: Path in the repository.
        sha256: Checksum.
        size: Size in bytes.
        encoder: The loaded encoder.
        report: Export's measurements of exactly this file.
    """

    precision: str
    source: Path
    path: str
    sha256: str
    size: int
    encoder: Encoder
    report: dict[str, Any]

    @property
    def beyond_backbone(self) -> str:
        """The graph's steps after the backbone, apart from the scaling to length 1, in words; may be empty."""
        metadata = self.encoder.metadata
        features = metadata.get("features", "backbone")
        parts = [features if features != "backbone" else "", metadata.get("reduction", "")]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Facts:
    """A run, as described by its files.

    Attributes:
        run: The run folder.
        config: All settings.
        known: The settings that are known; for converted weights not all are.
        described: Content of ``config.json``.
        metrics: Rows of ``metrics.jsonl``.
        encoders: The exported encoders, fp32 first.
        reports: Evaluation reports of these encoders; folder names are shortened for publication.
        other_reports: Number of reports about encoders that are not published.
    """

    run: Path
    config: Config
    known: dict[str, Any]
    described: dict[str, Any]
    metrics: list[dict[str, Any]]
    encoders: list[OnnxFile]
    reports: list[dict[str, Any]]
    other_reports: int

    @property
    def default(self) -> OnnxFile:
        """The encoder that is loaded unless another one is named."""
        return self.encoders[0]

    @property
    def timm(self) -> bool:
        """Whether timm has this network. It has no 3x3 first convolution and no ResNet with fewer stages."""
        return self.config.stem == "imagenet" and whole_network(self.config.backbone) == self.config.backbone

    @property
    def converted(self) -> dict[str, Any] | None:
        """The origin of converted weights; None for a run of this package."""
        return self.described.get("converted")


def gather(run: Path) -> Facts:
    """Read a run folder with an exported encoder.

    Args:
        run: The run folder.

    Returns:
        The facts.

    Raises:
        UserError: It is no such folder, a file of it is damaged, or its encoders do not belong together.
    """
    described = read_description(run)
    config = stored_config(run)
    encoders = [_onnx_file(run, *names) for names in ENCODERS if (run / names[1]).exists()]
    if not encoders or encoders[0].precision != "fp32":
        raise UserError(f"{run}: no encoder.onnx in it; run: python -m simsiam_retrieval.export {run}")
    for other in encoders[1:]:
        if _kind(other) != _kind(encoders[0]):
            raise UserError(f"{other.source}: exported with other settings than encoder.onnx; export both again")
    identities = {encoder.encoder.identity: encoder.precision for encoder in encoders}
    everything = load_reports([run]) if any((run / "eval").glob("*.json")) else []
    reports = [_for_others(report, identities) for report in everything if report["encoder"] in identities]
    return Facts(
        run=run,
        config=config,
        known=described["config"],
        described=described,
        metrics=read_metrics(run),
        encoders=encoders,
        reports=reports,
        other_reports=len(everything) - len(reports),
    )


def _kind(file: OnnxFile) -> tuple[int, int, str]:
    return file.encoder.dim, file.encoder.image_size, file.beyond_backbone


def public_name(folder: str | Path) -> str:
    """Shorten the name of a folder for publication.

    Args:
        folder: A folder on this machine.

    Returns:
        Its last part, or the last two parts if the last one says nothing ("train"). Never the home folder.
    """
    path = absolute(folder)
    if path.is_relative_to(Path.home()):
        path = path.relative_to(Path.home())
    parts = [part for part in path.parts if part != path.anchor]
    return printable("/".join(parts[-2:] if parts and parts[-1].lower() in GENERIC else parts[-1:]))


def _onnx_file(run: Path, precision: str, name: str, path: str) -> OnnxFile:
    file = run / name
    encoder = Encoder(file, device="cpu")
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return OnnxFile(precision, file, path, sha256, file.stat().st_size, encoder, _export_report(run, name, sha256))


def _export_report(run: Path, name: str, sha256: str) -> dict[str, Any]:
    """Export's measurements of the file with this checksum; empty if the report is about another file."""
    report = _json(run / EXPORT_REPORT)
    if report is not None:
        return next((flat(entry) for entry in _dicts(report) if entry.get("sha256") == sha256), {})
    beside = _json((run / name).with_suffix(".json"))  # older versions wrote one report per file
    return flat(beside) if isinstance(beside, dict) else {}


def flat(entry: dict[str, Any]) -> dict[str, Any]:
    """Merge the values of nested dicts into one dict.

    Args:
        entry: A dict with dicts as values.

    Returns:
        All values that are not dicts; outer keys have priority.
    """
    inner = {key: value for part in entry.values() if isinstance(part, dict) for key, value in flat(part).items()}
    return {**inner, **{key: value for key, value in entry.items() if not isinstance(value, dict)}}


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise UserError(f"{file}: damaged, not JSON; export the run again") from None


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _dicts(inner)


def _for_others(report: dict[str, Any], identities: dict[str, str]) -> dict[str, Any]:
    precision = identities[report["encoder"]]
    names = {"train": public_name(report["train"]), "test": public_name(report["test"])}
    return {**report, **names, "name": "this encoder" if precision == "fp32" else f"this encoder, {precision}"}
