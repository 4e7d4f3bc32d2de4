"""SimSiam's loss, gradients, networks and optimiser groups against the paper, worked out by other means."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.methods.base import collapse_free_std, output_std
from simsiam_retrieval.methods.heads import predictor, projector
from simsiam_retrieval.methods.simsiam import SimSiam, negative_cosine
from simsiam_retrieval.training.build_model import build_model
from simsiam_retrieval.training.config import Config


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny_model(seed: int = 0) -> SimSiam:
    """A SimSiam on 12 numbers per image: small enough to follow by hand."""
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 10), nn.Tanh())
    model = SimSiam(backbone, 10, dim=6, projector_hidden_dim=7, projector_layers=3, predictor_hidden_dim=4)
    return model.double()


def two_views(n: int = 8) -> tuple[Tensor, Tensor]:
    return gaussian(n, 3, 2, 2, seed=1).double(), gaussian(n, 3, 2, 2, seed=2).double()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# -- equations 1 to 4


def numpy_distance(p: np.ndarray, z: np.ndarray) -> float:
    """Equation 1, averaged over the batch, in float64."""
    p, z = p.astype(np.float64), z.astype(np.float64)
    cosines = (p * z).sum(1) / (np.sqrt((p**2).sum(1)) * np.sqrt((z**2).sum(1)))
    return -cosines.mean()


def test_negative_cosine_is_equation_1():
    p, z = 3 * gaussian(16, 5, seed=1), gaussian(16, 5, seed=2) - 0.5
    assert negative_cosine(p, z).item() == pytest.approx(numpy_distance(p.numpy(), z.numpy()), abs=1e-6)


@pytest.mark.parametrize(
    ("p", "z", "expected"),
    [
        ([[3.0, 4.0]], [[3.0, 4.0]], -1.0),
        ([[3.0, 4.0]], [[-6.0, -8.0]], 1.0),
        ([[1.0, 0.0]], [[0.0, 5.0]], 0.0),
        ([[1.0, 0.0], [1.0, 0.0]], [[2.0, 0.0], [1.0, 1.0]], -(1 + math.sqrt(0.5)) / 2),
    ],
)
def test_negative_cosine_by_hand(p, z, expected):
    assert negative_cosine(torch.tensor(p), torch.tensor(z)).item() == pytest.approx(expected, abs=1e-6)


def test_negative_cosine_is_computed_in_float32():
    """Halves are widened before the product: the result is that of the widened inputs, not of half arithmetic."""
    p, z = gaussian(64, 512, seed=1).bfloat16(), gaussian(64, 512, seed=2).bfloat16()
    result = negative_cosine(p, z)
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(numpy_distance(p.float().numpy(), z.float().numpy()), abs=1e-6)


def test_loss_is_equation_4_on_the_model_s_own_projections():
    model = tiny_model()
    x1, x2 = two_views()
    output = model(x1, x2)
    z1, z2 = model.projector(model.backbone(x1)), model.projector(model.backbone(x2))
    p1, p2 = (model.predictor(z).detach().numpy() for z in (z1, z2))
    n1, n2 = z1.detach().numpy(), z2.detach().numpy()
    expected = numpy_distance(p1, n2) / 2 + numpy_distance(p2, n1) / 2
    assert output.loss.shape == () and output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(expected, abs=1e-6)
    assert expected != pytest.approx(numpy_distance(p1, n2), abs=1e-3)  # both terms matter here


def test_loss_does_not_care_which_view_is_first():
    model = tiny_model()
    x1, x2 = two_views()
    assert model(x1, x2).loss.item() == pytest.approx(model(x2, x1).loss.item(), abs=1e-6)


def test_output_z_is_the_first_view_s_and_detached():
    model = tiny_model()
    x1, x2 = two_views()
    z = model(x1, x2).z
    assert z.dtype == torch.float32 and not z.requires_grad
    torch.testing.assert_close(z, model.projector(model.backbone(x1)).detach().float())


# -- stop-gradient


def test_no_gradient_enters_z_and_p_gets_the_closed_form():
    """d/dp of -cos(p, z) is -(z/|z| - cos p/|p|) / |p|, over n for the mean; z gets nothing."""
    p = gaussian(4, 5, seed=1).requires_grad_()
    z = gaussian(4, 5, seed=2).requires_grad_()
    negative_cosine(p, z.detach()).backward()
    assert z.grad is None
    assert p.grad is not None
    a, b = p.detach().double().numpy(), z.detach().double().numpy()
    length = np.linalg.norm(a, axis=1, keepdims=True)
    unit, other = a / length, b / np.linalg.norm(b, axis=1, keepdims=True)
    cosine = (unit * other).sum(1, keepdims=True)
    np.testing.assert_allclose(p.grad.numpy(), -(other - cosine * unit) / length / len(a), atol=1e-6)


def hand_built_gradients(model: SimSiam, x1: Tensor, x2: Tensor, detach: bool) -> list[Tensor]:
    """Gradients of equation 4 (with stop-gradient) or equation 2 (without), written out once more."""
    z1, z2 = model.projector(model.backbone(x1)), model.projector(model.backbone(x2))
    p1, p2 = model.predictor(z1), model.predictor(z2)
    t1, t2 = (z1.detach(), z2.detach()) if detach else (z1, z2)
    unit = [F.normalize(value, dim=1) for value in (p1, t2, p2, t1)]
    loss = -((unit[0] * unit[1]).sum(1).mean() + (unit[2] * unit[3]).sum(1).mean()) / 2
    return list(torch.autograd.grad(loss, list(model.parameters())))


def test_gradients_are_those_of_the_graph_with_z_detached_and_not_of_the_one_without():
    model = tiny_model()
    x1, x2 = two_views()
    ours = torch.autograd.grad(model(x1, x2).loss, list(model.parameters()))
    stopped = hand_built_gradients(model, x1, x2, detach=True)
    for mine, theirs in zip(ours, stopped, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
    leaking = hand_built_gradients(model, x1, x2, detach=False)
    encoder = count(model.backbone) + count(model.projector)
    flat = [torch.cat([g.flatten() for g in gradients])[:encoder] for gradients in (ours, leaking)]
    assert (flat[0] - flat[1]).norm() > 0.1 * flat[0].norm()


def test_each_projection_gets_gradient_from_its_own_prediction_only():
    model = tiny_model()
    seen: list[Tensor] = []
    model.projector.register_forward_hook(lambda module, args, out: (out.retain_grad(), seen.append(out))[-1])
    model(*two_views()).loss.backward()
    z1, z2 = seen
    for z, other in ((z1, z2), (z2, z1)):
        leaf = z.detach().requires_grad_()
        p = model.predictor(leaf)
        term = -F.cosine_similarity(p, other.detach(), dim=1).mean() / 2
        (expected,) = torch.autograd.grad(term, leaf)
        assert z.grad is not None
        torch.testing.assert_close(z.grad, expected, atol=1e-6, rtol=1e-4)


def test_every_parameter_gets_a_gradient():
    model = tiny_model()
    model(*two_views()).loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


# -- networks


@pytest.mark.parametrize(
    ("name", "stem", "parameters", "dim"),
    [
        # torchvision's published totals less the classifier's (dim + 1) * 1000
        ("resnet18", "imagenet", 11_689_512 - 513_000, 512),
        # and less layer4: convolutions of 256 to 512 channels, 512 to 512 three times, the shortcut, five BN layers
        ("resnet18-3stages", "imagenet", 11_689_512 - 513_000 - (9 * 256 + 3 * 9 * 512 + 256 + 10) * 512, 256),
        ("resnet34", "imagenet", 21_797_672 - 513_000, 512),
        ("resnet50", "imagenet", 25_557_032 - 2_049_000, 2048),
        # a 3x3 first convolution in place of a 7x7
        ("resnet18", "cifar", 11_689_512 - 513_000 - 64 * 3 * (49 - 9), 512),
    ],
)
def test_backbone_parameters_and_feature_size(name, stem, parameters, dim):
    backbone = build_backbone(name, stem).eval()
    assert count(backbone) == parameters
    assert backbone.feature_dim == dim
    with torch.no_grad():
        assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, dim)


def test_backbone_is_torchvision_s_before_its_classifier():
    ours = build_backbone("resnet18").eval()
    theirs = torchvision.models.resnet18(weights=None).eval()
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert missing.unexpected_keys == [] and missing.missing_keys == ["fc.weight", "fc.bias"]
    pooled: list[Tensor] = []
    theirs.avgpool.register_forward_hook(lambda module, args, out: pooled.append(out.flatten(1)))
    images = gaussian(2, 3, 64, 64)
    with torch.no_grad():
        theirs(images)
        torch.testing.assert_close(ours(images), pooled[0])


@pytest.mark.parametrize(("stem", "conv1", "layer1", "layer4"), [("imagenet", 16, 8, 1), ("cifar", 32, 32, 4)])
def test_stem_shapes_at_32_px(stem, conv1, layer1, layer4):
    backbone = build_backbone("resnet18", stem).eval()
    sides: dict[str, int] = {}

    def note(name: str) -> None:
        layer = backbone.get_submodule(name)
        layer.register_forward_hook(lambda module, args, out: sides.update({name: out.shape[-1]}))

    for name in ("conv1", "layer1", "layer4"):
        note(name)
    with torch.no_grad():
        backbone(torch.zeros(1, 3, 32, 32))
    assert sides == {"conv1": conv1, "layer1": layer1, "layer4": layer4}


def test_stems_of_other_programs():
    x = gaussian(2, 3, 32, 32)
    plain, padded, linear = (build_backbone("resnet18", f"cifar{kind}").eval() for kind in ("", "-pad2", "-norelu"))
    for other in (padded, linear):
        other.load_state_dict(plain.state_dict())
    seen: dict[str, Tensor] = {}

    def see(name: str, network: nn.Module) -> None:
        def keep(module: nn.Module, inputs: tuple[Tensor]) -> None:
            seen[name] = inputs[0]

        network.get_submodule("layer1").register_forward_pre_hook(keep)
        network(x)

    see("plain", plain)
    see("padded", padded)
    see("linear", linear)
    weight = plain.get_parameter("conv1.weight")
    by_hand = F.relu(F.conv2d(F.pad(x, (2, 2, 2, 2)), weight) / math.sqrt(1 + 1e-5))  # BN as it begins
    torch.testing.assert_close(seen["padded"], by_hand, rtol=1e-5, atol=1e-5)
    assert seen["padded"].shape[2:] == (34, 34)
    torch.testing.assert_close(seen["plain"], by_hand[:, :, 1:-1, 1:-1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(seen["linear"].relu(), seen["plain"])
    assert (seen["linear"] < 0).any()


def test_cifar_stem_is_initialised_as_the_other_convolutions():
    """He initialisation over fan-out: std sqrt(2 / (64 * 9))."""
    torch.manual_seed(0)
    weight = build_backbone("resnet18", "cifar").get_parameter("conv1.weight")
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.1)


@pytest.mark.parametrize(("name", "last"), [("resnet18", "bn2"), ("resnet34", "bn2"), ("resnet50", "bn3")])
def test_residual_branches_start_at_zero(name, last):
    backbone = build_backbone(name)
    scales = [p for key, p in backbone.named_parameters() if key.endswith(f"{last}.weight")]
    others = [p for key, p in backbone.named_parameters() if key.endswith("bn1.weight")]
    assert len(scales) == {"resnet18": 8, "resnet34": 16, "resnet50": 16}[name]
    assert all(not scale.any() for scale in scales)
    assert all((scale == 1).all() for scale in others)


def layout(module: nn.Module) -> list[tuple]:
    rows: list[tuple] = []
    for layer in module:  # type: ignore[attr-defined]
        if isinstance(layer, nn.Linear):
            rows.append(("linear", layer.in_features, layer.out_features, layer.bias is not None))
        elif isinstance(layer, nn.BatchNorm1d):
            rows.append(("bn", layer.num_features, layer.affine))
        else:
            rows.append((type(layer).__name__.lower(),))
    return rows


def test_projector_layers_for_imagenet():
    head = projector(2048, 2048, 2048)
    assert layout(head) == [
        ("linear", 2048, 2048, False),
        ("bn", 2048, True),
        ("relu",),
        ("linear", 2048, 2048, False),
        ("bn", 2048, True),
        ("relu",),
        ("linear", 2048, 2048, False),
        ("bn", 2048, False),
    ]
    assert count(head) == 3 * 2048**2 + 2 * 2 * 2048


def test_projector_layers_for_cifar():
    assert layout(projector(512, 2048, 2048, layers=2)) == [
        ("linear", 512, 2048, False),
        ("bn", 2048, True),
        ("relu",),
        ("linear", 2048, 2048, False),
        ("bn", 2048, False),
    ]


def test_predictor_layers():
    head = predictor(2048, 512)
    assert layout(head) == [
        ("linear", 2048, 512, False),
        ("bn", 512, True),
        ("relu",),
        ("linear", 512, 2048, True),
    ]
    assert count(head) == 2048 * 512 + 2 * 512 + 512 * 2048 + 2048


@pytest.mark.parametrize(
    ("backbone", "heads"),
    [
        ("resnet18", 512 * 2048 + 2 * 2048**2 + 4 * 2048 + 2 * 2048 * 512 + 2 * 512 + 2048),
        ("resnet34", 512 * 2048 + 2 * 2048**2 + 4 * 2048 + 2 * 2048 * 512 + 2 * 512 + 2048),
        ("resnet50", 2048 * 2048 + 2 * 2048**2 + 4 * 2048 + 2 * 2048 * 512 + 2 * 512 + 2048),
    ],
)
def test_whole_model_parameters(backbone, heads):
    model = build_model(Config(backbone=backbone))
    assert count(model) - count(model.backbone) == heads


@pytest.mark.parametrize(
    "call",
    [
        lambda: build_backbone("resnet99"),
        lambda: build_backbone("alexnet"),  # a torchvision model, but none of ours
        lambda: build_backbone("resnet18", "mnist"),
        lambda: projector(8, 8, 8, layers=0),
    ],
)
def test_bad_names_and_numbers_raise_value_error(call):
    with pytest.raises(ValueError, match=r"unknown|at least"):
        call()


# -- batch normalisation, optimiser groups, monitor


def test_bn_statistics_are_per_view():
    """The views pass one after the other: z1 does not depend on x2, and running means see two batches."""
    x1, x2 = two_views()
    z_alone = tiny_model()(x1, x1).z
    torch.testing.assert_close(tiny_model()(x1, 100 + x2).z, z_alone)

    model = tiny_model()
    first = model.projector[0]
    with torch.no_grad():
        mean1, mean2 = (first(model.backbone(x)).mean(0) for x in (x1, x2))
    model(x1, x2)
    bn = model.projector[1]
    assert isinstance(bn, nn.BatchNorm1d) and bn.running_mean is not None
    assert bn.num_batches_tracked is not None and bn.num_batches_tracked.item() == 2
    torch.testing.assert_close(bn.running_mean, 0.9 * 0.1 * mean1 + 0.1 * mean2)


def test_optimiser_groups_hold_every_parameter_once_and_fix_the_predictor():
    model = tiny_model()
    decaying, constant = model.parameter_groups()
    assert decaying["decay_lr"] is True and constant["decay_lr"] is False
    assert {id(p) for p in constant["params"]} == {id(p) for p in model.predictor.parameters()}
    every = [id(p) for group in (decaying, constant) for p in group["params"]]
    assert sorted(every) == sorted(id(p) for p in model.parameters())


def test_std_of_identical_rows_is_zero():
    assert output_std(gaussian(1, 64).expand(32, -1)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dim", [16, 128, 1024])
def test_std_of_an_isotropic_gaussian_is_one_over_root_dim(dim):
    z = 7 * gaussian(4096, dim)  # the length does not matter
    assert output_std(z).item() == pytest.approx(dim**-0.5, rel=0.01)
    assert collapse_free_std(dim) == pytest.approx(dim**-0.5, rel=1e-6)


def test_std_by_hand():
    """Unit rows (1, 0) and (0, 1): each channel has sample std 1/sqrt(2)."""
    assert output_std(torch.tensor([[5.0, 0.0], [0.0, 2.0]])).item() == pytest.approx(math.sqrt(0.5), abs=1e-6)
