"""The losses of SimCLR, MoCo v2, BYOL and SwAV against numpy, and who gets which gradient, momentum and keys."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simsiam_retrieval.methods.base import Method, Step
from simsiam_retrieval.methods.byol import BYOL, rising, squared_distance
from simsiam_retrieval.methods.grouped_batch_norm import GroupedBatchNorm
from simsiam_retrieval.methods.moco_v2 import MoCoV2, info_nce
from simsiam_retrieval.methods.simclr import SimCLR, nt_xent
from simsiam_retrieval.methods.simsiam import SimSiam
from simsiam_retrieval.methods.simsiam_alternating import Alternating, AveragedEta
from simsiam_retrieval.methods.swav import SwAV, sinkhorn, swapped

KINDS: dict[str, tuple[type[Method], dict[str, Any]]] = {
    "simsiam": (SimSiam, {}),
    "alternating": (Alternating, {"steps": 2}),
    "averaged": (AveragedEta, {"predictor_kind": "none"}),
    "simclr": (SimCLR, {}),
    "moco-v2": (MoCoV2, {"queue_size": 40, "groups": 2, "bn": "default"}),
    "byol": (BYOL, {"momentum": 0.9, "bn": "hidden"}),
    "swav": (SwAV, {"prototypes": 6, "bn": "hidden", "frozen_epochs": 1}),
}


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny(name: str, **options: Any) -> Any:
    """A method on 12 numbers an image, with one BN in its backbone."""
    kind, settings = KINDS[name]
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 10), nn.BatchNorm1d(10), nn.Tanh())
    heads = {"dim": 6, "projector_hidden_dim": 7, "projector_layers": 2, "predictor_hidden_dim": 4}
    return kind(backbone, 10, **{**heads, **settings, **options})


def in_double(model: Any) -> Any:
    """Weights in float64; what losses are worked out from is float32 all the same, the queue too."""
    model.double()
    if isinstance(model, MoCoV2):
        model.queue = model.queue.float()
    return model


def step(number: int = 0, rows: Tensor | None = None, total: int = 6, per_epoch: int = 2) -> Step:
    return Step(number, total, per_epoch, seed=5, images=20, rows=torch.arange(8) if rows is None else rows)


def views(number: int = 0, n: int = 8) -> tuple[Tensor, Tensor]:
    return gaussian(n, 3, 2, 2, seed=2 * number + 1), gaussian(n, 3, 2, 2, seed=2 * number + 2)


def train(model: Method, steps: int = 3, first: int = 0) -> list[float]:
    """SGD steps as the loop makes them, on other images each time; the losses."""
    optimizer = torch.optim.SGD(model.parameter_groups(), lr=0.1, momentum=0.9)
    losses = []
    for number in range(first, first + steps):
        now = step(number, (torch.arange(8) + 8 * number) % 20)
        output = model(*views(number), step=now)
        optimizer.zero_grad()
        output.loss.backward()
        model.before_update(now)
        optimizer.step()
        model.after_update(now)
        losses.append(output.loss.item())
    return losses


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def doubles(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().double().numpy() for tensor in tensors]


# -- losses


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_equation_1_of_simclr(temperature: float) -> None:
    """Written as the paper has it: for each ordered pair of views, the other view among all but itself."""
    p1, p2, z1, z2 = (gaussian(5, 4, seed=seed) for seed in range(4))
    p, z = (unit(np.concatenate(pair)) for pair in (doubles(p1, p2), doubles(z1, z2)))
    terms = []
    for i in range(10):
        j = (i + 5) % 10
        others = [math.exp(p[i] @ z[k] / temperature) for k in range(10) if k != i]
        terms.append(-math.log(math.exp(p[i] @ z[j] / temperature) / sum(others)))
    assert nt_xent(p1, p2, z1, z2, temperature).item() == pytest.approx(np.mean(terms), rel=1e-5)


def test_nt_xent_does_not_care_how_long_vectors_are() -> None:
    z1, z2 = gaussian(5, 4, seed=1), gaussian(5, 4, seed=2)
    assert nt_xent(z1, z2, z1, z2, 0.3).item() == pytest.approx(nt_xent(3 * z1, z2, z1, 7 * z2, 0.3).item(), rel=1e-5)


def test_info_nce_is_equation_1_of_moco() -> None:
    q, k, queue = (F.normalize(gaussian(n, 4, seed=seed), dim=1) for seed, n in enumerate((5, 5, 9)))
    a, b, keys = doubles(q, k, queue)
    terms = []
    for query, own in zip(a, b, strict=True):
        weights = np.exp(np.array([query @ own, *(keys @ query)]) / 0.2)
        terms.append(-np.log(weights[0] / weights.sum()))
    assert info_nce(q, k, queue, 0.2).item() == pytest.approx(np.mean(terms), rel=1e-5)


def test_byol_s_loss_is_the_squared_distance_on_the_sphere() -> None:
    p, z = gaussian(7, 4, seed=1), 3 * gaussian(7, 4, seed=2)
    a, b = map(unit, doubles(p, z))
    assert squared_distance(p, z).item() == pytest.approx(((a - b) ** 2).sum(1).mean(), rel=1e-5)
    model = tiny("byol")
    x1, x2 = views()
    z1, z2, t1, t2 = model.project(x1), model.project(x2), model.target(x1), model.target(x2)
    expected = squared_distance(model.predictor(z1), t2) + squared_distance(model.predictor(z2), t1)
    assert model(x1, x2).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def sinkhorn_by_numpy(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """Scaling vectors u and v (Cuturi 2013), another form than the one under test; (n, prototypes), rows sum to 1."""
    kernel = np.exp(scores / epsilon)
    n, prototypes = kernel.shape
    u = np.full(n, 1 / n)
    v = np.ones(prototypes)
    for _ in range(iterations):
        v = (1 / prototypes) / (kernel.T @ u)
        u = (1 / n) / (kernel @ v)
    return n * u[:, None] * kernel * v


def test_sinkhorn_equals_numpy() -> None:
    scores = torch.tanh(gaussian(9, 4))
    np.testing.assert_allclose(sinkhorn(scores, 0.05), sinkhorn_by_numpy(doubles(scores)[0], 0.05, 3), rtol=1e-4)


def test_sinkhorn_s_marginals() -> None:
    """Images get one unit each, prototypes in the end all the same share, even with cosines of 1 and -1 alone."""
    q = sinkhorn(torch.tanh(gaussian(12, 4)), 0.05, iterations=300)
    torch.testing.assert_close(q.sum(dim=1), torch.ones(12))
    torch.testing.assert_close(q.sum(dim=0), torch.full((4,), 3.0), rtol=1e-3, atol=1e-3)
    assert sinkhorn(gaussian(12, 4).sign(), 0.05).isfinite().all()


def test_swav_s_loss_swaps_views() -> None:
    s1, s2 = gaussian(6, 4, seed=1), gaussian(6, 4, seed=2)
    q1, q2 = sinkhorn(s1, 0.5), sinkhorn(s2, 0.5)
    a, b, codes1, codes2 = doubles(s1, s2, q1, q2)

    def cross_entropy(codes: np.ndarray, scores: np.ndarray) -> float:
        p = np.exp(scores / 0.1)
        return -(codes * np.log(p / p.sum(1, keepdims=True))).sum(1).mean()

    expected = (cross_entropy(codes2, a) + cross_entropy(codes1, b)) / 2
    assert swapped(s1, s2, q1, q2, 0.1).item() == pytest.approx(expected, rel=1e-5)


def test_losses_are_worked_out_in_float32_under_autocast() -> None:
    z1, z2, queue = (F.normalize(gaussian(64, 32, seed=seed), dim=1) for seed in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        low = nt_xent(z1, z2, z1, z2, 0.1), info_nce(z1, z2, queue, 0.1)
    assert [loss.item() for loss in low] == [
        nt_xent(z1, z2, z1, z2, 0.1).item(),
        info_nce(z1, z2, queue, 0.1).item(),
    ]


# -- gradients


def slope_along_gradient(parameter: Any, loss_of: Callable[[], float]) -> float:
    """Slope of the loss along the parameter's gradient, by moving the parameter."""
    direction, width = parameter.grad.clone(), 1e-4
    length = direction.norm()
    with torch.no_grad():
        parameter += width * direction / length
        above = loss_of()
        parameter -= 2 * width * direction / length
        below = loss_of()
        parameter += width * direction / length
    return (above - below) / (2 * width)


