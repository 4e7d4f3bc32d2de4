"""Planning: which runs a set of tables needs, and in which folder each one is."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.paths import absolute
from ..evaluation.labelled import LabelledFiles
from ..training.config import Config
from ..training.run_files import stored_config
from .all_tables import TABLES, chosen_rows
from .scales import Protocol, Scale, Settings, config_of
from .stored_measurement import Measurement, read_measurement
from .table_rows import Row, Table

LABELS_FROM = 640  # number of images from which the monitor can measure kNN during training


@dataclass(frozen=True)
class Job:
    """One run: a row with one seed. Rows with the same settings share one run.

    Attributes:
        folder: Its run folder.
        config: Its settings.
        titles: Titles of its rows, for messages.
    """

    folder: Path
    config: Config
    titles: tuple[str, ...]


@dataclass(frozen=True)
class Data:
    """The two labelled folders of all rows. Training does not use the labels."""

    train: LabelledFiles
    test: LabelledFiles

    @property
    def digest(self) -> str:
        """Hash of the files' names, classes and sizes."""
        digest = hashlib.sha256()
        for side in (self.train, self.test):
            root = absolute(side.given)
            for file, name in zip(side.files, side.names, strict=True):
                line = f"{file.path.relative_to(root)}\0{name}\0{file.size}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]


def folder_of(out: Path, scale: Scale, config: Config, given: Settings) -> Path:
    """Return the folder of a run, named after the first row of all tables that has these settings.

    Args:
        out: Folder of all runs.
        scale: The scale.
        config: Settings of the run.
        given: Settings from the command line.

    Returns:
        The folder.

    Raises:
        ValueError: No row has these settings.
    """
    for table in TABLES.values():
        for row in table.rows:
            if config_of(scale, row, config.seed, given) == config:
                return out / f"{table.name}-{row.key}-seed{config.seed}"
    raise ValueError("settings of no row")


def plan(
    out: Path, scale: Scale, tables: Sequence[Table], keys: Sequence[str], seeds: int, given: Settings
) -> list[Job]:
    """List the runs of tables, each once: all rows with seed 0, then all with seed 1, and so on.

    Args:
        out: Folder of all runs.
        scale: The scale.
        tables: The tables.
        keys: Keys of rows; empty for all rows.
        seeds: Number of seeds.
        given: Settings from the command line.

    Returns:
        The runs.
    """
    titles: dict[Path, list[str]] = {}
    configs: dict[Path, Config] = {}
    for seed in range(seeds):
        for table in tables:
            for row in chosen_rows(table, keys):
                config = config_of(scale, row, seed, given)
                folder = folder_of(out, scale, config, given)
                configs[folder] = config
                titles.setdefault(folder, []).append(f"{table.name}, {row.label}")
    return [Job(folder, config, tuple(titles[folder])) for folder, config in configs.items()]


def too_large(jobs: Sequence[Job], images: int) -> list[Job]:
    """List the jobs whose batch is more than half of the images: their epochs would have almost no steps.

    Args:
        jobs: The jobs.
        images: Number of training images.

    Returns:
        The jobs.
    """
    return [job for job in jobs if job.config.batch_size > max(2, images // 2)]


def finished(job: Job, protocol: Protocol, digest: str) -> Measurement | None:
    """Read the measurement of a job.

    Args:
        job: The job.
        protocol: How to measure.
        digest: ``Data.digest``.

    Returns:
        The measurement; None if the job must still be run or measured.

    Raises:
        UserError: The run in its folder has other settings or images, or cannot be measured again.
    """
    if not (job.folder / "config.json").exists():
        if (job.folder / "checkpoint.pt").exists():
            raise UserError(f"{job.folder}: has a checkpoint and no config.json; move it away, or choose another --out")
        return None
    changed = differences(stored_config(job.folder), job.config)
    if changed:
        told = ", ".join(f"{name.replace('_', '-')} {old} there, {new} now" for name, old, new in changed)
        raise UserError(f"{job.folder}: was run with other settings ({told}); choose another --out")
    found = read_measurement(job.folder)
    if found is None:
        return None
    if found.digest != digest:
        raise UserError(f"{job.folder}: was run on other images; choose another --out")
    if found.failed is None and found.protocol != dataclasses.asdict(protocol):
        if not (job.folder / "checkpoint.pt").exists():
            raise UserError(
                f"{job.folder}: was measured in another way, and its weights are gone; measure as before, or choose "
                "another --out"
            )
        return None
    return found


def differences(old: Config, new: Config) -> list[tuple[str, Any, Any]]:
    """Compare the settings of two runs.

    Args:
        old: The first run's settings.
        new: The second run's settings.

    Returns:
        Name, first value and second value of each different setting.
    """
    pairs = [(field.name, getattr(old, field.name), getattr(new, field.name)) for field in dataclasses.fields(Config)]
    return [(name, before, after) for name, before, after in pairs if before != after]


def effect(row: Row, scale: Scale, given: Settings) -> dict[str, Any]:
    """Return the settings of a row that differ from SimSiam's at this scale, except the seed.

    Args:
        row: The row.
        scale: The scale.
        given: Settings from the command line.

    Returns:
        Name -> value.
    """
    plain = config_of(scale, Row("", ""), 0, given)
    return {name: value for name, _, value in differences(plain, config_of(scale, row, 0, given))}
