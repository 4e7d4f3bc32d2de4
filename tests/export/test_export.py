"""The exported file against torch and Pillow, its metadata, and what is left when something goes wrong."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from simsiam_retrieval.export import export_run as exporting  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export import prepare_export  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.export_run import Bound, export_run  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.exported_network import UnitVectors  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.graph import network_graph  # pyright: ignore[reportMissingImports]
from torch import nn

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.images.decode import centre_square
from simsiam_retrieval.training.run_folder import load_backbone

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def pixels(n: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8)


def through_torch(backbone: nn.Module, squares: np.ndarray) -> np.ndarray:
    """Unit vectors of uint8 (n, s, s, 3), normalised with ImageNet's mean and std, by torch alone."""
    x = (squares.astype(np.float32) / 255 - MEAN) / STD
    with torch.inference_mode():
        features = backbone(torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()).double()
    return (features / features.norm(dim=1, keepdim=True)).numpy()


@pytest.fixture(scope="module")
def backbone(run_dir: Path) -> nn.Module:
    return load_backbone(run_dir)[0]


@pytest.fixture(scope="module")
def encoder(encoder_file: Path) -> Encoder:
    return Encoder(encoder_file, device="cpu")


@pytest.fixture(scope="module")
def model(encoder_file: Path) -> onnx.ModelProto:
    return onnx.load(encoder_file)