@pytest.mark.parametrize("name", ["simclr", "byol", "moco-v2"])
def test_gradients_are_the_loss_s_slope(name: str) -> None:
    """Through everything but what is held still, which a second model with fixed targets would show as well."""
    model = in_double(tiny(name))
    x1, x2 = (x.double() for x in views())
    state = copy.deepcopy(model.state_dict())

    def loss() -> float:
        model.load_state_dict({**model.state_dict(), **{k: v for k, v in state.items() if k in ("queue", "position")}})
        return model(x1, x2, step=step()).loss.item()

    model(x1, x2, step=step()).loss.backward()
    weight = model.get_submodule("projector.0").weight
    assert slope_along_gradient(weight, loss) == pytest.approx(weight.grad.norm().item(), rel=1e-3)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_who_gets_a_gradient(name: str) -> None:
    model = tiny(name)
    model(*views(), step=step()).loss.backward()
    for parameter, value in model.named_parameters():
        follows = parameter.startswith(("target.", "eta."))
        assert (value.grad is None) == follows, parameter
        assert value.requires_grad != follows
    trained = {id(p) for group in model.parameter_groups() for p in group["params"]}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad}


def test_stop_gradient_in_simclr_and_swav() -> None:
    """With it, only one side of each comparison moves; without it in SwAV, codes do, too."""
    for name in ("simclr", "swav"):
        gradients = []
        for stopped in (False, True):
            model = tiny(name, stop_gradient=stopped)
            model(*views(), step=step()).loss.backward()
            gradients.append(model.get_submodule("projector.0").weight.grad)
        assert not torch.allclose(*gradients, rtol=1e-2, atol=1e-5), name
    z1, z2 = gaussian(5, 4, seed=1).requires_grad_(), gaussian(5, 4, seed=2).requires_grad_()
    k1, k2 = gaussian(5, 4, seed=3).requires_grad_(), gaussian(5, 4, seed=4).requires_grad_()
    nt_xent(z1, z2, k1.detach(), k2.detach(), 0.2).backward()
    assert z1.grad is not None and k1.grad is None


