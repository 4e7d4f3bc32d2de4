"""The folder that publish writes: its files, what timm and ONNX Runtime make of them, and what the card says."""

import hashlib
import importlib
import inspect
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, parse_eval_result_entries
from PIL import Image
from safetensors.torch import load_file

from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.evaluation.probe_reports import load_reports
from simsiam_retrieval.publishing.load_rgb import load_rgb
from simsiam_retrieval.training.run_folder import load_backbone
from tests.support.commands import Run, refused

FILES = {
    *("README.md", "config.json", "model.safetensors", "preprocessor_config.json", "curves.png"),
    *("onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_int8.onnx"),
}
RESULTS = {"knn", "knn-20", "knn-whitened", "linear"}
REPOSITORY = "acme/birds"

Publish = Callable[..., Path]


@pytest.fixture
def copy(published_run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may spoil."""
    return Path(shutil.copytree(published_run, tmp_path / "tiny"))


@pytest.fixture
def dry_run(run: Run, tmp_path: Path) -> Publish:
    """``dry_run(RUN, *options)`` writes the folder and returns it."""

    def write(folder: Path, *options: object) -> Path:
        done = run("publish", folder, REPOSITORY, "--dry-run", "--out", tmp_path / "hub", *options)
        assert done.returncode == 0, done.stderr
        return tmp_path / "hub"

    return write


@pytest.fixture(scope="module")
def hub(published_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the whole run; read only."""
    from simsiam_retrieval.publishing.card_metadata import Stated
    from simsiam_retrieval.publishing.repository_folder import write_folder
    from simsiam_retrieval.publishing.run_facts import gather

    out = tmp_path_factory.mktemp("hub") / "hub"
    stated = Stated(REPOSITORY, licence="Apache-2.0", data="Photos of everything, CC BY 4.0")
    write_folder(gather(published_run), stated, [], out)
    return out


def listed(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def card_of(folder: Path) -> ModelCard:
    return ModelCard.load(folder / "README.md")


def results_of(card: ModelCard) -> list[EvalResult]:
    assert isinstance(card.data, ModelCardData)
    return card.data.eval_results or []


def test_a_dry_run_writes_the_folder_and_prints_the_plan(run: Run, published_run: Path, tmp_path: Path) -> None:
    done = run("publish", published_run, REPOSITORY, "--dry-run", "--out", tmp_path / "hub", "--licence", "mit")
    assert done.returncode == 0, done.stderr
    assert listed(tmp_path / "hub") == FILES
    assert set(done.stdout.split()) >= FILES
    assert "acme/birds" in done.stdout and "private" in done.stdout and "pull request" in done.stdout
    assert "--eval-dataset" in done.stderr and "--data" in done.stderr and "--licence" not in done.stderr


def test_equal_input_gives_equal_bytes_and_replaces_the_folder(
    hub: Path, published_run: Path, dry_run: Publish
) -> None:
    first = {path: (hub / path).read_bytes() for path in FILES}
    for _ in range(2):
        again = dry_run(published_run, "--licence", "Apache-2.0", "--data", "Photos of everything, CC BY 4.0")
        assert {path: (again / path).read_bytes() for path in FILES} == first
        assert [path.name for path in again.parent.iterdir()] == ["hub"]  # nothing half is left beside it


def test_what_a_killed_run_left_beside_the_folder_is_removed(
    published_run: Path, dry_run: Publish, tmp_path: Path
) -> None:
    for name in (".hub.a1.tmp", ".hub.a1.old", ".hub.young.tmp", ".other.tmp"):
        (tmp_path / name / "onnx").mkdir(parents=True)
        if "young" not in name:
            os.utime(tmp_path / name, (0, 0))
    dry_run(published_run)
    assert {path.name for path in tmp_path.iterdir() if path.suffix in (".tmp", ".old")} == {
        ".hub.young.tmp",
        ".other.tmp",
    }


# -- what others make of the files


def test_timm_gives_the_same_features_from_the_folder(hub: Path, published_run: Path, photos: Path) -> None:
    timm: Any = importlib.import_module("timm")
    model = timm.create_model(f"local-dir:{hub}", pretrained=True).eval()
    backbone, config = load_backbone(published_run)
    pixels = torch.rand(3, 3, 48, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(model(pixels), backbone(pixels), atol=1e-6, rtol=1e-6)
    assert model.num_features == 512 and model.num_classes == 0
    settings = timm.data.resolve_model_data_config(model)
    assert tuple(settings["input_size"]) == (3, 32, 32) and settings["interpolation"] == "bilinear"
    assert tuple(settings["mean"]) == config.mean and tuple(settings["std"]) == config.std
    transform = timm.data.create_transform(**settings, is_training=False)
    encoder = Encoder(hub / "onnx/model.onnx", device="cpu")
    for photo in sorted(photos.glob("f*/*.jpg"))[:4]:
        with Image.open(photo) as image, torch.inference_mode():
            features = model(transform(image.convert("RGB"))[None])[0].numpy()
        cosine = features @ encoder.embed([photo])[0] / np.linalg.norm(features)
        assert cosine > 0.99  # timm shrinks the whole image, the graph the square of one that was decoded smaller


def test_the_preprocessor_s_settings_and_the_weights_give_the_graph_s_vectors(hub: Path, published_run: Path) -> None:
    settings = json.loads((hub / "preprocessor_config.json").read_text())
    side = settings["size"]["shortest_edge"]
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (90, 90, 3), np.uint8))
    x = np.asarray(image.resize((side, side), settings["resample"]), np.float64) * settings["rescale_factor"]
    x = (x - settings["image_mean"]) / settings["image_std"]
    backbone, _ = load_backbone(published_run)
    backbone.load_state_dict(load_file(hub / "model.safetensors"))
    with torch.inference_mode():
        features = backbone(torch.from_numpy(x.transpose(2, 0, 1)[None]).float())[0].numpy()
    vectors = Encoder(hub / "onnx/model.onnx", device="cpu").embed_pixels(np.asarray(image)[None])
    assert features @ vectors[0] / np.linalg.norm(features) > 0.9999


def test_checksums_in_config_and_card_are_those_of_the_files(hub: Path, published_run: Path) -> None:
    section = json.loads((hub / "config.json").read_text())["simsiam_retrieval"]
    assert set(section["files"]) == FILES - {"README.md", "config.json", "curves.png"}
    for path, digest in section["files"].items():
        assert hashlib.sha256((hub / path).read_bytes()).hexdigest() == digest
        assert re.search(rf"`{path}` *\| *`{digest}`", card_of(hub).text)
    assert (hub / "onnx/model.onnx").read_bytes() == (published_run / "encoder.onnx").read_bytes()
    assert section["identity"] == Encoder(published_run / "encoder.onnx").identity


# -- the card


def test_the_card_s_figures_are_the_run_s(hub: Path, published_run: Path) -> None:
    card = card_of(hub)
    data = card.data.to_dict()
    assert (data["license"], data["library_name"], data["pipeline_tag"]) == (
        "apache-2.0",
        "timm",
        "image-feature-extraction",
    )
    (report,) = load_reports([published_run])
    stated = {result.metric_name: result.metric_value for result in results_of(card)}
    assert stated == {
        name: round(report["results"][key]["top1"], 4)
        for key, name in {
            "knn": "kNN k=38 top-1",
            "knn-20": "kNN k=20 top-1",
            "knn-whitened": "whitened kNN k=20 top-1",
            "linear": "linear top-1",
        }.items()
    }
    for row in (report, *report["baselines"]):
        assert f"{100 * row['results']['linear']['top1']:.1f}" in card.text
    for protocol in report["protocols"].values():
        assert protocol in card.text
    report_file = published_run / "export.json"
    if report_file.exists():
        parity = json.loads(report_file.read_text())["files"]["encoder.onnx"]["parity"]
    else:
        parity = json.loads((published_run / "encoder.json").read_text())["parity"]
    assert f"{parity['largest_difference']:.1e}" in card.text
    described = json.loads((published_run / "config.json").read_text())
    last = [json.loads(line) for line in (published_run / "metrics.jsonl").read_text().splitlines()][-1]
    for fact in (
        described["data"]["fingerprint"],
        described["versions"]["torch"],
        described.get("commit", ""),
        "38 images",
        "Photos of everything, CC BY 4.0",
        "| seed ",
        f"loss {last['loss']:.3g}",
        f"RankMe of z {last['rankme']:.3g}",
        "![Curves of the training run](curves.png)",
    ):
        assert fact in card.text
    with Image.open(hub / "curves.png") as picture:
        assert picture.width > 700


def test_what_the_run_does_not_say_is_left_out(copy: Path, dry_run: Publish) -> None:
    for name in ("encoder_fp16.onnx", "encoder_int8.onnx", "encoder.json", "export.json", "metrics.jsonl"):
        (copy / name).unlink(missing_ok=True)
    shutil.rmtree(copy / "eval")
    folder = dry_run(copy)
    assert listed(folder) == FILES - {"onnx/model_fp16.onnx", "onnx/model_int8.onnx", "curves.png"}
    card = card_of(folder)
    assert "license" not in card.data.to_dict() and not results_of(card)
    function = inspect.getsource(load_rgb)  # speaks of uint8 and None in every card
    assert function in card.text
    text = card.text.replace(function, "")
    for absent in ("worth", "against the torch model", "curves", "At the end", "fp16", "int8", " None", "`None", "nan"):
        assert absent not in text, absent
    assert "ask the owner" in card.text


def test_evaluations_and_parity_of_another_file_are_not_claimed(copy: Path, run: Run, tmp_path: Path) -> None:
    """They are left from an earlier export."""
    (report,) = (copy / "eval").glob("*.json")
    content = json.loads(report.read_text())
    report.write_text(json.dumps({**content, "encoder": "0123456789abcdef"}))
    (copy / "export.json").write_text(json.dumps({"files": [{"sha256": "0" * 64, "largest_difference": 0.123}]}))
    done = run("publish", copy, REPOSITORY, "--dry-run")
    assert done.returncode == 0 and "1 evaluation(s) of other encoders" in done.stderr
    card = card_of(copy / "hub")
    assert "worth" not in card.text and "0.123" not in card.text and "1.2e-01" not in card.text


def test_figures_of_the_export_report_are_found_by_checksum(copy: Path, dry_run: Publish) -> None:
    digest = hashlib.sha256((copy / "encoder_int8.onnx").read_bytes()).hexdigest()
    parity = {"images": 64, "largest_difference": 0.0123, "recall_at_10": 0.96, "knn": None, "batches": [1, 2]}
    row = {"sha256": digest, "below_bound": "recall@10 0.96, bound 0.97", "parity": parity}
    (copy / "export.json").write_text(json.dumps({"files": {"encoder_int8.onnx": row}}))
    card = card_of(dry_run(copy))
    assert "is below the bound that export requires: recall@10 0.96, bound 0.97." in card.text
    (line,) = re.findall(r"\| `onnx/model_int8.onnx` *\| .*1\.2e-02.*", card.text)
    assert [cell.strip() for cell in line.split("|")[3:6]] == ["64", "1.2e-02", "0.960"]


def test_results_in_the_hub_s_newer_form(published_run: Path, dry_run: Publish, few_photos: Path) -> None:
    folder = dry_run(published_run, "--eval-dataset", f"{few_photos.name}=acme/kinds#short")
    files = sorted((folder / ".eval_results").iterdir())
    assert len(files) == len(RESULTS)
    (report,) = load_reports([published_run])
    found = {}
    for file in files:
        (entry,) = parse_eval_result_entries(yaml.safe_load(file.read_text()))
        assert isinstance(entry, EvalResultEntry)
        assert (entry.dataset_id, entry.task_id, entry.date) == ("acme/kinds", "short", report["created"])
        found[file.stem.split("-", 1)[1].split("-", 1)[-1]] = entry.value
    assert sorted(found.values()) == sorted(round(report["results"][key]["top1"], 4) for key in RESULTS)
    assert {result.dataset_type for result in results_of(card_of(folder))} == {"acme/kinds"}


def test_nothing_of_this_machine_is_told(published_run: Path, dry_run: Publish, few_photos: Path) -> None:
    folder = dry_run(published_run)
    for file in (folder / "README.md", folder / "config.json"):
        text = file.read_text()
        assert str(few_photos.parent) not in text and str(published_run.parent) not in text
    assert f"`{few_photos.name}`" in (folder / "README.md").read_text()


def test_another_method_is_named_with_its_paper(published_run: Path, dry_run: Publish, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(published_run, copy)
    described = json.loads((copy / "config.json").read_text())
    described["config"] |= {"method": "simclr", "temperature": 0.125}  # with a predictor its weights are named alike
    (copy / "config.json").write_text(json.dumps(described))
    card = card_of(dry_run(copy))
    assert "trained without labels by [SimCLR](https://arxiv.org/abs/2002.05709)" in card.text
    assert re.search(r"\|\s*temperature\s*\|\s*`0.125`", card.text) and "queue" not in card.text
    tags = card.data.to_dict()["tags"]
    assert "simclr" in tags and "simsiam" not in tags


def test_a_network_that_timm_lacks(tmp_path: Path, dry_run: Publish) -> None:
    """Converted weights with a 3x3 first convolution: no timm, nothing about a training that nobody knows."""
    from simsiam_retrieval.conversion.write_run import convert
    from simsiam_retrieval.methods.backbone import build_backbone

    torch.manual_seed(0)
    torch.save(build_backbone("resnet18", "cifar").state_dict(), tmp_path / "theirs.pt")
    convert(tmp_path / "theirs.pt", tmp_path / "run", stem="cifar", licence="CC BY-NC 4.0, theirs")
    folder = dry_run(tmp_path / "run")  # not exported yet: publish does that
    config, card = json.loads((folder / "config.json").read_text()), card_of(folder)
    assert "architecture" not in config and config["simsiam_retrieval"]["stem"] == "cifar"
    data = card.data.to_dict()
    assert (data["library_name"], data["license"], data["license_name"]) == ("onnx", "other", "cc-by-nc-4.0-theirs")
    assert "timm" not in card.text and "simsiam" not in data["tags"]
    for unknown in ("learning rate", "epochs", "seed", "recipe | `photos`"):
        assert unknown not in card.text
    assert "theirs.pt" in card.text and "CC BY-NC 4.0, theirs" in card.text


# -- what is refused


def test_encoders_of_another_training_state(copy: Path, run: Run) -> None:
    checkpoint = torch.load(copy / "checkpoint.pt", weights_only=True)
    checkpoint["model"]["backbone.conv1.weight"] *= 1.02  # as after a few steps more
    torch.save(checkpoint, copy / "checkpoint.pt")
    refused(run("publish", copy, REPOSITORY, "--dry-run"), "encoder.onnx", "export it again")
    assert not (copy / "hub").exists() and not list(copy.glob(".hub*"))


@pytest.mark.parametrize("name", ["birds", "acme/birds/x", "acme/", "/birds", "acme/bi rds", "../birds", "acme/a--b"])
def test_names_that_the_hub_does_not_permit(run: Run, published_run: Path, name: str) -> None:
    refused(run("publish", published_run, name, "--dry-run"), "OWNER/NAME")


def test_a_folder_of_the_user_s_is_not_touched(run: Run, published_run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for out in ("mine", "mine/letter.txt", "link"):
        refused(run("publish", published_run, REPOSITORY, "--dry-run", "--out", tmp_path / out), "choose another --out")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_what_is_no_run(run: Run, published_run: Path, copy: Path, tmp_path: Path) -> None:
    refused(run("publish", tmp_path / "none", REPOSITORY, "--dry-run"), "not a run folder")
    refused(run("publish", published_run, REPOSITORY, "--dry-run", "--eval-dataset", "x"), "TEST=OWNER/DATASET")
    refused(run("publish", published_run, REPOSITORY, "--dry-run", "--eval-dataset", "x=a/b"), "no evaluation on x")
    (copy / "encoder_int8.onnx").write_bytes(b"not onnx")
    refused(run("publish", copy, REPOSITORY, "--dry-run"), "encoder_int8.onnx", "damaged")
    (copy / "encoder_int8.onnx").unlink()
    (copy / "export.json").write_text("{")
    refused(run("publish", copy, REPOSITORY, "--dry-run"), "export.json", "not JSON")