@pytest.fixture
def run_copy(run_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run without its encoder, to be spoilt."""
    ignored = shutil.ignore_patterns("encoder*", "export.json", ".lock")
    return Path(shutil.copytree(run_dir, tmp_path / "run", ignore=ignored))


@pytest.fixture(scope="module")
def network(backbone: nn.Module) -> onnx.ModelProto:
    return network_graph(UnitVectors(backbone), 32)


@pytest.fixture
def prebuilt(network: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    """Building the graph takes seconds; where it does not matter, take the one that was built before."""
    monkeypatch.setattr(prepare_export, "network_graph", lambda *args: network)


# -- equal to torch and Pillow


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_any_batch_equals_torch(encoder, backbone, n):
    squares = pixels(n, 32, 32, seed=n)
    vectors = encoder.embed_pixels(squares)
    assert vectors.shape == (n, 512) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, through_torch(backbone, squares), atol=1e-5)


def test_a_batch_equals_its_images_one_by_one(encoder):
    squares = pixels(5, 32, 32)
    singly = np.concatenate([encoder.embed_pixels(squares[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(encoder.embed_pixels(squares), singly, atol=1e-6)


@pytest.fixture(scope="module")
def resample(model: onnx.ModelProto) -> Callable[[np.ndarray], np.ndarray]:
    """The file's own preprocessing, up to what it calls "pixels": (h, w, 3) -> (32, 32, 3) in [0, 255]."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.append(onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda image: np.asarray(session.run(["pixels"], {"images": image[None]})[0])[0].transpose(1, 2, 0)


SIZES = [
    (33, 33),
    (64, 64),
    (50, 80),
    (81, 50),
    (200, 301),
    (20, 31),
    (7, 7),
    (31, 33),
    (127, 1000),
    (500, 96),
    (100, 250),
    (251, 100),
    (1, 40),
]


def picture(kind: str, height: int, width: int) -> np.ndarray:
    whole = pixels(1, height, width, seed=height)[0]
    return whole if kind == "noise" else np.where(whole > 127, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("kind", ["noise", "edges"])
def test_resampling_in_the_graph_is_the_centred_square_of_pillow_s(resample, kind, height, width):
    """Rounding apart, the same filter, crop and place."""
    whole = picture(kind, height, width)
    square = np.asarray(centre_square(Image.fromarray(whole), 32), int)
    difference = np.abs(resample(whole) - square)
    assert difference.max() <= 2 and difference.mean() < 0.1


@pytest.mark.parametrize(("height", "width"), [(50, 80), (81, 50), (20, 31), (333, 128), (1, 40)])
def test_any_size_equals_pillow_and_torch(encoder, backbone, resample, height, width):
    """A batch of whole images gives the vectors of the squares that the graph made of them."""
    whole = pixels(3, height, width)
    squares = np.stack([resample(image) for image in whole])
    assert (squares == squares.round()).all() and squares.min() >= 0 and squares.max() <= 255
    np.testing.assert_allclose(encoder.embed_pixels(whole), through_torch(backbone, squares), atol=1e-5)
    squares = np.stack([np.asarray(centre_square(Image.fromarray(image), 32)) for image in whole])
    np.testing.assert_allclose(encoder.embed_pixels(whole), through_torch(backbone, squares), atol=5e-3)


def test_vectors_have_unit_length(encoder):
    extremes = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
    vectors = np.concatenate([encoder.embed_pixels(pixels(20, 40, 40)), encoder.embed_pixels(extremes)])
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)


def test_channels_are_not_mixed_up(encoder):
    red, blue = np.zeros((2, 1, 32, 32, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    assert np.abs(encoder.embed_pixels(red) - encoder.embed_pixels(blue)).max() > 1e-3


# -- the file


def test_the_file_passes_onnx_s_checker(model):
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 18  # antialiased Resize


def test_input_and_output_types(model):
    (taken,), (given,) = model.graph.input, model.graph.output
    assert (taken.name, given.name) == ("images", "vectors")
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    dims = taken.type.tensor_type.shape.dim
    assert all(dim.dim_param and not dim.HasField("dim_value") for dim in dims[:3]) and dims[3].dim_value == 3
    batch, dim = given.type.tensor_type.shape.dim
    assert batch.dim_param == dims[0].dim_param and dim.dim_value == 512


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8])
def test_only_uint8_is_taken(encoder_file, dtype):
    session = onnxruntime.InferenceSession(encoder_file, providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match=r"[Uu]nexpected input data type"):
        session.run(None, {"images": np.zeros((1, 32, 32, 3), dtype)})


def test_metadata_and_the_report_beside_the_file(encoder_file, encoder, run_dir):
    described = json.loads((run_dir / "config.json").read_text())
    expected = {
        "backbone": "resnet18",
        "method": "simsiam",
        "recipe": "simsiam",
        "trained_at": "32",
        "precision": "fp32",
        "features": "backbone",
        "licence": "not stated",
        "source_run": described["started"],
        "data_fingerprint": described["data"]["fingerprint"],
    }
    assert expected.items() <= encoder.metadata.items()
    assert torch.__version__ in encoder.metadata["trained_with"]
    assert onnx.__version__ in encoder.metadata["exported_with"]
    assert (encoder.metadata["image_size"], encoder.metadata["dim"]) == ("32", "512")
    row = json.loads((run_dir / "export.json").read_text())["files"]["encoder.onnx"]
    assert expected.items() <= row.items()
    content = encoder_file.read_bytes()
    assert (row["bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert row["sha256"].startswith(encoder.identity)
    assert (row["image_size"], row["dim"], row["opset"]) == (32, 512, 20)
    parity = row["parity"]
    assert parity["images"] == 19 and 0 <= parity["mean_difference"] <= parity["largest_difference"] < 1e-4
    assert parity["smallest_cosine"] == pytest.approx(1, abs=1e-5)
    assert parity["recall_at_10"] == 1 and parity["batches"] == [1, 2, 7, 64]
    assert parity["knn"] == parity["knn_torch"]  # subfolders are labels


def test_nothing_private_is_in_the_file(encoder_file, run_dir, few_photos):
    """Neither paths of this machine nor the projector, which no one needs after training."""
    content = encoder_file.read_bytes()
    for word in (str(run_dir), str(few_photos), str(Path(torch.__file__).parent), "site-packages", "predictor"):
        assert word.encode() not in content
    weights = 4 * (11_689_512 - 513_000)  # float32 ResNet-18 without its classifier
    assert weights * 0.99 < len(content) < weights * 1.02


def test_fp16_is_half_the_size_and_close(run_dir, encoder_file, backbone, tmp_path):
    file = tmp_path / "half.onnx"
    parity = export_run(run_dir, file, precision="fp16")
    assert 0.49 < file.stat().st_size / encoder_file.stat().st_size < 0.53
    half = Encoder(file, device="cpu")
    assert half.metadata["precision"] == "fp16"
    squares = pixels(16, 32, 32)
    vectors = half.embed_pixels(squares)
    exact = through_torch(backbone, squares)
    difference = np.abs(vectors - exact).max()
    assert 1e-7 < difference < 5e-3 and parity.largest_difference < 5e-3
    assert (vectors * exact).sum(1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    onnx.checker.check_model(onnx.load(file), full_check=True)


def test_the_size_of_the_default_recipe(run_dir, backbone, tmp_path):
    """128 px: the example photos are resampled on their way, and the check of the file must take that."""
    size = 128
    export_run(run_dir, tmp_path / "large.onnx", image_size=size)
    large = Encoder(tmp_path / "large.onnx", device="cpu")
    assert (large.image_size, large.metadata["trained_at"]) == (size, "32")
    squares = pixels(2, size, size)
    np.testing.assert_allclose(large.embed_pixels(squares), through_torch(backbone, squares), atol=1e-5)


@pytest.mark.usefixtures("prebuilt")
def test_images_that_are_gone_are_replaced_by_the_examples(run_copy, tmp_path):
    described = json.loads((run_copy / "config.json").read_text())
    described["data"]["roots"] = [str(tmp_path / "gone")]
    (run_copy / "config.json").write_text(json.dumps(described))
    assert export_run(run_copy, tmp_path / "encoder.onnx").images > 30


# -- what goes wrong


@pytest.mark.usefixtures("prebuilt")
def test_a_file_that_fails_its_check_is_not_written(run_copy, tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.BOUNDS, "fp32", Bound(-1.0, 0.99))
    before = sorted(path.name for path in run_copy.iterdir())
    with pytest.raises(UserError, match="not written: it differs from the torch model"):
        export_run(run_copy, run_copy / "encoder.onnx")
    assert sorted(path.name for path in run_copy.iterdir()) == before


@pytest.mark.usefixtures("prebuilt")
def test_a_file_that_fails_its_check_leaves_the_old_one(run_copy, monkeypatch):
    monkeypatch.setitem(exporting.BOUNDS, "fp32", Bound(-1.0, 0.99))
    for name in ("encoder.onnx", "export.json"):
        (run_copy / name).write_text("the one before")
    with pytest.raises(UserError):
        export_run(run_copy, run_copy / "encoder.onnx")
    assert (run_copy / "encoder.onnx").read_text() == (run_copy / "export.json").read_text() == "the one before"


def test_wrong_weights_do_not_pass_the_check(run_copy, monkeypatch):
    """The check is one: a graph built from other weights than the run's is refused."""
    build = prepare_export.network_graph

    def spoilt(network: nn.Module, *args):
        other, _ = load_backbone(run_copy)
        with torch.no_grad():
            other.get_parameter("layer4.1.bn2.bias").add_(0.5)
        return build(UnitVectors(other), *args)

    monkeypatch.setattr(prepare_export, "network_graph", spoilt)
    with pytest.raises(UserError, match="differs"):
        export_run(run_copy, run_copy / "encoder.onnx")


@pytest.mark.usefixtures("prebuilt")
@pytest.mark.parametrize("size", [-1, 0, 7, 2049])
def test_image_sizes_out_of_range(run_copy, size):
    with pytest.raises(UserError, match=f"--image-size {size} is out of range"):
        export_run(run_copy, run_copy / "encoder.onnx", image_size=size)


def test_an_unknown_precision(run_copy):
    with pytest.raises(UserError, match="fp32, fp16, int8"):
        export_run(run_copy, run_copy / "encoder.onnx", precision="int3")


@pytest.mark.usefixtures("prebuilt")
def test_a_folder_that_is_not_there(run_copy, tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        export_run(run_copy, tmp_path / "nowhere" / "encoder.onnx")


@pytest.mark.parametrize("damage", ["no folder", "no config", "no checkpoint", "half a checkpoint", "another run's"])
def test_a_damaged_run(run_copy, damage):
    checkpoint = run_copy / "checkpoint.pt"
    match damage:
        case "no folder":
            shutil.rmtree(run_copy)
        case "no config":
            (run_copy / "config.json").unlink()
        case "no checkpoint":
            checkpoint.unlink()
        case "half a checkpoint":
            checkpoint.write_bytes(checkpoint.read_bytes()[:-5000])
        case "another run's":
            text = (run_copy / "config.json").read_text()
            (run_copy / "config.json").write_text(text.replace('"resnet18"', '"resnet34"'))
    with pytest.raises(UserError, match=r"run"):
        export_run(run_copy, run_copy / "encoder.onnx")
    assert not list(run_copy.glob("encoder*")) and not list(run_copy.glob("*.tmp"))


def test_the_command_writes_where_index_looks_and_the_same_file_every_time(run_copy, encoder_file, run_command):
    """The identity of an encoder is a hash of its file: it must not change with the process or the time of day."""
    done = run_command("export", run_copy)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{run_copy / 'encoder.onnx'}\n"
    assert (run_copy / "encoder.onnx").read_bytes() == encoder_file.read_bytes()
    assert "checked against torch on" in done.stderr


def test_the_command_refuses_in_one_line(run, run_dir, tmp_path):
    (tmp_path / "broken").mkdir()
    shutil.copy(run_dir / "config.json", tmp_path / "broken")
    (tmp_path / "broken" / "checkpoint.pt").write_bytes(b"PK\3\4 no checkpoint")
    done = run("export", "broken")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "checkpoint" in done.stderr
    assert not list(tmp_path.rglob("*.onnx"))


def test_the_command_explains_a_misspelt_precision(run_command, run_copy):
    done = run_command("export", run_copy, "--precision", "fp8")
    assert done.returncode == 2 and "fp8: choose from fp32, fp16, int8" in done.stderr and done.stderr.count("\n") == 1