def test_predictors_are_there_where_asked() -> None:
    for name in ("simclr", "swav", "moco-v2"):
        assert isinstance(tiny(name).predictor, nn.Identity)
        with_predictor = tiny(name, predictor_kind="mlp")
        with_predictor(*views(), step=step()).loss.backward()
        assert all(p.grad is not None for p in with_predictor.predictor.parameters())


# -- what moves without gradient


def test_the_target_follows_with_momentum() -> None:
    model = tiny("moco-v2", momentum=0.75)
    before = copy.deepcopy(model.target)
    train(model, 1)
    pairs = [(model.target.backbone, before.backbone, model.backbone)]
    pairs.append((model.target.projector, before.projector, model.projector))
    for target, old, encoder in pairs:
        for t, o, e in zip(target.parameters(), old.parameters(), encoder.parameters(), strict=True):
            assert not torch.equal(o, e)
            torch.testing.assert_close(t, 0.75 * o + 0.25 * e)


def test_byol_s_momentum_rises_to_one() -> None:
    assert rising(0.9, 0, 10) == pytest.approx(0.9)
    assert rising(0.9, 5, 10) == pytest.approx(0.95)
    assert rising(0.9, 10, 10) == 1
    model = tiny("byol")
    before = [p.clone() for p in model.target.parameters()]
    train(model, 1, first=6)  # past the end: momentum 1
    assert all(torch.equal(a, b) for a, b in zip(before, model.target.parameters(), strict=True))


