"""Features of several stages on grids: against numpy, in the graph, and wherever a description travels."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from simsiam_retrieval.export.export_run import Settings, export_files  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.held_out_images import decoded  # pyright: ignore[reportMissingImports]

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.evaluation.extractors import open_extractor, random_weights, unit_rows
from simsiam_retrieval.evaluation.network_behind import network_behind
from simsiam_retrieval.methods.bn_folding import backbone_from_onnx
from simsiam_retrieval.methods.feature_description import Block, Features, described
from simsiam_retrieval.methods.pooling import PooledStages, areas, pool
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.run_folder import Run, load_backbone
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.trainer import pretrain
from tests.support.commands import Command

SIDE = 64
TEXT = "stage2@4x4,stage1@2x4:gem*0.5,flip"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def grid(maps: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """(n, c, h, w) -> means (n, c, rows, columns) of equal cells."""
    n, c, h, w = maps.shape
    return maps.reshape(n, c, rows, h // rows, columns, w // columns).mean(axis=(3, 5))


@pytest.fixture(scope="module")
def squares(few_photos: Path) -> np.ndarray:
    return decoded(sorted(few_photos.rglob("*.jpg")), SIDE, "photos").pixels


@pytest.fixture(scope="module")
def expected(run_dir: Path, squares: np.ndarray) -> np.ndarray:
    """Unit features of ``TEXT`` without PCA: maps from hooks in torchvision's network, the rest in numpy."""
    backbone = load_backbone(run_dir)[0].eval()
    maps: dict[str, list[np.ndarray]] = {"layer1": [], "layer2": []}

    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        return lambda module, given, taken: maps[name].append(taken.double().numpy())

    for name in maps:
        backbone.get_submodule(name).register_forward_hook(keep(name))
    scaled = torch.from_numpy((squares / 255 - MEAN) / STD).float().permute(0, 3, 1, 2)
    with torch.inference_mode():
        backbone(scaled)
        backbone(scaled.flip(3))
    second = np.add(*(grid(one, 4, 4).reshape(len(squares), -1) for one in maps["layer2"]))
    first = np.add(
        *(grid(np.maximum(one, 1e-6) ** 3, 2, 4).reshape(len(squares), -1) ** (1 / 3) for one in maps["layer1"])
    )
    return unit(np.concatenate([unit(second), 0.5 * unit(first)], axis=1))


