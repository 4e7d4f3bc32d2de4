"""Recipes, learning rates, and how settings become views."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from simsiam_retrieval.images.normalisation import IMAGENET
from simsiam_retrieval.training import augmentation, loop
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.optimizer import cosine
from simsiam_retrieval.training.recipes import RECIPES, export_facts, recipe
from simsiam_retrieval.training.run_files import read_metrics
from simsiam_retrieval.training.run_folder import Run
from tests.support.small_runs import FAST, train

pytestmark = pytest.mark.usefixtures("rows_by_epoch")


@pytest.mark.parametrize(("step", "expected"), [(0, 1), (25, 0.8535533906), (50, 0.5), (75, 0.1464466094), (100, 0)])
def test_cosine_by_hand(step, expected):
    assert cosine(step, 100) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("batch_size", "used"), [(8, 8), (16, 16), (500, 38)])
def test_the_encoder_s_learning_rate_decays_and_the_predictor_s_does_not(
    few_photos, tmp_path, monkeypatch, batch_size, used
):
    seen: list[list[float]] = []

    class Noting(torch.optim.SGD):
        def step(self, *args, **options):
            seen.append([group["lr"] for group in self.param_groups])
            self.settings = [
                (group["momentum"], group["weight_decay"], group["nesterov"]) for group in self.param_groups
            ]
            assert self.settings == [(0.9, 1e-4, False)] * 2
            return super().step(*args, **options)

    monkeypatch.setattr(torch.optim, "SGD", Noting)
    run = train(dataclasses.replace(FAST, batch_size=batch_size), few_photos, tmp_path / "run")
    steps = 3 * (38 // used)
    lr = 0.05 * used / 256
    expected = [[lr * (1 + math.cos(math.pi * step / steps)) / 2, lr] for step in range(steps)]
    np.testing.assert_allclose(seen, expected, rtol=1e-9)
    logged = [row["lr"] for row in read_metrics(run.path)]
    np.testing.assert_allclose(logged, [expected[row["step"] - 1][0] for row in read_metrics(run.path)], atol=1e-8)


def test_recipes_are_the_paper_s():
    imagenet, cifar = RECIPES["imagenet"], RECIPES["cifar"]
    assert (imagenet.backbone, imagenet.image_size, imagenet.batch_size, imagenet.epochs) == ("resnet50", 224, 512, 100)
    assert (imagenet.base_lr, imagenet.weight_decay, imagenet.projector_layers) == (0.05, 1e-4, 3)
    assert (cifar.stem, cifar.image_size, cifar.batch_size, cifar.epochs) == ("cifar", 32, 512, 800)
    assert (cifar.base_lr, cifar.weight_decay, cifar.projector_layers, cifar.blur) == (0.03, 5e-4, 2, 0)
    for name, config in RECIPES.items():
        assert config.recipe == name and recipe(name) == config
        assert (config.predictor_dim, config.momentum) == (512, 0.9)
        assert config.projector_dim == 2048 or config.method != "simsiam"
        config.check()


def test_a_recipe_of_one_method_gives_another_its_own_heads():
    own = RECIPES["own-folder"]
    assert (own.method, own.backbone, own.predictor, own.projector_dim) == ("simclr", "resnet18-3stages", "none", 128)
    assert recipe("own-folder", "simclr") == own
    other = recipe("own-folder", "simsiam")
    heads = ("projector_layers", "projector_dim", "projector_hidden_dim", "predictor", "predictor_lr", "stop_gradient")
    assert [getattr(other, name) for name in heads] == [getattr(Config(), name) for name in heads]
    assert (other.image_size, other.base_lr) == (own.image_size, own.base_lr)


@pytest.mark.parametrize(("options", "init"), [([], "default"), (["--init", "None"], None)])
def test_the_recipe_for_an_own_folder_goes_on_from_the_shipped_encoder(command, few_photos, tmp_path, options, init):
    given = ["--recipe", "own-folder", "--epochs", "0", "--device", "cpu", "--workers", "0", *options]
    assert command(few_photos, "--out", tmp_path / "run", *given).code == 0
    facts = Run(tmp_path / "run").read()
    assert facts["init"] == init
    assert facts.get("embed_at") == (64 if init else None)


def test_the_recipe_photos_is_the_study_s_winner_and_another_method_keeps_its_views():
    photos = RECIPES["photos"]
    assert (photos.method, photos.backbone, photos.image_size, photos.batch_size) == (
        "simclr", "resnet18-3stages", 32, 512,
    )  # fmt: skip
    assert (photos.base_lr, photos.min_scale, photos.recompress) == (0.1, 0.05, 0.5)
    other = recipe("photos", "simsiam")
    assert (other.method, other.predictor, other.projector_dim) == ("simsiam", "mlp", 2048)
    assert (other.backbone, other.image_size) == (photos.backbone, photos.image_size)
    assert RECIPES["simsiam"] == Config() and Config().image_size == 128


def test_runs_of_the_recipe_photos_say_how_they_are_exported():
    photos = RECIPES["photos"]
    assert export_facts(photos) == {"features": "stage2@4x4,stage3@2x2,flip,pca256^0.75", "embed_at": 64}
    assert export_facts(dataclasses.replace(photos, backbone="resnet50")) == {}
    assert export_facts(dataclasses.replace(photos, image_size=64)) == {}
    assert export_facts(Config()) == export_facts(RECIPES["cifar"]) == {}


def test_jitter_and_grey_set_how_far_colours_change():
    strengths = ("brightness", "contrast", "saturation", "hue", "grey_probability")

    def of(**settings: float) -> list[float]:
        views = loop.augmentation_of(Config(image_size=24, blur=0, **settings))  # type: ignore[arg-type]
        return [getattr(views, name) for name in strengths]

    assert of() == pytest.approx([0.4, 0.4, 0.4, 0.1, 0.2])
    assert of(jitter=0.5, grey=0.3) == pytest.approx([0.2, 0.2, 0.2, 0.05, 0.3])
    still = loop.augmentation_of(Config(image_size=24, blur=0, jitter=0, grey=0))
    drawn = augmentation.draw(still, torch.ones(8), torch.Generator().manual_seed(0))
    one_colour = torch.tensor([200, 90, 30], dtype=torch.uint8)[None, :, None, None].expand(8, 3, 36, 36)
    views = augmentation.apply(still, one_colour.contiguous(memory_format=torch.channels_last), drawn)
    expected = (torch.tensor([200, 90, 30]) / 255 - torch.tensor(IMAGENET.mean)) / torch.tensor(IMAGENET.std)
    torch.testing.assert_close(views, expected[None, :, None, None].expand_as(views), atol=1e-4, rtol=0)


def test_blur_shrinks_with_the_view():
    assert loop.augmentation_of(Config(image_size=224)).blur_sigma == pytest.approx((0.1, 2.0))
    assert loop.augmentation_of(Config(image_size=56)).blur_sigma == pytest.approx((0.025, 0.5))
    assert loop.augmentation_of(Config(image_size=448)).blur_sigma == pytest.approx((0.1, 2.0))
