"""Further views of an image: small ones and ones with a blank square, that predict the usual two."""

import dataclasses
import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.core.randomness import generator
from simsiam_retrieval.methods.base import Method, Step
from simsiam_retrieval.methods.byol import BYOL
from simsiam_retrieval.methods.guided import guided_shares
from simsiam_retrieval.methods.simsiam import SimSiam
from simsiam_retrieval.training import loop
from simsiam_retrieval.training.augmentation import Augmentation, apply, cut_out, draw
from simsiam_retrieval.training.build_model import build_model
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.data_split import make_plan
from simsiam_retrieval.training.loop import views_of
from simsiam_retrieval.training.passes import learn
from simsiam_retrieval.training.recipes import RECIPES, recipe
from simsiam_retrieval.training.run_files import read_metrics
from simsiam_retrieval.training.run_folder import Run
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.sync_batch_norm import synchronise
from simsiam_retrieval.training.torchrun_processes import ALONE, Processes
from simsiam_retrieval.training.trainer import pretrain
from simsiam_retrieval.training.training_report import Report
from tests.support.two_processes import in_two_processes

KINDS = ("small", "cutout")


def tiny(kind: type[Method] = SimSiam, kinds: tuple[str, ...] = KINDS) -> Method:
    """A network whose backbone takes views of any size, in float64."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return kind(
        backbone, 5, dim=6, projector_hidden_dim=7, projector_layers=2, predictor_hidden_dim=4, kinds=kinds
    ).double()


def images(side: int, seed: int, n: int = 8) -> Tensor:
    return torch.randn(n, 3, side, side, generator=generator(seed), dtype=torch.float64)


def views() -> list[Tensor]:
    """Two usual views, two small ones, one with a hole."""
    return [images(6, 1), images(6, 2), images(4, 3), images(4, 4), images(6, 5)]


FURTHER = ["small", "small", "cutout"]
STEP = Step(0, 10, 5, 0, 8, torch.arange(8))


def passed(model: Method, x: list[Tensor], network: nn.Module | None = None, processes: Processes = ALONE):
    model.zero_grad()
    whole = torch.autocast("cpu", enabled=False)
    return learn(network or model, model, x, FURTHER, STEP, precision=lambda: whole, processes=processes)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def cosine_loss(p: Tensor, z: Tensor) -> Tensor:
    return -(F.normalize(p, dim=1) * F.normalize(z, dim=1)).sum(dim=1).mean()


@pytest.mark.parametrize("own", [True, False])
def test_views_one_by_one_give_the_gradient_of_the_whole_loss(own: bool) -> None:
    """Against one graph of all views, written down from the paper: a third for each kind of view."""
    model = tiny(kinds=KINDS if own else ())
    x = views()
    heads = [model.predictors[kind] if own else model.predictor for kind in KINDS]
    z = [model.projector(model.backbone(view)) for view in x]
    t1, t2 = z[0].detach(), z[1].detach()
    usual = (cosine_loss(model.predictor(z[0]), t2) + cosine_loss(model.predictor(z[1]), t1)) / 2
    small = sum(cosine_loss(heads[0](z[i]), t) for i in (2, 3) for t in (t1, t2)) / 4
    cutout = sum(cosine_loss(heads[1](z[4]), t) for t in (t1, t2)) / 2
    whole = (usual + small + cutout) / 3
    whole.backward()
    expected = gradients(model)
    output = passed(model, x)
    torch.testing.assert_close(output.loss, whole.detach().float())
    found = gradients(model)
    assert found.keys() == expected.keys() == dict(model.named_parameters()).keys()  # every predictor learns
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7, msg=name)


def test_a_further_view_s_target_gets_no_gradient() -> None:
    model = tiny()
    x = [view.requires_grad_() for view in views()]
    with torch.no_grad():
        targets = model.pair(x[0], x[1], STEP).targets
    loss = model.further(x[2], "small", targets)
    loss.backward()
    assert x[2].grad is not None and x[0].grad is None and x[1].grad is None
    assert all(p.grad is None for p in (*model.predictor.parameters(), *model.predictors["cutout"].parameters()))


def test_byol_s_further_views_predict_its_target_network() -> None:
    model, x = tiny(BYOL), views()
    assert isinstance(model, BYOL)
    with torch.no_grad():
        t1, t2 = model.target(x[0]), model.target(x[1])
        p = model.predictors["small"](model.project(x[2]))
        expected = sum((F.normalize(p, dim=1) - F.normalize(t, dim=1)).pow(2).sum(dim=1).mean() for t in (t1, t2))
        # the target's own BN takes statistics of each batch: asking it again gives the same
        found = model.further(x[2], "small", model.pair(x[0], x[1], STEP).targets)
    assert float(found) == pytest.approx(float(expected), abs=1e-5)


def test_memory_does_not_grow_with_the_number_of_views() -> None:
    """What the graphs keep at any time is at most what the pair's keeps."""
    model, held, most = tiny(), 0, [0]

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal held
            self.tensor, self.bytes = tensor, tensor.numel() * tensor.element_size()
            held += self.bytes
            most[0] = max(most[0], held)

        def __del__(self) -> None:
            nonlocal held
            held -= self.bytes

    def peak(count: int) -> int:
        most[0] = 0
        model.zero_grad()
        x = [images(6, seed) for seed in range(2 + count)]
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            learn(
                model, model, x, ["cutout"] * count, STEP,
                precision=lambda: torch.autocast("cpu", enabled=False), processes=ALONE,
            )  # fmt: skip
        return most[0]

    alone, many = peak(0), peak(6)
    assert alone > 0 and many <= 1.01 * alone


