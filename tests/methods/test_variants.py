"""What the paper varies, each against numbers worked out here."""

import numpy as np
import pytest
import torch
from torch import nn

from simsiam_retrieval.methods.heads import predictor, projector
from simsiam_retrieval.methods.simsiam import SimSiam, cross_entropy
from simsiam_retrieval.training.optimizer import cosine, warmup


def tiny(**options) -> SimSiam:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 6))
    return SimSiam(backbone, 6, dim=5, projector_hidden_dim=7, predictor_hidden_dim=3, **options)


def views(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(9, 3, 2, 2, generator=generator), torch.randn(9, 3, 2, 2, generator=generator)


def norms(modules: nn.Sequential) -> list[bool]:
    """For each linear layer, whether BN follows it."""
    layers = list(modules)
    return [
        isinstance(layers[i + 1], nn.BatchNorm1d) if i + 1 < len(layers) else False
        for i, layer in enumerate(layers)
        if isinstance(layer, nn.Linear)
    ]


@pytest.mark.parametrize(
    ("bn", "in_projector", "in_predictor"),
    [
        ("none", [False, False, False], [False, False]),
        ("hidden", [True, True, False], [True, False]),
        ("default", [True, True, True], [True, False]),
        ("all", [True, True, True], [True, True]),
    ],
)
def test_bn_placements_of_table_3(bn: str, in_projector: list[bool], in_predictor: list[bool]) -> None:
    assert norms(projector(6, 7, 5, 3, bn)) == in_projector
    assert norms(predictor(5, 3, bn)) == in_predictor
    for head in (projector(6, 7, 5, 3, bn), predictor(5, 3, bn)):
        for layer, norm in zip([m for m in head if isinstance(m, nn.Linear)], norms(head), strict=True):
            assert (layer.bias is None) == norm


@pytest.mark.parametrize(("layers", "linears"), [(1, 1), (2, 2), (3, 3), (5, 5)])
def test_projector_depth(layers: int, linears: int) -> None:
    head = projector(6, 7, 5, layers)
    assert sum(isinstance(module, nn.Linear) for module in head) == linears
    assert sum(isinstance(module, nn.ReLU) for module in head) == linears - 1
    assert head(torch.randn(4, 6)).shape == (4, 5)


def test_cross_entropy_equals_numpy() -> None:
    rng = np.random.default_rng(0)
    p, z = rng.normal(size=(6, 5)), rng.normal(size=(6, 5))

    def softmax(x: np.ndarray) -> np.ndarray:
        return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)

    expected = -(softmax(z) * np.log(softmax(p))).sum(axis=1).mean()
    assert float(cross_entropy(torch.from_numpy(p), torch.from_numpy(z))) == pytest.approx(expected, rel=1e-5)


def test_asymmetric_loss_is_the_first_term() -> None:
    x1, x2 = views()
    symmetric, asymmetric = tiny(), tiny(symmetric=False)
    z1, z2 = (symmetric.projector(symmetric.backbone(x)) for x in (x1, x2))
    p1, p2 = symmetric.predictor(z1), symmetric.predictor(z2)

    def d(p: torch.Tensor, z: torch.Tensor) -> float:
        p, z = p / p.norm(dim=1, keepdim=True), z / z.norm(dim=1, keepdim=True)
        return -(p * z).sum(dim=1).mean().item()

    assert symmetric(x1, x2).loss.item() == pytest.approx((d(p1, z2) + d(p2, z1)) / 2, abs=1e-6)
    assert asymmetric(x1, x2).loss.item() == pytest.approx(d(p1, z2), abs=1e-6)


@pytest.mark.parametrize("kind", ["mlp", "none", "fixed"])
def test_predictor_kinds(kind: str) -> None:
    model = tiny(predictor_kind=kind)
    before = [parameter.clone() for parameter in model.predictor.parameters()]
    optimizer = torch.optim.SGD(model.parameter_groups(), lr=0.5)
    model(*views()).loss.backward()
    optimizer.step()
    after = list(model.predictor.parameters())
    if kind == "none":
        assert not after and isinstance(model.predictor, nn.Identity)
        assert len(optimizer.param_groups) == 1
    elif kind == "fixed":
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert len(optimizer.param_groups) == 1
    else:
        assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert [group["decay_lr"] for group in optimizer.param_groups] == [True, False]
    weight = model.backbone[1].weight  # type: ignore[index]
    assert weight.grad is not None and weight.grad.abs().sum() > 0


def test_decaying_predictor_is_a_group_that_decays() -> None:
    assert [group["decay_lr"] for group in tiny(predictor_decays=True).parameter_groups()] == [True, True]


def test_without_stop_gradient_the_gradient_is_that_of_both_branches() -> None:
    """The gradient of the loss with both sides free, worked out from scratch, differs from SimSiam's."""
    x1, x2 = views()
    gradients = {}
    for stop in (True, False):
        model = tiny(stop_gradient=stop)
        model(x1, x2).loss.backward()
        gradients[stop] = model.backbone[1].weight.grad.clone()  # type: ignore[index,union-attr]
        z1, z2 = (model.projector(model.backbone(x)) for x in (x1, x2))
        p1, p2 = model.predictor(z1), model.predictor(z2)
        if stop:
            z1, z2 = z1.detach(), z2.detach()
        cosine_of = nn.CosineSimilarity(dim=1)
        expected = -(cosine_of(p1, z2).mean() + cosine_of(p2, z1).mean()) / 2
        (by_hand,) = torch.autograd.grad(expected, model.backbone[1].weight)  # type: ignore[index]
        torch.testing.assert_close(gradients[stop], by_hand, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(gradients[True], gradients[False], rtol=1e-2)


def test_schedule_rises_then_falls() -> None:
    assert cosine(0, 100) == 1
    assert cosine(50, 100) == pytest.approx(0.5)
    assert cosine(100, 100) == pytest.approx(0)
    assert [warmup(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert cosine(1, 100, 4) == 0.5
    assert cosine(4, 100, 4) == 1
    assert cosine(52, 100, 4) == pytest.approx(0.5)
