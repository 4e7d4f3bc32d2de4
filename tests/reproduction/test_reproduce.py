"""The paper's tables as commands: what they would run, that every row runs, and that no number is made up."""

import dataclasses
import json
import os
import re
import signal
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from simsiam_retrieval import UserError
from simsiam_retrieval.evaluation.labelled import labelled_files
from simsiam_retrieval.methods import simsiam
from simsiam_retrieval.reproduction.all_tables import TABLES, named_tables
from simsiam_retrieval.reproduction.measure_run import Measure
from simsiam_retrieval.reproduction.plan_runs import Data, finished, folder_of, plan
from simsiam_retrieval.reproduction.print_table import cells, markdown
from simsiam_retrieval.reproduction.run_jobs import Place, _run_in_processes
from simsiam_retrieval.reproduction.scales import SCALES, Protocol, config_of
from simsiam_retrieval.reproduction.stored_measurement import Measurement, read_measurement, write_measurement
from simsiam_retrieval.reproduction.table_results import gather
from simsiam_retrieval.training import loop
from simsiam_retrieval.training.run_files import read_metrics
from simsiam_retrieval.training.run_folder import Run as RunFolder
from tests.support.commands import Run, refused
from tests.support.small_encoder import paint

SMOKE = SCALES["smoke"]
FAST = ("--scale", "smoke", "--device", "cpu", "--workers", 0)


# -- what would be run


@pytest.mark.parametrize("scale", SCALES.values(), ids=list(SCALES))
def test_every_row_has_settings_of_its_own_and_figures_for_every_column(scale) -> None:
    for table in TABLES.values():
        assert len({row.key for row in table.rows}) == len(table.rows)
        configs = [config_of(scale, row, 0) for row in table.rows]  # each checks itself
        assert all(a != b for i, a in enumerate(configs) for b in configs[:i]), table.name
        assert all(len(row.paper) == len(table.columns) for row in table.rows)


def test_the_imagenet_scale_is_the_papers_own() -> None:
    scale = SCALES["imagenet"]
    configs = {name: {row.key: config_of(scale, row, 0) for row in table.rows} for name, table in TABLES.items()}
    default = configs["table-1"]["c"]
    named = ("backbone", "image_size", "batch_size", "epochs", "base_lr", "weight_decay", "momentum", "warmup_epochs")
    assert tuple(getattr(default, name) for name in named) == ("resnet50", 224, 512, 100, 0.05, 1e-4, 0.9, 0)
    assert (default.projector_dim, default.predictor_dim, default.projector_layers) == (2048, 512, 3)
    # rows of several tables that the paper calls its default
    for table, key in (("table-2", "512"), ("table-3", "c"), ("similarity", "cosine"), ("symmetry", "sym")):
        assert configs[table][key] == default
    assert configs["output-width"]["2048"] == configs["alternation"]["1-step"] == default
    assert {key: config.warmup_epochs for key, config in configs["table-2"].items()} == {
        **{"64": 0, "128": 0, "256": 0, "512": 0},
        **{"1024": 10, "2048": 10, "4096": 10},
    }
    assert configs["table-3"]["a"].warmup_epochs == 10
    width = configs["output-width"]["256"]
    assert (width.projector_dim, width.predictor_dim, width.projector_hidden_dim) == (256, 64, 2048)
    assert {key: config.batch_size for key, config in configs["table-4"].items()} == {
        "simclr": 4096, "moco-v2": 256, "byol": 4096, "swav": 4096, "simsiam": 256,
    }  # fmt: skip
    for epochs, expected in {100: (0.45, 1e-6, 0.99), 200: (0.3, 1e-6, 0.99), 800: (0.2, 1.5e-6, 0.996)}.items():
        byol = config_of(scale, TABLES["table-4"].rows[2], 0, {"epochs": epochs})
        assert (byol.base_lr, byol.weight_decay, byol.target_momentum) == expected  # the paper's footnote 6


def test_rows_that_are_the_same_run_are_run_once(tmp_path: Path) -> None:
    tables = named_tables(["table-1", "figure-2", "table-3"])
    jobs = plan(tmp_path, SMOKE, tables, [], 2, {})
    assert len(jobs) == 2 * (2 + 4 + 4 - 2)
    shared = next(job for job in jobs if len(job.titles) == 2)
    assert shared.titles == ("figure-2, with stop-gradient", "table-1, baseline: lr with cosine decay")
    assert [job.config.seed for job in jobs] == [0] * 8 + [1] * 8