def test_without_further_views_nothing_changes() -> None:
    with_own, without = tiny(), tiny(kinds=())
    assert list(without.state_dict()) == [name for name in with_own.state_dict() if not name.startswith("predictors.")]
    for name, tensor in without.state_dict().items():
        if not name.startswith("predictors."):
            assert torch.equal(tensor, with_own.state_dict()[name]) or "predictor" in name
    for config in (Config(), recipe("cifar"), recipe("imagenet"), RECIPES["small-data"]):
        assert config.further_views == [] and not config.guided and len(views_of(config)) == 2
        assert not any("predictors." in name for name in build_model(Config(projector_dim=8)).state_dict())


def test_the_optimiser_has_every_predictor_in_the_predictors_group() -> None:
    rest, heads = tiny().parameter_groups()
    model = tiny()
    assert len(heads["params"]) == 3 * len(list(model.predictor.parameters()))
    assert len(rest["params"]) + len(heads["params"]) == len(list(model.parameters()))
    assert not heads["decay_lr"]


# -- several processes


def parts(rank: int) -> dict[str, Tensor]:
    both = Processes(rank=rank, local_rank=rank, count=2)
    model = tiny().float()  # as BN over processes wants it
    synchronise(model, torch.device("cpu"))
    network = nn.parallel.DistributedDataParallel(model, forward_sync_buffers=False)
    output = passed(model, [view[both.part(8)].float() for view in views()], network, both)
    return {**gradients(model), "loss": both.average(output.loss)}