def test_the_queue_is_a_ring_of_the_newest_keys() -> None:
    """16 keys a step into 40 places; compared with a list that drops its oldest."""
    model = tiny("moco-v2")
    kept = [*model.queue.clone()]
    for number in range(6):
        now = step(number)
        keys = []
        for view, x in enumerate(views(number)[::-1]):  # second view's first, as the loss goes
            keys += [*copy.deepcopy(model)._keys(x, now, view)]
        model(*views(number), step=now)
        kept = (kept + keys)[-40:]
        turned = [*model.queue.roll(-int(model.position), 0)]
        torch.testing.assert_close(torch.stack(turned), torch.stack(kept))
    torch.testing.assert_close(model.queue.norm(dim=1), torch.ones(40))


def test_a_step_s_keys_are_no_negatives_of_itself() -> None:
    model = tiny("moco-v2")
    x1, x2 = views()
    twin = copy.deepcopy(model)
    k2, k1 = twin._keys(x2, step(), 0), twin._keys(x1, step(), 1)
    q1, q2 = (F.normalize(twin.project(x), dim=1) for x in (x1, x2))
    expected = (info_nce(q1, k2, model.queue, 0.2) + info_nce(q2, k1, model.queue, 0.2)) / 2
    assert model(x1, x2, step=step()).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_more_keys_than_the_queue_holds() -> None:
    model = tiny("moco-v2", queue_size=5)
    train(model, 2)
    assert model.queue.isfinite().all() and 0 <= int(model.position) < 5


def test_keys_are_made_among_other_rows() -> None:
    """Each key is its own image's, but its BN statistics are those of a shuffled group."""
    model = tiny("moco-v2")
    x = views()[0]
    keys = model._keys(x, step(), 0)
    direct = F.normalize(model.target(x), dim=1)
    assert not torch.allclose(keys, direct, atol=1e-3)
    whole = tiny("moco-v2", groups=1)  # one group: nothing to tell, whatever the order
    torch.testing.assert_close(whole._keys(x, step(), 0), F.normalize(whole.target(x), dim=1))
    assert not torch.allclose(model._keys(x, step(1), 0), keys, atol=1e-3)
    torch.testing.assert_close(model._keys(x, step(0), 0), keys)


def test_grouped_bn_is_bn_on_each_group() -> None:
    x = gaussian(8, 5, 3, 3)
    module: Any = nn.Sequential(nn.BatchNorm2d(5))
    nn.init.uniform_(module[0].weight)
    plain = copy.deepcopy(module[0])
    GroupedBatchNorm.replace(module, 4)
    expected = torch.cat([copy.deepcopy(plain)(part) for part in x.split(2)])
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(module[0].running_mean, 0.1 * x.mean(dim=(0, 2, 3)))
    variances = torch.stack([part.transpose(0, 1).flatten(1).var(dim=1) for part in x.split(2)])
    torch.testing.assert_close(module[0].running_var, 0.9 + 0.1 * variances.mean(dim=0))
    assert list(module.state_dict()) == [f"0.{name}" for name in plain.state_dict()]
    plain.load_state_dict(module[0].state_dict())
    torch.testing.assert_close(module.eval()(x), plain.eval()(x))


def test_prototypes_stay_on_the_sphere_and_frozen_at_first() -> None:
    model = tiny("swav")
    first = model.prototypes.weight.clone()
    train(model, 2)  # an epoch
    assert torch.equal(model.prototypes.weight, first)
    train(model, 2, first=2)
    assert not torch.allclose(model.prototypes.weight, first, atol=1e-4)
    torch.testing.assert_close(model.prototypes.weight.norm(dim=1), torch.ones(6))


# -- SimSiam as alternation


