"""The probe command on real photos: what it prints, keeps and refuses."""

import json
import shutil
from pathlib import Path

import pytest

from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.evaluation.probe_table import markdown
from simsiam_retrieval.evaluation.protocols import PROTOCOLS
from simsiam_retrieval.evaluation.stored_predictions import load_predictions, predictions_file
from tests.support.commands import Run

CLASSIFIERS = {"knn", "knn-20", "knn-whitened", "linear"}


@pytest.fixture
def run_command(run: Run) -> Run:
    """In this process: torch takes seconds to import."""
    return run


@pytest.fixture(scope="module")
def labelled(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three classes of example photos, five to train on and the rest to test on."""
    root = tmp_path_factory.mktemp("labelled")
    for kind in ("fish", "wild-mammals", "windmills"):
        for number, photo in enumerate(sorted((photos / kind).glob("*.jpg"))):
            target = root / ("train" if number < 5 else "test") / kind / photo.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, target)
    return root / "train", root / "test"


def measured(report: dict) -> list[dict]:
    return [report, *report["baselines"]]


def test_everything_is_measured_beside_its_baselines(
    run_command, labelled: tuple[Path, Path], run_dir: Path, encoder_file: Path, tmp_path: Path
) -> None:
    train, test = labelled
    run = tmp_path / "mine"
    shutil.copytree(run_dir, run)
    options = ["--shots", "1,4,100", "--views", 4, "--duplicates", 5, "--linear-paper", "--epochs", 1, "--workers", 0]
    done = run_command("probe", run, "--train", train, "--test", test, *options, "--json", "--out", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert json.loads((tmp_path / "r.json").read_text()) == report
    kept = list((run / "eval").glob("probe-*.json"))
    assert predictions_file(tmp_path / "r.json").read_bytes() == predictions_file(kept[0]).read_bytes()
    assert len(kept) == 1 and json.loads(kept[0].read_text()) == report
    assert report["encoder"] == Encoder(encoder_file).identity and report["name"] == "mine"
    assert (report["train_images"], report["classes"], report["left_out"]) == (15, 3, 0)
    assert [row["name"] for row in measured(report)] == ["mine", "random weights", "raw pixels", "whitened pixels"]
    for row in measured(report):
        networks = {"linear-paper"} if "pixels" not in row["name"] else set()
        assert set(row["results"]) == CLASSIFIERS | networks
        for name, result in row["results"].items():
            low, high = result["top1_interval"]
            assert 0 <= low <= result["top1"] <= high <= 1
            assert name in report["protocols"]
        assert [one["shots"] for one in row["few_shot"]] == [1, 4]
        assert row["retrieval"]["own_included"]["recall@1"] == 1.0
        assert 0 < row["retrieval"]["own_left_out"]["map@r"] <= 1
        assert 1 <= row["quality"]["lidar"] <= 3 and row["quality"]["view_images"] == 4
        assert row["duplicates"]["prevalence"] == pytest.approx(1 / 5)
    assert set(report["protocols"]) == set(PROTOCOLS)
    predictions = load_predictions(kept[0])
    assert predictions is not None
    assert predictions.paths == sorted(test.rglob("*.jpg"))
    assert [predictions.classes[label] for label in predictions.truth] == [p.parent.name for p in predictions.paths]
    for row, subject in zip(measured(report), predictions.subjects, strict=True):
        assert (subject.name, subject.encoder) == (row["name"], row["encoder"])
        assert set(subject.methods) == set(row["results"])
        for name, guesses in subject.methods.items():
            assert (guesses.predicted == predictions.truth).mean() == pytest.approx(row["results"][name]["top1"])
            assert ((guesses.confidence > 1 / 3 - 1e-3) & (guesses.confidence <= 1)).all()
    assert "--shots 100: class" in done.stderr and "LARS needs more images" in done.stderr

    # the same tables from the run, and the same numbers from the features that are now in the cache
    table = run_command("probe", "--table", run)
    assert table.stdout == markdown([report]) + "\n"
    for row in measured(report):
        assert row["name"] in table.stdout
        assert f"{100 * row['results']['linear']['top1']:.1f}" in table.stdout
    again = run_command("probe", run, "--train", train, "--test", test, "--workers", 0, "--json")
    assert json.loads(again.stdout)["results"]["linear"] == report["results"]["linear"]
    assert json.loads(again.stdout)["data"] == report["data"]


def test_another_encoder_and_labels_from_a_file(
    run_command, labelled: tuple[Path, Path], encoder_file: Path, tmp_path: Path
) -> None:
    train, test = labelled
    rows = [f"{path},{'fish' if path.parent.name == 'fish' else 'other'}" for path in train.parent.rglob("*.jpg")]
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    options = ["--labels", "labels.csv", "--against", encoder_file, "--workers", 0, "--json"]
    done = run_command("probe", "--train", train, "--test", test, *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["classes"] == 2
    names = [row["name"] for row in measured(report)]
    assert names == ["shipped encoder", "random weights", "raw pixels", "whitened pixels", "tiny"]
    shipped, untrained, pixels, whitened, _ = measured(report)
    axes = len(rows) - len(list(test.rglob("*.jpg"))) - 1  # of the training images, one less than there are
    assert shipped["dim"] == 256 and untrained["dim"] == whitened["dim"] == axes < pixels["dim"]
    assert all("fitted to the training images" in row["about"] for row in (untrained, whitened))
    assert len({row["encoder"] for row in measured(report)}) == 5
    same = run_command("probe", encoder_file, "--train", train, "--test", test, "--against", encoder_file)
    assert same.returncode == 2 and "the same encoder twice" in same.stderr


def test_thin_and_unreadable_input_is_remarked_on(
    run_command, labelled: tuple[Path, Path], encoder_file: Path, tmp_path: Path
) -> None:
    train, test = tmp_path / "train", tmp_path / "test"
    shutil.copytree(labelled[0], train)
    shutil.copytree(labelled[1], test)
    for photo in sorted((train / "fish").glob("*.jpg"))[1:]:
        photo.unlink()
    (train / "fish" / "broken.jpg").write_bytes(b"no image")
    (train / "empty").mkdir()
    shutil.rmtree(test / "windmills")
    done = run_command("probe", encoder_file, "--train", train, "--test", test, "--workers", 0)
    assert done.returncode == 0, done.stderr
    for said in (
        "broken.jpg: not an image",
        "one training image only in 1 class(es): fish",
        "no test images of 1 class(es): windmills",
        "empty holds no images",
    ):
        assert said in done.stderr
    assert "11 training images" in done.stdout


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_missing_folder_is_one_line(run_command, photos: Path, encoder_file: Path, missing: str) -> None:
    folders = {"train": photos, "test": photos, missing: photos / "nowhere"}
    refused(run_command("probe", encoder_file, "--train", folders["train"], "--test", folders["test"]), "nowhere")


def refused(done, said: str) -> None:
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert said in done.stderr


def test_what_cannot_be_measured_is_one_line(run_command, photos: Path, encoder_file: Path, tmp_path: Path) -> None:
    folders = ["--train", photos, "--test", photos]
    refused(run_command("probe", encoder_file, "--train", photos / "fish", "--test", photos), "no labelled images")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "fish").symlink_to(photos / "fish")  # a link to a folder is not followed
    shutil.copytree(photos / "fish", tmp_path / "two" / "fish")
    refused(run_command("probe", encoder_file, "--train", tmp_path / "two", "--test", photos), "only one class (fish)")
    refused(run_command("probe", encoder_file, "--train", photos), "--train DIR --test DIR")
    refused(run_command("probe", encoder_file, *folders, "--shots", "1,two"), "--shots 1,two")
    refused(run_command("probe", encoder_file, *folders, "--views", 1), "--views 1")
    refused(run_command("probe", encoder_file, *folders, "--knn-k", 0), "--knn-k 0")
    refused(run_command("probe", encoder_file, *folders, "--out", "nowhere/r.json"), "--out nowhere/r.json")
    refused(run_command("probe", encoder_file, *folders, "--labels", "none.csv"), "none.csv: no such file")


def test_tables_of_what_is_no_report_are_refused(run_command, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"results": {}}')
    (tmp_path / "half.json").write_text('{"res')
    refused(run_command("probe", "--table", "old.json"), "not a probe report of this version")
    refused(run_command("probe", "--table", "half.json"), "damaged")
    refused(run_command("probe", "--table", "none.json"), "no such report")
    (tmp_path / "empty").mkdir()
    refused(run_command("probe", "--table", "empty"), "no reports in it")
    refused(run_command("probe", "--table", "old.json", "--train", "x"), "leave out")


def report_of(name: str, identity: str, top1: float, created: str, data: str = "d") -> dict:
    result = {"top1": top1, "top1_interval": [top1 - 0.02, top1 + 0.02], "k": 20}
    row = {"name": name, "encoder": identity, "about": f"encoder {identity}", "dim": 8, "results": {"knn": result}}
    row |= {"retrieval": None, "quality": {"images": 1}}
    facts = {"train": "a", "test": "b", "train_images": 9, "test_images": 5, "classes": 3, "created": created}
    result = {"top1": 0.1, "top1_interval": [0.1, 0.1], "k": 20}
    pixels = row | {"results": {"knn": result}, "name": "raw pixels", "encoder": "pixels-32", "about": "centre square"}
    return row | facts | {"baselines": [pixels], "data": {"train_fingerprint": data, "test_fingerprint": data}}


def test_reports_on_equal_data_share_a_table_and_the_newest_counts() -> None:
    text = markdown(
        [
            report_of("mine", "aaaa", 0.5, "2026-01-02"),
            report_of("mine", "aaaa", 0.4, "2026-01-01"),
            report_of("yours", "bbbb", 0.6, "2026-01-03"),
            report_of("mine", "aaaa", 0.7, "2026-01-01", data="other"),
        ]
    )
    first, second = text.split("\n\n**")
    accuracy = first.split("\n\n")[1]
    assert accuracy.count("raw pixels") == 1 and "| yours (bbbb) |" in accuracy
    assert "50.0" in accuracy and "40.0" not in accuracy and "70.0" in second
    assert "± 2.0 points" in first
    rows = accuracy.splitlines()
    assert len({len(row) for row in rows}) == 1 and rows[1].startswith("| ---")


def test_a_name_cannot_break_the_table() -> None:
    assert "a\\|b" in markdown([report_of("a|b", "aaaa", 0.5, "2026-01-02")])