def test_two_processes_give_the_gradients_of_one(tmp_path: Path) -> None:
    model = tiny().float()
    loss = passed(model, [view.float() for view in views()]).loss
    expected = gradients(model)
    for part in in_two_processes(parts, tmp_path):
        torch.testing.assert_close(part.pop("loss"), loss, rtol=1e-5, atol=1e-6)
        assert part.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(part[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


# -- guided stop-gradient


def shares_by_loops(z1: np.ndarray, z2: np.ndarray) -> np.ndarray:
    """The paper's figure 3, image by image."""
    n = len(z1)
    shares = np.zeros((n, 2))
    for i in range(n):
        j = (i + 1) % n
        distances = {
            (a, b): np.linalg.norm((z1, z2)[a][i] - (z1, z2)[b][j]) for a in (0, 1) for b in (0, 1)
        }  # fmt: skip
        a, b = min(distances, key=lambda pair: distances[pair])
        shares[i, a] += 0.5
        shares[j, b] += 0.5
    return shares


def test_guided_shares_are_the_paper_s() -> None:
    z1, z2 = (torch.randn(33, 7, generator=generator(seed)) for seed in (1, 2))
    found = guided_shares(z1, z2)
    np.testing.assert_allclose(found.numpy(), shares_by_loops(z1.double().numpy(), z2.double().numpy()))
    assert torch.equal(found.sum(dim=1), torch.ones(33))
    assert set(found.flatten().tolist()) == {0.0, 0.5, 1.0}


def test_guided_the_nearest_views_get_the_gradient() -> None:
    """A view with share 0 gets none, whatever it is compared with."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    # wide heads: no image meets only units that are off
    model = SimSiam(backbone, 5, dim=6, projector_hidden_dim=64, predictor_hidden_dim=64, bn="none", guided=True)
    x1, x2 = (torch.randn(16, 3, 2, 2, generator=generator(seed), requires_grad=True) for seed in (1, 2))
    output = model.pair(x1, x2, STEP)
    with torch.no_grad():
        z1, z2 = model.project(x1), model.project(x2)
        shares = guided_shares(z1, z2)
        cosines = [F.cosine_similarity(model.predictor(a), b) for a, b in ((z1, z2), (z2, z1))]
    assert output.loss.item() == pytest.approx(-float((shares.T * torch.stack(cosines)).sum() / 16), abs=1e-6)
    output.loss.backward()
    for x, share in ((x1, shares[:, 0]), (x2, shares[:, 1])):
        assert x.grad is not None
        assert torch.equal(x.grad.flatten(1).abs().sum(dim=1) > 0, share > 0)
    assert 0 < int((shares[:, 0] == 0).sum()) < 16


# -- views


def test_the_views_of_a_step() -> None:
    config = Config(image_size=64, small_views=2, cutout_views=1, cutout=0.25)
    sides = [settings.image_size for settings in views_of(config)]
    assert sides == [64, 64, 32, 32, 64]
    usual, _, small, _, hole = views_of(config)
    assert (small.min_scale, small.max_scale) == (0.05, 0.3) and (usual.min_scale, usual.max_scale) == (0.2, 1.0)
    assert hole == dataclasses.replace(usual, cutout=0.25) and small.blur_sigma[1] == usual.blur_sigma[1] / 2
    assert views_of(dataclasses.replace(config, small_size=48))[2].image_size == 48


def test_small_crops_stay_within_their_scale() -> None:
    boxes = draw(Augmentation(min_scale=0.1, max_scale=0.3), torch.ones(4000), generator(0)).box
    area = boxes[:, 2] * boxes[:, 3]
    assert 0.0999 < float(area.min()) < 0.11 and 0.29 < float(area.max()) < 0.3001


def test_a_hole_is_blank_and_the_rest_is_untouched() -> None:
    settings = Augmentation(image_size=32, cutout=0.5)
    aspect, pixels = torch.ones(60), torch.randint(1, 255, (60, 3, 40, 40), generator=generator(0), dtype=torch.uint8)
    with_hole, without = draw(settings, aspect, generator(3)), draw(Augmentation(image_size=32), aspect, generator(3))
    for cut, whole in zip(with_hole._replace(hole=without.hole), without, strict=True):
        assert torch.equal(cut, whole)
    x, y = apply(settings, pixels, with_hole), apply(settings, pixels, without)
    blank = (x == 0).all(dim=1)
    assert torch.equal(blank.sum(dim=(1, 2)), torch.full((60,), 16 * 16))
    assert torch.equal(torch.where(blank[:, None], y, x), y)
    rows, columns = blank.any(dim=2), blank.any(dim=1)
    assert torch.equal(rows.sum(dim=1) * columns.sum(dim=1), torch.full((60,), 256))  # a square
    assert len(rows.int().argmax(dim=1).unique()) > 8 and len(columns.int().argmax(dim=1).unique()) > 8


def test_a_hole_by_hand() -> None:
    x = torch.ones(2, 1, 4, 4)
    cut = cut_out(x, torch.tensor([[0.5, 0.0, 0.25], [0.0, 0.0, 0.5]]))
    assert cut[0, 0].tolist() == [[1, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert cut[1, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]


# -- whole runs

FAST = Config(image_size=20, store_size=20, batch_size=16, epochs=2, projector_dim=16, predictor_dim=8)
FAST = dataclasses.replace(FAST, small_views=2, small_size=12, cutout_views=1)


@pytest.mark.parametrize("changes", [{}, {"view_predictors": "shared", "guided": True}, {"method": "byol"}])
def test_a_stopped_run_goes_on_to_the_bit(
    changes: dict, few_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(FAST, **changes)

    def run(name: str, **options) -> dict[str, Tensor]:
        data = [] if options else [few_photos]
        pretrain(config, data, Options(out=None if options else tmp_path / name, device="cpu", workers=0, **options))
        return torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["model"]

    whole = run("whole")
    with monkeypatch.context() as patch:
        usual, calls = loop.learn, []

        def learn_then_stop(*arguments, **named):
            calls.append(None)
            if len(calls) == 3:
                signal.raise_signal(signal.SIGINT)
            return usual(*arguments, **named)

        patch.setattr(loop, "learn", learn_then_stop)
        run("halted")
        assert len(calls) == 3
    halted = run("halted", resume=tmp_path / "halted")
    assert whole.keys() == halted.keys() and all(torch.equal(whole[name], halted[name]) for name in whole)
    assert math.isfinite(read_metrics(tmp_path / "whole")[-1]["loss"])
    own = [name for name in whole if name.startswith("predictors.")]
    assert bool(own) == (config.view_predictors == "own")


@pytest.mark.parametrize(("predictors", "named"), [("shared", True), ("own", False)])
def test_the_alarm_names_a_shared_predictor(predictors: str, named: bool, tmp_path: Path) -> None:
    config = dataclasses.replace(FAST, view_predictors=predictors)
    report = Report(config, Run(tmp_path), make_plan(config, 16), pytest.fail, lambda progress: None)
    alarm = report.add(5, torch.tensor([-1.0, 0.1 * config.projector_dim**-0.5]), 0.1)  # loss, std
    assert alarm is not None and alarm.startswith("collapse")
    assert ("--view-predictors shared" in alarm) == named


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"small_views": 2, "method": "simclr", "stop_gradient": False},
            "--small-views belongs to --method simsiam or",
        ),
        ({"cutout_views": 1, "stop_gradient": False}, "--cutout-views needs stop-gradient"),
        ({"small_views": 1, "symmetry": "asymmetric"}, "--small-views needs --symmetry symmetric"),
        ({"guided": True, "stop_gradient": False}, "leave out --no-stop-gradient"),
        ({"guided": True, "method": "byol"}, "--guided belongs to --method simsiam"),
        ({"small_min_scale": 0.5}, "--small-min-scale 0.5 is above --small-max-scale 0.3"),
        ({"small_size": 4}, "--small-size 4 is out of range"),
        ({"cutout": 1.0}, "--cutout 1.0 is out of range"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        dataclasses.replace(Config(), **changes).check()
