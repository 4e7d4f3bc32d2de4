"""Vectors of regions: pooling in NumPy equals PyTorch's, and one pass a picture comes near one pass a region."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval import load_encoder
from simsiam_retrieval.collection.regions.region_boxes import region_boxes
from simsiam_retrieval.encoder.pool_regions import pool_regions
from simsiam_retrieval.encoder.region_encoder import RegionEncoder
from simsiam_retrieval.encoder.stage_network import StageNetwork
from simsiam_retrieval.images.decode import read_image
from simsiam_retrieval.images.decoded_image import Decoded
from simsiam_retrieval.methods.feature_description import Features
from tests.support.small_encoder import SIDE, paint, small_encoder

WHOLE = np.array([[0, 0, 1, 1]], np.float32)


@pytest.mark.parametrize(
    "text", ["stage4", "stage2@4x4,stage3@2x2,flip", "stage2@3x2:gem*0.5,stage4", "stage1@4x4:gem,flip"]
)
def test_pooling_equals_that_of_the_exported_network(text: str) -> None:
    torch = pytest.importorskip("torch")
    from simsiam_retrieval.methods.pooling import combined

    features = Features.parse(text)
    draw = np.random.default_rng(0)
    batch = 2 if features.flip else 1
    maps = {stage: draw.random((batch, 3, 11, 8)).astype(np.float32) for stage in range(5)}
    network = StageNetwork(b"", (), features, None, None)

    found = pool_regions(network, maps, WHOLE)[0]
    expected = combined([torch.from_numpy(maps[stage]) for stage in range(5)], features).numpy()[0]
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)

    # a region whose borders are those of places is the same as the whole of that part of the map
    box = np.array([[2 / 8, 3 / 11, 4 / 8, 6 / 11]], np.float32)
    part = {stage: [map_[0, :, 3:9, 2:6]] for stage, map_ in maps.items()}
    if features.flip:
        part = {stage: [*one, maps[stage][1, :, 3:9, 2:6]] for stage, one in part.items()}
    cut = {stage: np.stack(one) for stage, one in part.items()}
    assert pool_regions(network, maps, box)[0] == pytest.approx(pool_regions(network, cut, WHOLE)[0], abs=1e-5)


def test_the_reduction_follows() -> None:
    draw = np.random.default_rng(1)
    mean, projection = draw.random(3).astype(np.float32), draw.random((3, 2)).astype(np.float32)
    network = StageNetwork(b"", (), Features.parse("stage4,pca2"), mean, projection)
    map_ = draw.random((1, 3, 4, 5)).astype(np.float32)
    pooled = map_[0].mean((1, 2))
    expected = (pooled / np.linalg.norm(pooled) - mean) @ projection
    assert pool_regions(network, {4: map_}, WHOLE)[0] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)


@pytest.fixture(scope="module")
def shipped() -> RegionEncoder:
    return RegionEncoder.of(load_encoder(device="cpu", threads=1))


def test_one_pass_has_nearly_the_neighbours_of_a_pass_a_region(shipped: RegionEncoder, few_photos: Path) -> None:
    assert shipped.network is not None
    slow = RegionEncoder(shipped.file, shipped.image_size, None)
    pooled, own = [], []
    for file in sorted(few_photos.rglob("*.jpg"))[::6]:
        decoded = read_image(file, 256)
        boxes = region_boxes(*decoded.image.size)
        rows, vectors = shipped.vectors(decoded, boxes)
        others, expected = slow.vectors(decoded, boxes)
        assert np.array_equal(rows, others)
        pooled.append(vectors)
        own.append(expected)
    found, expected = np.concatenate(pooled), np.concatenate(own)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    nearest = (found @ expected.T).argmax(1)
    assert (nearest == np.arange(len(found))).mean() > 0.9
    assert (found * expected).sum(1).mean() > 0.75


def test_a_wide_picture_is_seen_whole(shipped: RegionEncoder, few_photos: Path) -> None:
    with Image.open(sorted(few_photos.rglob("*.jpg"))[0]) as image:
        photo = image.convert("RGB").resize((100, 100))
    wide = Image.new("RGB", (300, 100), "white")
    wide.paste(photo, (200, 0))
    decoded = Decoded(wide, 300, 100, "PNG")
    boxes = np.array([[2 / 3, 0, 1 / 3, 1], [0, 0, 1 / 3, 1]], np.float32)
    rows, vectors = shipped.vectors(decoded, boxes)
    assert rows.tolist() == [0]  # the other one is plain
    own = load_encoder(device="cpu", threads=1).embed([photo])[0]
    assert vectors[0] @ own > 0.7


def test_an_encoder_of_another_form_sees_each_region_alone(tmp_path: Path) -> None:
    encoder = load_encoder(small_encoder(tmp_path / "small.onnx"), device="cpu")
    regions = RegionEncoder.of(encoder)
    assert regions.network is None
    decoded = read_image(paint(tmp_path / "a.png", 3, (48, 32)))
    boxes = np.array([[0, 0, 2 / 3, 1], [0.5, 0.25, 1 / 3, 0.5]], np.float32)
    _, vectors = regions.vectors(decoded, boxes)
    for box, vector in zip([(0, 0, 32, 32), (24, 8, 40, 24)], vectors, strict=True):
        square = decoded.image.crop(box).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        expected = np.asarray(square, float).ravel() - 127.5
        # resampling looks past the border of a box, but not past that of a crop
        assert vector @ (expected / np.linalg.norm(expected)) > 0.99


def test_a_trained_encoder_is_cut_or_falls_back(encoder_file: Path) -> None:
    encoder = load_encoder(encoder_file, device="cpu")
    regions = RegionEncoder.of(encoder)
    assert regions.network is not None
    assert regions.network.features == Features()
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    session = regions.network.open()
    pooled = pool_regions(regions.network, regions.network.maps(session, picture), WHOLE)
    assert pooled[0] == pytest.approx(encoder.embed_pixels(picture[None])[0], abs=1e-4)