@pytest.mark.parametrize("symmetric", [True, False])
def test_one_step_of_alternation_is_simsiam(symmetric: bool) -> None:
    one, plain = tiny("alternating", steps=1, symmetric=symmetric), tiny("simsiam", symmetric=symmetric)
    assert train(one, 5) == pytest.approx(train(plain, 5), rel=1e-6)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(one.state_dict()[name], value, msg=name)


@pytest.mark.parametrize("steps", [2, 0])
def test_eta_is_the_encoder_of_the_step_in_which_it_was_worked_out(steps: int) -> None:
    """Against the paper's own way: all targets of the coming steps computed ahead and kept."""
    cached, model = tiny("simsiam"), tiny("alternating", steps=steps)
    losses = train(model, 4)
    optimizer = torch.optim.SGD(cached.parameter_groups(), lr=0.1, momentum=0.9)
    found = []
    for start in (0, 2):  # an epoch has two steps
        ahead = copy.deepcopy(cached)
        with torch.no_grad():
            etas = [[ahead.project(x) for x in views(number)] for number in (start, start + 1)]
        for number, (eta1, eta2) in zip((start, start + 1), etas, strict=True):
            p1, p2 = (cached.predictor(cached.project(x)) for x in views(number))
            loss = (cached.distance(p1, eta2) + cached.distance(p2, eta1)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    assert losses == pytest.approx(found, rel=1e-5)


def test_eta_s_moving_average_equals_a_dictionary() -> None:
    model = tiny("averaged", average=0.8)
    eta: dict[int, np.ndarray] = {}
    for number in range(6):
        rows = (torch.arange(8) + 8 * number) % 20
        x1, x2 = views(number)
        z1, z2 = doubles(model.project(x1), model.project(x2))
        t1 = np.stack([z if int(i) not in eta else 0.8 * eta[int(i)] + 0.2 * z for i, z in zip(rows, z1, strict=True)])
        t2 = np.stack([z if int(i) not in eta else 0.8 * eta[int(i)] + 0.2 * z for i, z in zip(rows, z2, strict=True)])
        expected = -((unit(z1) * unit(t2)).sum(1).mean() + (unit(z2) * unit(t1)).sum(1).mean()) / 2
        assert model(x1, x2, step=step(number, rows)).loss.item() == pytest.approx(expected, rel=1e-4)
        eta.update({int(i): (a + b) / 2 for i, a, b in zip(rows, t1, t2, strict=True)})
    fresh = tiny("averaged", average=0.8)
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh.eta, model.eta)


# -- all of them


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_stored_method_goes_on_as_it_would_have(name: str) -> None:
    model = tiny(name)
    train(model, 2)
    copied = tiny(name)
    copied.load_state_dict(copy.deepcopy(model.state_dict()))
    assert train(model, 3, first=2) == train(copied, 3, first=2)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_another_backbone_s_weights_reach_both_encoders(name: str) -> None:
    model, other = tiny(name), tiny(name)
    with torch.no_grad():
        other.backbone[1].weight.add_(1)
    model.start_from(other.backbone)
    followers = [module for key, module in model.named_children() if key in ("target", "eta")]
    for backbone in (model.backbone, *(module.backbone for module in followers)):
        torch.testing.assert_close(backbone[1].weight, other.backbone[1].weight)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_loss_falls(name: str) -> None:
    """On two fixed views of eight images; every method should at least learn those by heart."""
    model = tiny(name, **({"queue_size": 8} if name == "moco-v2" else {}))
    optimizer = torch.optim.SGD(model.parameter_groups(), lr=0.05, momentum=0.9)
    losses = []
    for number in range(60):
        now = step(number, total=60, per_epoch=10)
        output = model(*views(), step=now)
        optimizer.zero_grad()
        output.loss.backward()
        model.before_update(now)
        optimizer.step()
        model.after_update(now)
        losses.append(output.loss.item())
    assert np.mean(losses[-5:]) < np.mean(losses[5:10]) - 0.05
