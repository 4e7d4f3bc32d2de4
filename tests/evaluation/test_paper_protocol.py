"""The paper's linear evaluation: LARS against numpy, the schedule, and a backbone that stays as it is."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from simsiam_retrieval.export.export_run import Settings, export_files  # pyright: ignore[reportMissingImports]
from torch import nn

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.encoder.find_encoder import default_encoder_file
from simsiam_retrieval.evaluation.extractors import PixelExtractor, open_extractor, weights_hash
from simsiam_retrieval.evaluation.labelled import labelled_files
from simsiam_retrieval.evaluation.network_behind import network_behind
from simsiam_retrieval.evaluation.paper_protocol import paper_scores, train_classifier
from simsiam_retrieval.images.files import ImageFile
from simsiam_retrieval.metrics.accuracy import top_k
from simsiam_retrieval.training.optimizer import LARS
from simsiam_retrieval.training.pixel_store import ImageStore
from simsiam_retrieval.training.run_folder import load_backbone


def test_lars_equals_numpy() -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(3, 4)), rng.normal(size=3)
    parameters = [nn.Parameter(torch.from_numpy(value.copy())) for value in (weight, bias)]
    optimizer = LARS(parameters, 0.7, momentum=0.9, weight_decay=0.01, trust=0.02)
    velocity = [np.zeros((3, 4)), np.zeros(3)]
    for _ in range(5):
        gradients = [rng.normal(size=(3, 4)), rng.normal(size=3)]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        decayed = gradients[0] + 0.01 * weight
        scaled = 0.02 * np.linalg.norm(weight) / np.linalg.norm(decayed) * decayed
        velocity = [0.9 * velocity[0] + scaled, 0.9 * velocity[1] + gradients[1]]  # the bias: plain SGD
        weight, bias = weight - 0.7 * velocity[0], bias - 0.7 * velocity[1]
    np.testing.assert_allclose(parameters[0].detach().numpy(), weight, rtol=1e-10)
    np.testing.assert_allclose(parameters[1].detach().numpy(), bias, rtol=1e-10)


def test_lars_moves_weights_that_are_all_zero() -> None:
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.ones(2, 2)
    LARS([parameter], 0.5).step()
    assert torch.equal(parameter.detach(), torch.full((2, 2), -0.5))


class Colours(nn.Module):
    """A backbone of mean colours behind a BN layer, whose statistics would betray train mode."""

    def __init__(self, careless: bool = False) -> None:
        super().__init__()
        self.norm, self.feature_dim, self.careless = nn.BatchNorm2d(3), 3, careless

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.careless:
            self.norm.running_mean += 1e-3  # type: ignore[operator]
        return self.norm(x).mean(dim=(2, 3))


def store_of(count: int) -> tuple[ImageStore, torch.Tensor]:
    """Noise with one channel brighter; which one is the class."""
    labels = np.arange(count) % 3
    pixels = np.random.default_rng(0).integers(0, 60, (count, 16, 16, 3), np.uint8)
    pixels[np.arange(count), :, :, labels] += 120
    files = [ImageFile(Path(f"/{number}.png"), 0, 0) for number in range(count)]
    return ImageStore(pixels, np.ones(count, np.float32), np.zeros((count, 32), np.uint8), files, []), torch.from_numpy(
        labels
    )


def test_training_separates_colours_and_leaves_the_backbone_alone() -> None:
    store, labels = store_of(96)
    backbone = Colours().train()
    before = weights_hash(backbone)
    trained = train_classifier(backbone, 8, store, labels, 3, epochs=60, batch=64, base_lr=100)
    assert weights_hash(backbone) == before and not backbone.training
    assert (trained.batch, trained.lr) == (64, pytest.approx(100 * 64 / 256))
    assert len(trained.losses) == 60 and trained.losses[0] == pytest.approx(np.log(3), abs=0.05)
    assert trained.losses[-1] < 0.9 * trained.losses[0]
    whole = train_classifier(Colours(), 8, store, labels, 3, epochs=2, batch=512)
    assert (whole.batch, whole.lr) == (96, pytest.approx(0.1 * 96 / 256))  # no more than there are
    again = train_classifier(Colours(), 8, store, labels, 3, epochs=60, batch=64, base_lr=100)
    assert again.losses == trained.losses


def test_a_backbone_that_changes_is_noticed() -> None:
    store, labels = store_of(12)
    with pytest.raises(RuntimeError, match="changed"):
        train_classifier(Colours(careless=True), 8, store, labels, 3, epochs=1)


def test_on_a_real_backbone_and_real_photos(few_photos: Path, run_dir: Path) -> None:
    backbone, config = load_backbone(run_dir)
    before = copy.deepcopy(backbone.state_dict())
    side = labelled_files(few_photos)
    number = {name: index for index, name in enumerate(side.classes)}
    labels = torch.tensor([number[name] for name in side.names])
    scores, trained = paper_scores(
        backbone, config.image_size, (side.files, labels), side.files, len(number), epochs=3, workers=0
    )
    assert scores.shape == (len(side.files), len(number)) and scores.isfinite().all()
    assert len(trained.losses) == 3 and trained.batch == len(side.files)
    assert 0 <= top_k(scores, labels, 1) <= 1
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_network_behind_a_run_and_behind_an_onnx_file_are_one(run_dir: Path, encoder_file: Path) -> None:
    of_run = network_behind(open_extractor(run_dir), run_dir)
    of_file = network_behind(open_extractor(encoder_file), encoder_file)
    assert of_run is not None and of_file is not None
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(of_run(x), of_file(x), atol=1e-4, rtol=1e-3)
    assert network_behind(PixelExtractor(), None) is None


def test_the_network_behind_whitened_vectors(run_dir: Path, few_photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "whitened.onnx"
    export_files(run_dir, {"fp16": file}, Settings(dim=16, whiten=True, fit=few_photos, held_out=few_photos))
    found = network_behind(open_extractor(file), file)
    assert found is not None
    torch.testing.assert_close(
        found.state_dict()["layer3.0.conv1.weight"],
        load_backbone(run_dir)[0].state_dict()["layer3.0.conv1.weight"],
        rtol=2e-3,
        atol=1e-5,
    )
    assert network_behind(open_extractor(None), None) is not None  # the shipped one


def test_an_encoder_that_is_not_of_its_runs_checkpoint_is_refused(run_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "checkpoint.pt"):
        shutil.copy(run_dir / name, run)
    shutil.copy(default_encoder_file(), run / "encoder.onnx")
    with pytest.raises(UserError, match="run export again"):
        network_behind(open_extractor(run), run)
