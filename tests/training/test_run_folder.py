"""What a run leaves: its description, metrics and checkpoint; full disks; damaged lines."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.training import augmentation, training_report
from simsiam_retrieval.training.config import Config, from_dict
from simsiam_retrieval.training.run_files import read_metrics, stored_config
from simsiam_retrieval.training.run_folder import Run
from tests.support.small_runs import FAST, contents, same, state, train

pytestmark = pytest.mark.usefixtures("rows_by_epoch")


def test_a_run_folder_describes_itself(run_dir, few_photos):
    described = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    assert set(described["config"]) == {field.name for field in dataclasses.fields(Config)}
    assert from_dict(described["config"]) == Config(
        image_size=32, batch_size=16, epochs=2, projector_dim=64, predictor_dim=32
    )
    assert described["data"]["roots"] == [str(few_photos)]
    assert (described["data"]["images"], described["data"]["rejected"]) == (38, 0)
    assert described["data"]["fingerprint"]
    assert described["versions"]["torch"] == torch.__version__
    assert described["device"]["type"] == "cpu"


def test_metrics_have_a_row_an_epoch_with_growing_steps(finished):
    rows = [json.loads(line) for line in finished.metrics_file.read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        curve = row.pop("variance_explained", [1.0])  # where the monitor looked
        assert curve == sorted(curve) and curve[0] > 0 and curve[-1] <= 1
        assert all(math.isfinite(value) for value in row.values())
        assert -1 <= row["loss"] <= 1 and row["std"] > 0 and row["images_per_second"] > 0


def test_rows_come_by_time_as_well(few_photos, tmp_path, monkeypatch):
    monkeypatch.setattr(training_report, "ROW_SECONDS", 0)
    run = train(FAST, few_photos, tmp_path / "run")
    assert [row["step"] for row in read_metrics(run.path)] == [1, 2, 3, 4, 5, 6]


def test_a_row_is_the_mean_of_its_steps(few_photos, tmp_path, monkeypatch, finished):
    """The same run with a row a step: its losses and stds average to those of the rows by epoch."""
    monkeypatch.setattr(training_report, "ROW_SECONDS", 0)
    fine = read_metrics(train(FAST, few_photos, tmp_path / "run").path)
    for name in ("loss", "std"):
        pairs = np.array([row[name] for row in fine]).reshape(3, 2)
        coarse = [row[name] for row in read_metrics(finished.path)]
        np.testing.assert_allclose(coarse, pairs.mean(1), atol=2e-6)


def test_a_checkpoint_holds_all_that_resuming_needs(finished):
    saved = state(finished)
    assert saved["step"] == 6
    heads = {name.split(".")[0] for name in saved["model"]}
    assert heads == {"backbone", "projector", "predictor"}
    assert all(tensor.isfinite().all() for tensor in saved["model"].values())
    assert len(saved["optimizer"]["state"]) == sum(len(g["params"]) for g in saved["optimizer"]["param_groups"])
    assert saved["model"]["backbone.bn1.num_batches_tracked"].item() == 2 * 6  # two views a step


def test_equal_seeds_give_equal_runs_and_others_do_not(few_photos, tmp_path, finished):
    assert same(state(train(FAST, few_photos, tmp_path / "again")), state(finished))
    other = state(train(dataclasses.replace(FAST, seed=1), few_photos, tmp_path / "other"))
    assert not same(other["model"], state(finished)["model"])


def test_the_smallest_views_give_sound_and_equal_runs_too(few_photos, tmp_path):
    """At 8 px the last feature maps are a single pixel, and strided convolutions see mostly padding."""
    config = dataclasses.replace(FAST, image_size=8)
    first, second = (state(train(config, few_photos, tmp_path / name))["model"] for name in "ab")
    assert max(tensor.abs().max().item() for tensor in first.values()) < 1e3
    assert same(first, second)


def test_no_epochs_leave_the_initial_weights(few_photos, tmp_path):
    saved = state(train(dataclasses.replace(FAST, epochs=0), few_photos, tmp_path / "run"))
    assert saved["step"] == 0
    assert not saved["model"]["backbone.layer1.0.bn2.weight"].any()  # zero_init_residual, untouched


def test_fewer_images_than_a_batch_make_a_smaller_batch(photos, tmp_path):
    run = train(dataclasses.replace(FAST, batch_size=512, epochs=1), photos / "birds", tmp_path / "run")
    assert [row["step"] for row in read_metrics(run.path)] == [1]


def test_an_epoch_shows_each_image_once(few_photos, tmp_path, monkeypatch):
    """Every epoch is a permutation: 32 different images of 38 in two steps; another one each time."""
    seen: list[torch.Tensor] = []
    apply = augmentation.apply

    def noting(settings, images, parameters):
        seen.append(images.clone())
        return apply(settings, images, parameters)

    monkeypatch.setattr(augmentation, "apply", noting)
    train(dataclasses.replace(FAST, epochs=2), few_photos, tmp_path / "run")
    batches = [[image.numpy().tobytes() for image in images] for images in seen]
    assert batches[0::2] == batches[1::2]  # two views of the same images
    first, second = batches[0] + batches[2], batches[4] + batches[6]
    assert len(set(first)) == len(set(second)) == 32
    assert first != second


def test_loss_falls_well_below_its_start_without_collapse(few_photos, tmp_path):
    """An untrained predictor gives about 0; 25 steps reach -0.3 or so, with outputs that still scatter."""
    config = dataclasses.replace(FAST, batch_size=38, epochs=25, base_lr=0.6, projector_dim=128, predictor_dim=32)
    rows = read_metrics(train(config, few_photos, tmp_path / "run").path)
    assert abs(rows[0]["loss"]) < 0.05
    assert np.mean([row["loss"] for row in rows[-5:]]) < -0.15
    assert rows[-1]["std"] > 0.9  # 1 is healthy, 0 is collapse


def test_the_lock_is_free_after_a_run(finished):
    Run(finished.path).lock().release()


def test_a_full_disk_keeps_the_checkpoint_before(few_photos, stopped, monkeypatch):
    def full(value, file, *args, **options):
        Path(file).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    def full_by_torch(value, file, *args, **options):
        raise RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 576 vs 470")

    before = contents(stopped)
    for save in (full, full_by_torch):
        monkeypatch.setattr(torch, "save", save)
        with pytest.raises(UserError, match="disk full"):
            Run(stopped).save_checkpoint({"step": 1})
    assert contents(stopped) == before


def test_a_disk_that_is_full_for_metrics(stopped):
    run = Run(stopped)
    run.metrics_file.unlink(missing_ok=True)
    run.metrics_file.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written"):
        run.append_metrics({"step": 1})


def test_a_damaged_line_of_metrics_costs_itself(tmp_path):
    run = Run(tmp_path)
    lines = [
        '{"step": 1}',
        '{"st',
        "5",
        "[" * 99_999,
        '{"step": "x"}',
        '{"epoch": 2}',
        '{"step": 2}',
        '{"step": 3}',
        '{"st',
    ]
    run.metrics_file.write_text("\n".join(lines))
    run.truncate_metrics(2)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "5",
        "[" * 99_999,
        '{"config": 5}',
        '{"config": {"epochs": []}}',
        '{"data": 5}',
        '{"data": {"roots": [5]}}',
    ],
)
def test_a_config_that_is_none_is_one_line(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "rejected.jsonl").write_text('5\n[]\n{"path": 5, "reason": 1}\n' + "[" * 99_999)
    with pytest.raises(UserError):
        stored_config(tmp_path)
    assert Run(tmp_path).read_rejected() == {}
