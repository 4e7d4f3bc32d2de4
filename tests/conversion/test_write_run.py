"""The run folder that a conversion writes, and what accepts it: export, pretrain --init."""

import json
import re
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from simsiam_retrieval.export.export_run import export_run  # pyright: ignore[reportMissingImports]

from simsiam_retrieval.conversion.write_run import convert
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.images.normalisation import IMAGENET, Normalisation
from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.training.config import Config, from_dict
from simsiam_retrieval.training.initial_weights import initial_backbone
from simsiam_retrieval.training.run_files import read_description
from simsiam_retrieval.training.run_folder import Run, load_backbone
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.trainer import pretrain
from tests.support.other_programs import (
    CIFAR10,
    Torchvision,
    bare,
    converted,
    saved,
    trained_looking,
)


def test_the_run_says_where_it_is_from_and_no_more(tmp_path: Path) -> None:
    import hashlib

    converted(trained_looking(Torchvision(18)).network.state_dict(), tmp_path, licence="CC-BY-NC 4.0", image_size=96)
    described = read_description(tmp_path / "run")
    facts = described["converted"]
    assert facts["file"] == "weights.pt" and str(tmp_path) not in json.dumps(described)
    assert facts["sha256"] == hashlib.sha256((tmp_path / "weights.pt").read_bytes()).hexdigest()
    assert (facts["layout"], facts["licence"], facts["method"]) == ("resnet", "CC-BY-NC 4.0", "unknown")
    assert facts["heads"].startswith("none") and facts["training"].startswith("unknown")
    known = {"recipe", "backbone", "stem", "image_size", "mean", "std"}
    assert set(described["config"]) == known and described["config"]["image_size"] == 96
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint.pt", "config.json"]


def test_an_existing_run_is_left_alone(run_dir: Path, tmp_path: Path) -> None:
    file = saved(bare(), tmp_path / "w.pt")
    before = {path: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    with pytest.raises(UserError, match="exists already"):
        convert(file, run_dir)
    assert before == {path: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    with pytest.raises(UserError, match="already a run folder"):
        convert(run_dir, tmp_path / "run")
    with pytest.raises(UserError, match="this is a folder; name"):
        convert(tmp_path, tmp_path / "run")
    with pytest.raises(UserError, match="exists already"):
        convert(file, file)
    (tmp_path / "empty").mkdir()
    convert(file, tmp_path / "empty")
    convert(file, tmp_path / "new" / "below")
    usual = tmp_path / "usual"
    usual.mkdir()
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    for options, said in (
        ({"image_size": 5000}, "--image-size 5000"),
        ({"image_size": 0}, "--image-size 0"),
        ({"normalisation": Normalisation((123.7, 116.3, 103.5), IMAGENET.std)}, "--mean 123.7"),
        ({"normalisation": Normalisation(std=(0.2, 0.0, 0.2))}, "--std 0.0"),
        ({"stem": "cifar"}, "leave out --stem"),
    ):
        with pytest.raises(UserError, match=said):
            converted(bare(), tmp_path, **options)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mean", [0.5, [0.5, 0.5], [0.5, 0.5, "0.5"], [0.5, 0.5, 1.5], None])
def test_a_damaged_normalisation_is_refused(mean: Any) -> None:
    assert from_dict({"mean": [0.5, 0.25, 0.125]}).normalisation.mean == (0.5, 0.25, 0.125)
    with pytest.raises(UserError, match="mean"):
        from_dict({"mean": mean})


@pytest.mark.parametrize("stem", ["cifar-pad2", "cifar-norelu"])
def test_an_export_gives_the_sources_vectors(stem: str, photos: Path, tmp_path: Path) -> None:
    source = build_backbone("resnet18", stem)
    source.load_state_dict(bare(stem))
    source.eval()
    converted(source.state_dict(), tmp_path, normalisation=CIFAR10, licence="MIT", stem=stem)
    export_run(tmp_path / "run", tmp_path / "run" / "encoder.onnx")
    encoder = Encoder(tmp_path / "run" / "encoder.onnx", device="cpu")
    squares = np.stack(
        [np.asarray(Image.open(file).convert("RGB").resize((32, 32))) for file in sorted(photos.glob("*/*.jpg"))[::20]]
    )
    # by torch and the source's own recipe, border and all
    x = torch.from_numpy((squares / 255 - np.array(CIFAR10.mean)) / np.array(CIFAR10.std)).float()
    with torch.no_grad():
        expected = F.normalize(source(x.permute(0, 3, 1, 2).contiguous()), dim=1).numpy()
        other = torch.from_numpy((squares / 255 - np.array(IMAGENET.mean)) / np.array(IMAGENET.std)).float()
        wrong = F.normalize(source(other.permute(0, 3, 1, 2).contiguous()), dim=1).numpy()
    found = encoder.embed_pixels(squares)
    assert np.abs(found - expected).max() < 1e-5 < np.abs(wrong - expected).max() / 10
    facts = encoder.metadata
    assert (facts["stem"], facts["licence"], facts["method"], facts["trained_at"]) == (
        stem,
        "MIT",
        "unknown",
        "unknown",
    )
    assert facts["converted_from"].startswith("weights.pt (sha256 ")
    # and the exported file can be trained on, with what it asks for
    config = Config(stem=stem, mean=CIFAR10.mean, std=CIFAR10.std)  # type: ignore[arg-type]
    restored = initial_backbone(str(tmp_path / "run" / "encoder.onnx"), config)
    with torch.no_grad():
        again = restored.eval()(x.permute(0, 3, 1, 2).contiguous())
        torch.testing.assert_close(F.normalize(again, dim=1).numpy(), expected, rtol=1e-3, atol=1e-4)


def test_pretraining_starts_from_it_but_does_not_go_on_with_it(few_photos: Path, tmp_path: Path) -> None:
    state = bare()
    converted(state, tmp_path, normalisation=CIFAR10)
    run = tmp_path / "run"
    still = Config(image_size=32, batch_size=16, epochs=0, projector_dim=64, predictor_dim=32)
    with pytest.raises(UserError, match=re.escape("--mean 0.4914 0.4822 0.4465 --std 0.247 0.2435 0.2616")):
        pretrain(still, [few_photos], Options(out=tmp_path / "next", init=str(run), device="cpu", workers=0))
    fitting = from_dict({"image_size": 32, "batch_size": 16, "epochs": 1, "projector_dim": 64, **CIFAR10._asdict()})
    assert pretrain(fitting, [few_photos], Options(out=tmp_path / "next", init=str(run), device="cpu", workers=0))
    begun = load_backbone(tmp_path / "next")[0]
    distance = (begun.get_parameter("conv1.weight") - state["conv1.weight"]).norm() / state["conv1.weight"].norm()
    assert 0 < distance < 0.2  # one epoch away
    assert begun.normalisation == CIFAR10
    with pytest.raises(UserError, match=f"--init {run}"):
        pretrain(Run(run).config(), [few_photos], Options(resume=run, device="cpu", workers=0))


def test_views_are_normalised_as_the_run_says() -> None:
    from simsiam_retrieval.training.augmentation import Augmentation, apply, draw

    images = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    drawn = draw(Augmentation(16), torch.ones(3), torch.Generator().manual_seed(1))
    usual = apply(Augmentation(16), images, drawn)
    other = apply(Augmentation(16, normalisation=CIFAR10), images, drawn)
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    pixels = usual * std + mean
    mean, std = (torch.tensor(values)[:, None, None] for values in CIFAR10)
    torch.testing.assert_close(other * std + mean, pixels, rtol=0, atol=1e-6)