@pytest.fixture(scope="module")
def files(run_dir: Path, few_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of three precisions, with PCA."""
    folder, others = tmp_path_factory.mktemp("pooled"), tmp_path_factory.mktemp("others")
    rng = np.random.default_rng(0)
    for number in range(40):  # blots, which neighbours can be told of
        pixels = rng.integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(others / f"{number}.png")
    found = {name: folder / f"{name}.onnx" for name in ("fp32", "fp16", "int8")}
    settings = Settings(
        features=f"{TEXT},pca24^0.5", image_size=SIDE, fit=few_photos, held_out=others, calibrate=few_photos, force=True
    )  # fmt: skip
    export_files(run_dir, found, settings)
    return found


def test_the_graph_gives_numpy_s_features(run_dir: Path, squares, expected, few_photos: Path, tmp_path: Path) -> None:
    (exported,) = export_files(run_dir, {"fp32": tmp_path / "a.onnx"}, Settings(features=TEXT, image_size=SIDE))
    assert exported.refused is None
    encoder = Encoder(tmp_path / "a.onnx", device="cpu")
    assert encoder.dim == 128 * 16 + 64 * 8 and encoder.metadata["features"] == TEXT
    np.testing.assert_allclose(encoder.embed_pixels(squares), expected, atol=2e-5)
    mirrored = np.ascontiguousarray(squares[:, :, ::-1])
    np.testing.assert_allclose(encoder.embed_pixels(mirrored), expected, atol=2e-5)  # an image and its mirror image
    assert (tmp_path / "a.onnx").stat().st_size < 3.2e6  # stages 3 and 4 would be 42 MB more


def test_pca_with_a_power_in_the_graph(files: dict[str, Path], squares, expected) -> None:
    """Axes from numpy's SVD of the same photos; a component's sign is free, cosines are not."""
    mean = expected.mean(axis=0)
    _, sigma, axes = np.linalg.svd(expected - mean, full_matrices=False)
    wanted = unit((expected - mean) @ axes[:24].T / (sigma[:24] / np.sqrt(len(expected))) ** 0.5)
    encoder = Encoder(files["fp32"], device="cpu")
    found = encoder.embed_pixels(squares)
    assert encoder.dim == 24 and encoder.metadata["features"] == f"{TEXT},pca24^0.5"
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, atol=2e-3)


def test_other_precisions_find_the_same(files: dict[str, Path], squares) -> None:
    exact = Encoder(files["fp32"], device="cpu").embed_pixels(squares)
    for name, least in (("fp16", 0.9999), ("int8", 0.9)):
        encoder = Encoder(files[name], device="cpu")
        assert (encoder.embed_pixels(squares) * exact).sum(axis=1).min() > least, name
        assert encoder.metadata["features"] == f"{TEXT},pca24^0.5"
    report = json.loads((files["fp32"].parent / "export.json").read_text())["files"]
    assert all(row["parity"]["largest_batch_difference"] < 1e-4 for row in report.values())
    assert report["fp32.onnx"]["parity"]["recall_at_10"] > 0.99


def test_equalised_channels_pass_through_grids(files: dict[str, Path]) -> None:
    """Cells' means scale as the channels do, so that the stages read by grids are equalised for int8, too."""
    names = {node.name for node in onnx.load(files["int8"]).graph.node}
    assert any("scale_back" in name for name in names)


@pytest.mark.parametrize("name", ["fp32", "fp16"])
def test_the_first_stages_can_be_trained_on(
    files: dict[str, Path], name: str, run_dir: Path, few_photos: Path, tmp_path: Path, capsys
) -> None:
    restored, original = backbone_from_onnx(files[name]), load_backbone(run_dir)[0]
    assert restored.missing == ("layer3", "layer4")
    x = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted, found = (PooledStages(one, Features.parse(TEXT), SIDE)(x) for one in (original, restored))
    assert float((wanted - found).norm() / wanted.norm()) < (1e-4 if name == "fp32" else 3e-3)
    if name == "fp16":
        return
    still = Config(image_size=32, batch_size=16, epochs=0, projector_dim=64, predictor_dim=32)
    out = tmp_path / "next"
    assert pretrain(still, [few_photos], Options(out=out, init=str(files[name]), device="cpu", workers=0))
    assert "no weights of layer3, layer4" in capsys.readouterr().err
    assert Run(out).read()["features"] == f"{TEXT},pca24^0.5"
    said: list[str] = []
    export_files(out, {"fp32": out / "encoder.onnx"}, Settings(image_size=SIDE, force=True), said.append)
    kept = described(Encoder(out / "encoder.onnx", device="cpu").metadata)
    assert str(kept) == TEXT  # 19 images are too few for PCA
    assert any(TEXT in line for line in said) and any("PCA left out" in line for line in said)
    export_files(out, {"fp32": out / "last.onnx"}, Settings(features="stage4", force=True))
    assert Encoder(out / "last.onnx", device="cpu").dim == 512


def test_the_baseline_has_the_same_features(files: dict[str, Path], squares) -> None:
    encoder = Encoder(files["fp32"], device="cpu")
    untrained = random_weights(encoder)
    assert untrained is not None and untrained.dim == 128 * 16 + 64 * 8
    rows = unit_rows(untrained.embed_squares(squares[:4])).numpy()
    mirrored = unit_rows(untrained.embed_squares(np.ascontiguousarray(squares[:4, :, ::-1]))).numpy()
    np.testing.assert_allclose(rows, mirrored, atol=1e-5)
    assert TEXT in untrained.about


def test_the_paper_s_protocol_sees_the_features(files: dict[str, Path]) -> None:
    found = network_behind(open_extractor(files["fp32"]), files["fp32"])
    assert isinstance(found, PooledStages) and found.feature_dim == 128 * 16 + 64 * 8


def test_a_collection_says_what_its_vectors_are(run: Command, files: dict[str, Path], few_photos: Path) -> None:
    assert run("index", few_photos, "--encoder", files["fp32"], "--collection", "c").returncode == 0
    assert f"{TEXT},pca24^0.5" in run("status", "--collection", "c").stdout
    assert json.loads(run("status", "--collection", "c", "--json").stdout)["features"] == f"{TEXT},pca24^0.5"


def test_cells_of_unequal_places_are_means_over_areas() -> None:
    """Of 4 places in 3 cells, each cell has one and a third: the middle one two thirds of two places."""
    np.testing.assert_allclose(areas(3, 4).numpy(), [[0.75, 0.25, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.25, 0.75]])
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    fine = x.repeat_interleave(3, 2).repeat_interleave(3, 3)  # 12 places: cells of 4 x 4
    torch.testing.assert_close(pool(x, Block(1, 3, 3)), torch.from_numpy(grid(fine.numpy(), 3, 3)))


def test_grids_finer_than_the_map_are_refused(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at 64 px the map of stage 4 has 2 x 2 places; give @2x2"):
        export_files(run_dir, {"fp32": tmp_path / "a.onnx"}, Settings(features="stage4@4x4", image_size=64))
    with pytest.raises(UserError, match="leave out --layer"):
        Settings(features="stage2", layer="layer2").check()
    with pytest.raises(UserError, match="leave out --dim"):
        Settings(features="stage2,pca8", dim=8).check()


def test_stage_4_alone_is_the_whole_backbone(run_dir: Path, squares) -> None:
    backbone = load_backbone(run_dir)[0].eval()
    x = torch.from_numpy((squares[:4] / 255 - MEAN) / STD).float().permute(0, 3, 1, 2)
    with torch.inference_mode():
        torch.testing.assert_close(
            PooledStages(backbone, Features(), SIDE)(x), torch.nn.functional.normalize(backbone(x), dim=1)
        )
