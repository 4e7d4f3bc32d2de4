"""fp16 and int8: what is inside the files, what they find, what is refused, and the report."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from simsiam_retrieval.export import check_parity as parity  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export import export_run as exporting  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export import (  # pyright: ignore[reportMissingImports]
    int8,
    prepare_export,
)
from simsiam_retrieval.export.equalise_channels import Streams, channel_ranges, equalised  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.export_run import (  # pyright: ignore[reportMissingImports]
    Bound,
    Settings,
    export_files,
    export_run,
)
from simsiam_retrieval.export.exported_network import UnitVectors  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.graph import PIXELS, network_graph  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.half_precision import in_half  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.held_out_images import choose  # pyright: ignore[reportMissingImports]

from simsiam_retrieval.collection.update.index_folders import index_folders
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.encoder.find_encoder import find_encoder
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.methods.bn_folding import backbone_from_onnx
from simsiam_retrieval.training.run_folder import load_backbone
from tests.support.commands import refused

SIDE = 32


def pictures(n: int, seed: int = 0) -> np.ndarray:
    """Blotches rather than noise: images that differ in what a network sees of them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def run_network(network: onnx.ModelProto, squares: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {PIXELS: squares.transpose(0, 3, 1, 2).astype(np.float32)})[0])


def lively(name: str) -> UnitVectors:
    """A network whose channels differ in range, as trained ones do, and with all residual branches open."""
    torch.manual_seed(0)
    backbone = build_backbone(name)
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.05, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.3, 3.0)  # type: ignore[arg-type]
    return UnitVectors(backbone)


@pytest.fixture(scope="module")
def network() -> onnx.ModelProto:
    return network_graph(lively("resnet18"), SIDE)


