"""What is exported besides the backbone: PCA and whitening, the projector, intermediate layers; against numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from simsiam_retrieval.export import fit_reduction  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.export_run import Settings, export_files  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.exported_network import UnitVectors  # pyright: ignore[reportMissingImports]

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.methods.bn_folding import backbone_from_onnx
from simsiam_retrieval.training.build_model import build_model
from simsiam_retrieval.training.run_folder import Run, load_backbone

SIDE = 32
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def scaled(squares: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((squares / 255 - MEAN) / STD).float().permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def squares(few_photos) -> np.ndarray:
    """The 38 photos as every encoder sees them."""
    from simsiam_retrieval.export.held_out_images import decoded  # pyright: ignore[reportMissingImports]

    return decoded(sorted(few_photos.rglob("*.jpg")), SIDE, "photos").pixels


@pytest.fixture(scope="module")
def features(run_dir, squares) -> np.ndarray:
    """The backbone's unit vectors, through torch."""
    with torch.inference_mode():
        return unit(load_backbone(run_dir)[0](scaled(squares)).double().numpy())


@pytest.mark.parametrize("power", [1.0, 0.75, 0.0])
def test_pca_in_the_graph_is_numpy_s(run_dir, few_photos, squares, features, tmp_path, power):
    """Axes from numpy's SVD of the same 38 photos; a component's sign is free, cosines are not."""
    held_out = tmp_path / "others"
    held_out.mkdir()
    rng = np.random.default_rng(0)
    from PIL import Image

    for number in range(20):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(held_out / f"{number}.png")
    settings = Settings(dim=8, whiten=power > 0, whiten_power=power or 1.0, fit=few_photos, held_out=held_out)
    (exported,) = export_files(run_dir, {"fp32": tmp_path / "small.onnx"}, settings)
    assert exported.refused is None
    encoder = Encoder(tmp_path / "small.onnx", device="cpu")
    assert encoder.dim == 8 and encoder.metadata["reduction"].endswith("to 8, fitted on 38 images")
    found = encoder.embed_pixels(squares)

    mean = features.mean(axis=0)
    _, sigma, axes = np.linalg.svd(features - mean, full_matrices=False)
    projected = (features - mean) @ axes[:8].T
    projected /= (sigma[:8] / np.sqrt(len(features))) ** power
    expected = unit(projected)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=2e-3)
    np.testing.assert_allclose(np.abs((found * expected).sum(axis=0)), (expected**2).sum(axis=0), rtol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_whitened_axes_count_the_same(run_dir, squares, features):
    """Of what PCA was fitted to, each axis has variance v ** (1 - power), before the vectors are scaled to length 1."""
    from simsiam_retrieval.metrics.whitening import fit_whitening

    for power in (1.0, 0.5, 0.0):
        reduction = fit_whitening(torch.from_numpy(features).float(), 8, power=power)
        variance = np.var((features - reduction.mean.numpy()) @ reduction.projection.numpy(), axis=0)
        plain = np.linalg.svd(features - features.mean(axis=0))[1][:8] ** 2 / 38
        expected = plain ** (1 - power)
        np.testing.assert_allclose(variance, expected, rtol=1e-3)


def test_projections(run_dir, squares, tmp_path):
    run = Run(run_dir)
    model = build_model(run.config())
    model.load_state_dict(run.load_checkpoint()["model"])
    with torch.inference_mode():
        expected = unit(model.eval().projector(model.backbone(scaled(squares))).double().numpy())
    export_files(run_dir, {"fp32": tmp_path / "z.onnx"}, Settings(with_projector=True))
    encoder = Encoder(tmp_path / "z.onnx", device="cpu")
    assert (encoder.dim, encoder.metadata["features"]) == (64, "projector")
    np.testing.assert_allclose(encoder.embed_pixels(squares), expected, atol=2e-5)


def test_an_intermediate_layer(run_dir, squares, tmp_path):
    backbone = load_backbone(run_dir)[0]
    seen: list[Any] = []
    backbone.get_submodule("layer2.1").register_forward_hook(lambda module, given, taken: seen.append(taken))
    with torch.inference_mode():
        backbone(scaled(squares))
    expected = unit(seen[0].double().mean(dim=(2, 3)).numpy())
    export_files(run_dir, {"fp32": tmp_path / "middle.onnx"}, Settings(layer="layer2.1"))
    encoder = Encoder(tmp_path / "middle.onnx", device="cpu")
    assert encoder.dim == 128 and "layer2.1" in encoder.metadata["features"]
    np.testing.assert_allclose(encoder.embed_pixels(squares), expected, atol=1e-5)
    assert (tmp_path / "middle.onnx").stat().st_size < 4e6  # what comes after is left out
    with pytest.raises(UserError, match="contains no weights"):
        backbone_from_onnx(tmp_path / "middle.onnx")


def test_a_run_without_a_projector(run_dir, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(run_dir, run)
    checkpoint = Run(run).load_checkpoint()
    kept = {name: value for name, value in checkpoint["model"].items() if name.startswith("backbone.")}
    torch.save({**checkpoint, "model": kept}, run / "checkpoint.pt")
    with pytest.raises(UserError, match="no projector"):
        export_files(run, {"fp32": tmp_path / "z.onnx"}, Settings(with_projector=True))


@pytest.mark.parametrize("layer", ["maxpool", "layer1", "layer3.0.conv1", "layer4"])
def test_layers_by_name(run_dir, layer, squares):
    backbone = load_backbone(run_dir)[0]
    with torch.inference_mode():
        vectors = UnitVectors(backbone, layer=layer)(torch.from_numpy(squares[:3]).float().permute(0, 3, 1, 2))
    assert vectors.shape == (3, {"maxpool": 64, "layer1": 64, "layer3.0.conv1": 256, "layer4": 512}[layer])


def test_fewer_numbers_than_the_usual_ones_are_told() -> None:
    vectors = torch.randn(100, 4, generator=torch.Generator().manual_seed(0)) @ torch.randn(4, 300)
    said: list[str] = []
    reduction, _ = fit_reduction.fitted_reduction(vectors, fit_reduction.AskedReduction(None, 0.5), said.append)
    assert reduction is not None and reduction.projection.shape[1] == 4
    assert said == ["4 numbers instead of 256: 100 images have no more principal axes; --fit names more images"]