# -- running rows


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tables at the smoke scale in one folder; read only."""
    root = tmp_path_factory.mktemp("reproduce")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)  # 45 checkpoints of 90 MB; nothing here cuts the power
        done = _run_in(root, patch, "all", *FAST)
    assert done == 0
    return root / "runs" / "reproduce-smoke"


def _run_in(root: Path, patch: pytest.MonkeyPatch, *args: object) -> int:
    import sys

    from simsiam_retrieval import reproduce
    from simsiam_retrieval.core import cli

    patch.setattr(sys, "argv", ["reproduce", *map(str, args)])
    patch.chdir(root)
    with pytest.raises(SystemExit) as end:
        cli.run(reproduce.main)
    return int(end.value.code or 0)


def test_every_row_of_every_table_runs_at_the_smoke_scale(everything: Path) -> None:
    for table in TABLES.values():
        content = json.loads((everything / f"{table.name}.json").read_text())
        assert [row["key"] for row in content["rows"]] == [row.key for row in table.rows]
        for row, given in zip(content["rows"], table.rows, strict=True):
            (run,) = row["runs"]
            config = config_of(SMOKE, given, 0)
            assert RunFolder(everything / run["folder"]).config() == config
            assert run["results"]["knn"]["k"] == 20 and "linear" in run["results"], (table.name, row["key"], run)
            assert run["last"]["epoch"] == config.epochs
            assert not (everything / run["folder"] / "checkpoint.pt").exists()  # measured, and 90 MB
        assert "Paper: ImageNet linear evaluation" in (everything / f"{table.name}.md").read_text()
        assert Image.open(everything / f"{table.name}.png").size[0] > 300
    # what differs is trained differently: rows of one seed start from the same weights and see the same views
    losses = {path.name: read_metrics(path)[-1]["loss"] for path in everything.glob("*-seed0")}
    assert len(set(losses.values())) == len(losses)


def test_finished_rows_are_skipped_and_printed_again(everything: Path, run: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in everything.rglob("*.jsonl")}
    done = run("reproduce", "table-1", "figure-2", *FAST, "--out", everything)
    assert done.returncode == 0 and "5 of 5 runs are there already" in done.stderr and "[1/" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in everything.rglob("*.jsonl")} == before
    texts = [(everything / f"{name}.md").read_text().rstrip("\n") for name in ("figure-2", "table-1")]
    assert done.stdout == "\n\n".join(texts) + "\n"
    assert (
        run("reproduce", "figure-2", "table-1", "--scale", "smoke", "--out", everything, "--show").stdout == done.stdout
    )


def test_other_settings_images_and_measures_are_refused(everything: Path, run: Run, tmp_path: Path) -> None:
    at = ("reproduce", "table-1", *FAST, "--out", everything)
    refused(run(*at, "--epochs", 2), "other settings (epochs 1 there, 2 now)", "--out")
    refused(run(*at, "--linear", "paper"), "measured in another way", "weights are gone")
    for side in ("train", "val"):
        for number in range(24):
            paint(tmp_path / "other" / side / "ab"[number % 2] / f"{number}.jpg", number)
    refused(run(*at, "--data", tmp_path / "other", "--rows", "c"), "on other images")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("name a table", "table-1")),
        (("table-9",), ("unknown table 'table-9'", "symmetry")),
        (("table-1",), ("needs images", "--scale smoke")),
        (("table-1", "--rows", "z"), ("--rows z", "baseline, a, b, c")),
        (("table-1", "--data", "nowhere"), ("train/ and val/",)),
        (("table-1", "--data", "x", "--train", "y", "--test", "z"), ("not both",)),
        (("table-1", "--train", "y"), ("go together",)),
        (("table-1", "--scale", "smoke", "--seeds", 0), ("--seeds 0", "1 to 100")),
        (("table-1", "--scale", "smoke", "--epochs", -1), ("--epochs -1",)),
        (("table-1", "--show"), ("no results there yet",)),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(run: Run, tmp_path: Path, arguments: tuple, words: tuple) -> None:
    refused(run("reproduce", *arguments), *words)
    assert not (tmp_path / "runs" / "reproduce-imagenette").exists()


def test_a_batch_that_does_not_fit_one_method_is_refused_before_the_first_row(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("reproduce", "table-4", *FAST, "--batch-size", 15, "--out", out)
    refused(done, "table-4, MoCo v2: a batch of 15 images does not fall into", "--batch-size 14 does")
    assert "[1/" not in done.stderr and not list(out.glob("*-seed0"))


def test_a_stopped_row_goes_on_to_the_same_end(
    everything: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ("reproduce", "table-1", *FAST, "--rows", "b", "--rows", "c", "--out", tmp_path / "out")

    def stopping(minutes: float, steps: int = 0):
        return lambda done: done == 2 and bool(signal.raise_signal(signal.SIGINT) or True)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "checkpoint_clock", stopping)
        done = run(*at)
    assert done.returncode == 130 and "run the same command to continue" in done.stderr
    assert re.search(r"\(c\) lr not decayed +\| +– +\| +– \|", done.stdout)
    stopped = tmp_path / "out" / "table-1-b-seed0"
    assert (stopped / "checkpoint.pt").exists() and read_measurement(stopped) is None
    assert not (tmp_path / "out" / "table-1-c-seed0").exists()
    done = run(*at)
    assert done.returncode == 0 and "[1/2]" in done.stderr
    for name in ("table-1-b-seed0", "table-1-c-seed0"):
        again, straight = (read_measurement(folder / name) for folder in (tmp_path / "out", everything))
        assert again is not None and straight is not None and again.results == straight.results
        ends = [read_metrics(folder / name)[-1] for folder in (tmp_path / "out", everything)]
        assert len({(end["rankme"], end["uniformity"], end["alignment"]) for end in ends}) == 1  # of the last weights


def test_a_row_that_comes_to_nothing_is_a_result_and_the_others_go_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(simsiam.SIMILARITIES, "cross-entropy", lambda p, z: (p - z).sum() * float("nan"))
    at = ("reproduce", "similarity", *FAST, "--out", tmp_path / "out")
    done = run(*at)
    assert done.returncode == 0
    lines = {line.split("|")[1].strip(): line for line in done.stdout.splitlines() if line.startswith("|")}
    assert re.search(r"\| +failed \| ", lines["cross-entropy"]) and "63.2" in lines["cross-entropy"]
    assert "failed" not in lines["cosine"]
    assert re.search(r"cross-entropy: the loss is not a number at step \d", done.stdout)
    monkeypatch.undo()  # also the folder and the home that `run` works in
    monkeypatch.chdir(tmp_path)
    assert "2 of 2 runs are there already" in run(*at).stderr


def test_several_processes_run_a_row_each(everything: Path, tmp_path: Path) -> None:
    data = _data(everything / "photos")
    jobs = plan(tmp_path, SMOKE, named_tables(["symmetry"]), ["sym", "asym"], 1, {})
    told: list[None] = []
    place = Place(tmp_path / "cache", "cpu", 0, keep_weights=False)
    assert _run_in_processes(jobs, data, SMOKE.protocol, place, [["0"], ["1"]], lambda: told.append(None))
    assert len(told) == 2
    for job in jobs:
        straight = read_measurement(everything / job.folder.name)
        assert finished(job, SMOKE.protocol, data.digest) == straight


# -- measuring


class Colour(nn.Module):
    """A backbone whose feature is the mean of each channel."""

    feature_dim = 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


def test_knn_is_what_numpy_says(tmp_path: Path) -> None:
    for side, count in (("train", 12), ("val", 9)):
        for number in range(count):
            paint(tmp_path / side / "abc"[number % 3] / f"{number}.png", number + (100 if side == "val" else 0))
    (tmp_path / "val" / "a" / "broken.png").write_bytes(b"no picture")
    data = _data(tmp_path)
    found = Measure(data, Protocol(k=5, linear="off"), torch.device("cpu"), tmp_path / "cache", 0)(
        Colour(), config_of(SMOKE, TABLES["table-1"].rows[0], 0)
    )
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def features(files) -> np.ndarray:
        rows = []
        for file in files:
            image = Image.open(file.path).convert("RGB")
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            square = image.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BILINEAR)
            vector = (np.asarray(square, float).mean(axis=(0, 1)) / 255 - mean) / std
            rows.append(vector / np.linalg.norm(vector))
        return np.stack(rows)

    readable = [index for index, file in enumerate(data.test.files) if file.path.name != "broken.png"]
    x, queries = features(data.train.files), features([data.test.files[index] for index in readable])
    hits = 0
    for query, index in zip(queries, readable, strict=True):
        cosine = x @ query
        votes: dict[str, float] = {}
        for near in np.argsort(-cosine)[:5]:
            name = data.train.names[near]
            votes[name] = votes.get(name, 0.0) + np.exp(cosine[near] / 0.1)
        hits += max(votes, key=votes.__getitem__) == data.test.names[index]
    assert found["knn"]["top1"] == pytest.approx(hits / 9) and 0 < hits < 9
    assert set(found) == {"knn"}


def test_a_network_without_numbers_is_said_to_be_one(tmp_path: Path) -> None:
    for number in range(4):
        for side in ("train", "val"):
            paint(tmp_path / side / "ab"[number % 2] / f"{number}.png", number)
    measure = Measure(_data(tmp_path), Protocol(linear="off"), torch.device("cpu"), tmp_path / "cache", 0)
    broken = Colour()
    broken.forward = lambda x: x.mean(dim=(2, 3)) * float("nan")  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError):
        measure(broken, config_of(SMOKE, TABLES["table-1"].rows[0], 0))


# -- what is printed, of runs made by hand


def _data(folder: Path) -> Data:
    return Data(labelled_files(folder / "train"), labelled_files(folder / "val"))


@pytest.fixture
def made(tmp_path: Path) -> Iterator[tuple[Path, Data]]:
    """A folder for runs, and two labelled folders of two classes."""
    for number in range(4):
        for side in ("train", "val"):
            paint(tmp_path / "data" / side / "ab"[number % 2] / f"{number}.png", number)
    yield tmp_path / "out", _data(tmp_path / "data")


def make(out: Path, data: Data, table: str, key: str, seed: int, top1: float | None, **change) -> Path:
    row = next(row for row in TABLES[table].rows if row.key == key)
    config = config_of(SMOKE, row, seed)
    folder = folder_of(out, SMOKE, config, {})
    folder.mkdir(parents=True)
    config = dataclasses.replace(config, **change)
    described = {"config": dataclasses.asdict(config), "device": {"type": "cpu", "name": "an abacus"}}
    (folder / "config.json").write_text(json.dumps(described))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 5, "epoch": 1, "loss": -0.5 - seed, "std": 0.9}) + "\n")
    results = {} if top1 is None else {"knn": {"top1": top1, "k": 20}}
    failed = "the loss is not a number at step 7" if top1 is None else None
    write_measurement(folder, Measurement(data.digest, dataclasses.asdict(SMOKE.protocol), results, failed))
    return folder


def gathered(out: Path, data: Data, table: str) -> dict:
    return gather(TABLES[table], out, SMOKE, {}, SMOKE.protocol, data, None)


def test_seeds_are_averaged_and_what_was_not_run_is_a_dash(made: tuple[Path, Data]) -> None:
    out, data = made
    tops = [0.5, 0.75, 0.25]
    for seed, top in enumerate(tops):
        make(out, data, "table-1", "baseline", seed, top)
    make(out, data, "table-1", "a", 0, None)
    make(out, data, "table-1", "b", 0, 0.5)
    make(out, data, "table-1", "b", 1, None)
    content = gathered(out, data, "table-1")
    head, body = cells(content)
    assert head == ["smoke", "kNN, %", "loss", "std × √d", "paper, 100 ep"]
    spread = statistics.stdev(100 * top for top in tops)
    assert body == [
        ["baseline: lr with cosine decay", f"50.0 ± {spread:.1f}", "-1.500 ± 1.000", "0.90 ± 0.00", "67.7"],
        ["(a) no predictor", "failed", "-0.500", "0.90", "0.1"],
        ["(b) fixed at its random initialisation", "50.0 (1 failed)", "-1.000 ± 0.707", "0.90 ± 0.00", "1.5"],
        ["(c) lr not decayed", "–", "–", "–", "68.1"],
    ]
    text = markdown(content)
    assert "up to 3 seeds" in text and "an abacus" in text and "2 classes (chance is 50.0 %)" in text
    assert "(a) no predictor: the loss is not a number at step 7" in text


def test_no_number_comes_from_a_run_of_something_else(made: tuple[Path, Data]) -> None:
    out, data = made
    make(out, data, "symmetry", "asym", 0, 0.875, epochs=2)  # other settings
    other = make(out, data, "symmetry", "asym-2x", 0, 0.625)
    stored = read_measurement(other)
    assert stored is not None
    write_measurement(other, dataclasses.replace(stored, digest="other images"))
    (make(out, data, "symmetry", "sym", 0, 0.375) / "measured.json").unlink()  # trained and not measured
    content = gathered(out, data, "symmetry")
    assert all(row["runs"] == [] for row in content["rows"])
    assert [line[1:-1] for line in cells(content)[1]] == [["–"] * 3] * 3
    assert markdown(content).endswith("Nothing has been run yet.")


def test_a_damaged_measurement_is_named(made: tuple[Path, Data]) -> None:
    out, data = made
    folder = make(out, data, "symmetry", "asym", 0, 0.5)
    (folder / "measured.json").write_text("{")
    with pytest.raises(UserError, match=r"measured\.json: damaged"):
        gathered(out, data, "symmetry")


def test_the_list_names_every_table_row_and_scale(run_command) -> None:
    done = run_command("reproduce", "--list")
    assert done.returncode == 0
    for table in TABLES.values():
        assert table.name in done.stdout and all(row.key in done.stdout for row in table.rows)
    assert all(f"--scale {name}" in done.stdout for name in SCALES)