@pytest.fixture(scope="module")
def all_files(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny run with its three files; int8 as it comes, whatever it is worth."""
    run = Path(shutil.copytree(run_dir, tmp_path_factory.mktemp("all") / "run", ignore=shutil.ignore_patterns("enc*")))
    files = {"fp32": run / "encoder.onnx", "fp16": run / "encoder_fp16.onnx", "int8": run / "encoder_int8.onnx"}
    export_files(run, files, Settings(force=True, float_layers=0, licence="CC0-1.0"))
    return run


@pytest.fixture(scope="module")
def built(run_dir: Path) -> onnx.ModelProto:
    return network_graph(UnitVectors(load_backbone(run_dir)[0]), SIDE)


@pytest.fixture
def prebuilt(built: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's exporter takes seconds; where it does not matter, take what it gave before."""
    monkeypatch.setattr(prepare_export, "network_graph", lambda *args: built)


# -- equalising


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_equalising_changes_ranges_but_not_results(name):
    """The channels' ranges move towards each other, in every stream; the vectors stay."""
    network, squares = network_graph(lively(name), SIDE), pictures(12)
    streams = Streams(network)
    before = channel_ranges(int8._activations(network, squares, 4, lambda images: None))
    even = equalised(network, before)
    after = channel_ranges(int8._activations(even, squares, 4, lambda images: None))
    np.testing.assert_allclose(run_network(even, squares), run_network(network, squares), atol=2e-6)
    assert len(streams.free) > 8 and {streams.of(name) for name in streams.tensors} == streams.free
    spread = [
        [np.std(np.log(ranges[name][before[name] > 1e-2])) for name in streams.tensors] for ranges in (before, after)
    ]
    assert np.mean(spread[1]) < 0.95 * np.mean(spread[0])


def test_a_residual_stream_has_one_factor_per_channel(network):
    """Add needs both of its inputs in one scale: all that it ties together is one stream."""
    streams = Streams(network)
    for node in network.graph.node:
        if node.op_type == "Add" and node.output[0] in streams.tensors:
            assert streams.of(node.input[0]) == streams.of(node.input[1]) == streams.of(node.output[0])
    convolutions = [node for node in network.graph.node if node.op_type == "Conv"]
    assert all(streams.of(node.input[0]) != streams.of(node.output[0]) for node in convolutions)


# -- int8


def test_int8_is_quantised_per_channel_and_close(network):
    squares = pictures(40)
    calibrated = int8.calibrate(network, squares[:20])
    quantised = calibrated.quantised()
    tensors = {tensor.name: tensor for tensor in quantised.graph.initializer}
    made_by = {node.output[0]: node for node in quantised.graph.node}
    convolutions = [node for node in quantised.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 20
    for node in convolutions:
        weight = made_by[node.input[1]]
        assert weight.op_type == "DequantizeLinear" and made_by[node.input[0]].op_type == "DequantizeLinear"
        values, scales = (numpy_helper.to_array(tensors[name]) for name in weight.input[:2])
        assert values.dtype == np.int8 and scales.shape == (len(values),) and len(np.unique(scales)) > 1
        assert np.abs(values.astype(int)).max() == (127 if int8.has_vnni() else 63)
    exact, found = run_network(network, squares), run_network(quantised, squares)
    cosine = (exact * found).sum(1)
    assert 0.9 < cosine.min() < cosine.max() < 0.9999999


def test_float_layers_stay_float_and_come_closer(network):
    squares = pictures(30)
    calibrated = int8.calibrate(network, squares)
    exact = run_network(network, squares)
    errors = []
    for layers in (0, 5, 1000):
        quantised = calibrated.quantised(layers)
        floats = {tensor.name for tensor in quantised.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
        first = [node.input[1] in floats for node in quantised.graph.node if node.op_type == "Conv"]
        assert sum(first) == min(layers, len(first)) and first == sorted(first, reverse=True)
        errors.append(1 - (exact * run_network(quantised, squares)).sum(1).mean())
    assert errors[2] < 1e-6 < errors[1] < errors[0]


def test_ranges_hold_what_was_seen(network):
    """A grey level gives the input's range, by the normalisation; the blue channel's mean is the lowest."""
    for level in (124, 255):
        calibrated = int8.calibrate(network, np.full((4, SIDE, SIDE, 3), level, np.uint8))
        ranges = calibrated.ranges["div"].range_value
        assert float(ranges[1]) == pytest.approx((level / 255 - 0.406) / 0.225, rel=0.02)


# -- fp16


def test_fp16_has_half_precision_convolutions(network):
    half = in_half(network)
    tensors = {tensor.name: tensor for tensor in half.graph.initializer}
    for node in half.graph.node:
        if node.op_type == "Conv":
            assert tensors[node.input[1]].data_type == onnx.TensorProto.FLOAT16
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    assert len(casts) == 2  # once in, once out: nothing goes to and fro
    squares = pictures(6)
    np.testing.assert_allclose(run_network(half, squares), run_network(network, squares), atol=2e-3)


def test_weights_that_fp16_cannot_hold_are_refused():
    network = lively("resnet18")
    with torch.no_grad():
        network.backbone.get_parameter("layer1.0.conv1.weight").mul_(1e7)
    with pytest.raises(ValueError, match="beyond float16"):
        in_half(network_graph(network, SIDE))


# -- the files


def test_three_files_and_one_report(all_files):
    report = json.loads((all_files / "export.json").read_text())
    rows = report["files"]
    assert list(rows) == ["encoder.onnx", "encoder_fp16.onnx", "encoder_int8.onnx"]
    sizes = [rows[name]["bytes"] for name in rows]
    assert sizes == [(all_files / name).stat().st_size for name in rows]
    assert 0.49 < sizes[1] / sizes[0] < 0.53 and 0.24 < sizes[2] / sizes[0] < 0.29
    assert {row["identity"] for row in rows.values()} == {rows["encoder.onnx"]["identity"]}  # the same weights
    assert len({row["sha256"] for row in rows.values()}) == 3
    assert {row["licence"] for row in rows.values()} == {"CC0-1.0"}
    differences = [row["parity"]["largest_difference"] for row in rows.values()]
    assert differences == sorted(differences)
    int8_row = rows["encoder_int8.onnx"]
    assert "19 images" in int8_row["quantisation"] and int8_row["parity"]["images"] == 19
    assert [rows[name]["precision"] for name in rows] == ["fp32", "fp16", "int8"]


@pytest.mark.parametrize("name", ["encoder_fp16.onnx", "encoder_int8.onnx"])
def test_an_encoder_of_each_precision_makes_a_collection(all_files, few_photos, tmp_path, name):
    encoder = Encoder(all_files / name, device="cpu")
    assert (encoder.dim, encoder.image_size) == (512, 32)
    files = sorted(few_photos.rglob("*.jpg"))[:6]
    update = index_folders([few_photos], tmp_path / "collection", str(all_files / name), workers=0)
    assert update.images == 38 and not update.failed
    from simsiam_retrieval import Collection

    with Collection.open(tmp_path / "collection") as collection:
        assert collection.encoder_identity == encoder.identity
        for file in files:
            assert collection.search(file, 1)[0].path == file
    with pytest.raises(UserError, match="made by another encoder"):
        index_folders([few_photos], tmp_path / "collection", str(all_files / "encoder.onnx"), workers=0)


def test_preprocessing_is_the_same_in_every_precision(all_files):
    """Whole images and their squares give the same vectors, up to a grey level here and there."""
    whole = np.random.default_rng(3).integers(0, 256, (90, 61, 3), np.uint8)
    for name in ("encoder.onnx", "encoder_fp16.onnx", "encoder_int8.onnx"):
        encoder = Encoder(all_files / name, device="cpu")
        assert float(encoder.embed_pixels(whole[None])[0] @ encoder.embed([whole])[0]) > 0.995


def test_a_photo_that_exif_turns_is_compared_upright(all_files, photos):
    turned = next(photos.rglob("*exif-rotated.jpg"))
    assert parity._whole(Encoder(all_files / "encoder.onnx", device="cpu"), [turned]) > 0.999


def test_only_float_files_can_be_trained_on(all_files):
    restored = backbone_from_onnx(all_files / "encoder_fp16.onnx").eval()
    original = load_backbone(all_files)[0]
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        a, b = original(x), restored(x)
    assert (a - b).norm() < 0.01 * a.norm()
    with pytest.raises(UserError, match="contains no weights to train from"):
        backbone_from_onnx(all_files / "encoder_int8.onnx")


def test_a_run_folder_means_its_best_file(all_files, tmp_path):
    for name in ("encoder_int8.onnx", "encoder_fp16.onnx", "encoder.onnx"):
        shutil.copy(all_files / name, tmp_path)
        assert find_encoder(tmp_path).name == name


# -- bounds


@pytest.mark.usefixtures("prebuilt")
def test_below_its_bound_int8_is_not_written_and_the_others_are(all_files, run, monkeypatch):
    monkeypatch.setitem(exporting.BOUNDS, "int8", Bound(2.0, 1.1))
    before = (all_files / "encoder_int8.onnx").read_bytes(), (all_files / "encoder.onnx").stat().st_mtime_ns
    row = json.loads((all_files / "export.json").read_text())["files"]["encoder_int8.onnx"]
    done = run("export", all_files, "--precision", "int8,fp32", "--float-layers", 0)
    assert done.returncode == 2 and done.stdout == f"{all_files / 'encoder.onnx'}\n"
    assert "recall@10" in done.stderr and "limit 1.1" in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert (all_files / "encoder_int8.onnx").read_bytes() == before[0]
    assert (all_files / "encoder.onnx").stat().st_mtime_ns > before[1]
    assert json.loads((all_files / "export.json").read_text())["files"]["encoder_int8.onnx"] == row


@pytest.mark.usefixtures("prebuilt")
def test_force_writes_it_and_says_so(all_files, tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.BOUNDS, "int8", Bound(2.0, 1.1))
    said: list[str] = []
    settings = Settings(force=True, float_layers=0)
    export_files(all_files, {"int8": tmp_path / "forced.onnx"}, settings, said.append)
    assert any("--force" in line for line in said)
    assert "limit 1.1" in json.loads((tmp_path / "export.json").read_text())["files"]["forced.onnx"]["below_bound"]


@pytest.mark.usefixtures("prebuilt")
def test_layers_are_left_in_float_until_the_bound_is_reached(all_files, tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.BOUNDS, "int8", Bound(2.0, 1.1))  # out of reach: all are tried, the best is taken
    said: list[str] = []
    (exported,) = export_files(all_files, {"int8": tmp_path / "tried.onnx"}, Settings(), said.append)
    assert exported.refused and not (tmp_path / "tried.onnx").exists()
    assert all(f"{layers}: " in said[0] for layers in exporting.FLOAT_LAYERS)


# -- which images


def test_held_out_images_are_nothing_else(photos, few_photos):
    split = choose([photos])
    assert len(split.held_out) > 50 and not set(split.held_out) & {*split.calibration, *split.fitting}
    assert len(set(split.labels.values())) == 19
    split = choose([photos], images=20, held_out=few_photos)
    assert len(split.held_out) == 20 and all(few_photos in file.parents for file in split.held_out)
    with pytest.raises(UserError, match="--held-out"):
        choose([photos], calibrate=photos)  # takes them all: nothing is left to check on


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--precision", "fp32,int3"], ["fp32, fp16, int8"]),
        (["--precision", ""], ["fp32, fp16, int8"]),
        (["--precision", "fp32,fp16", "--out", "x.onnx"], ["--out names one file"]),
        (["--calibrate", "nowhere", "--precision", "int8"], ["nowhere"]),
        (["--held-out", "empty"], ["--held-out", "no image files"]),
        (["--images", "3"], ["--images 3"]),
        (["--out", "empty"], ["empty: a folder"]),
        (["--out", "nowhere/x.onnx"], ["its folder does not exist"]),
        (["--layer", "layer9"], ["layer9", "layer1, layer2, layer3, layer4"]),
        (["--layer", "layer2", "--with-projector"], ["cannot be combined"]),
        (["--dim", "0"], ["--dim 0"]),
        (["--dim", "300"], ["principal axes", "--fit"]),
        (["--fit", "empty"], ["--dim or --whiten"]),
        (["--whiten", "--whiten-power", "1.5"], ["--whiten-power 1.5", "at most 1"]),
        (["--whiten-power", "0.5"], ["add --whiten"]),
        (["--float-layers", "-1", "--precision", "int8"], ["--float-layers -1"]),
    ],
)
def test_options_that_make_no_sense(run, run_dir, tmp_path, options, words):
    (tmp_path / "empty").mkdir()
    before = sorted(path.name for path in run_dir.iterdir())
    refused(run("export", run_dir, *options), *words)
    assert sorted(path.name for path in run_dir.iterdir()) == before


# -- the measures themselves


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_neighbour_recall_against_sets():
    generator = np.random.default_rng(0)
    a = unit(generator.normal(size=(60, 8)))
    b = unit(a + 0.3 * generator.normal(size=a.shape))

    def sets(v: np.ndarray) -> list[set[int]]:
        order = [sorted((j for j in range(60) if j != i), key=lambda j: -float(v[i] @ v[j])) for i in range(60)]
        return [set(row[:10]) for row in order]

    expected = np.mean([len(x & y) / 10 for x, y in zip(sets(a), sets(b), strict=True)])
    assert 0.3 < expected < 0.9
    assert parity.neighbour_recall(a, b) == pytest.approx(expected, abs=1e-9)
    assert parity.neighbour_recall(a, a) == 1


def test_copies_in_another_order_are_no_fault():
    generator = np.random.default_rng(1)
    a = unit(np.repeat(generator.normal(size=(4, 8)), 30, axis=0))  # 30 copies each: who is nearest is chance
    b = unit(a + 1e-7 * generator.normal(size=a.shape))
    assert parity.neighbour_recall(a, b) == 1


def test_knn_accuracy_leaves_the_image_itself_out():
    vectors = unit(np.array([[1, 0.0], [1, 0.01], [0, 1], [0.01, 1]]))
    assert parity.knn_accuracy(vectors, np.array([0, 0, 1, 1])) == 1
    lonely = unit(np.array([[1, 0.0], [0.9, 0.1], [0.9, 0.11]]))
    assert parity.knn_accuracy(lonely, np.array([0, 1, 1])) == pytest.approx(2 / 3)


@pytest.mark.usefixtures("prebuilt")
def test_export_run_refuses_in_one_line(all_files, tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.BOUNDS, "fp16", Bound(0.0, 0.97))
    with pytest.raises(UserError, match=r"half\.onnx: not written: it differs"):
        export_run(all_files, tmp_path / "half.onnx", precision="fp16")
    assert list(tmp_path.iterdir()) == []
