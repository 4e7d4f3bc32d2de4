"""Features of files: in order, kept between runs, and never wrong because of what is in the cache."""

import multiprocessing
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.evaluation.extractors import (
    PIXEL_SIDE,
    NetworkExtractor,
    PixelExtractor,
    Row,
    open_extractor,
    random_weights,
    unit_rows,
)
from simsiam_retrieval.evaluation.feature_cache import FeatureCache
from simsiam_retrieval.evaluation.features import extract
from simsiam_retrieval.images.decode import centre_square, decode
from simsiam_retrieval.images.files import ImageFile, list_images
from simsiam_retrieval.images.reading import Reading
from simsiam_retrieval.training.run_folder import load_backbone


class Counting:
    """An extractor whose vectors are the file's size, and that counts what it is asked for."""

    name, identity, about, side, dim, stored = "sizes", "sizes", "", 8, 3, np.dtype(np.float32)
    reading = Reading()

    def __init__(self, broken: str = "", value: float | None = None) -> None:
        self.asked, self.broken, self.value = 0, broken, value

    def rows(self, files: Sequence[ImageFile], workers: int | None) -> Iterator[list[Row]]:
        self.asked += len(files)
        for file in files:
            if file.path.name == self.broken:
                yield [(None, "broken")]
            else:
                yield [(np.full(3, file.size if self.value is None else self.value, np.float32), "")]

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray:
        raise NotImplementedError


def files_of(folder: Path, count: int = 5) -> list[ImageFile]:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(b"x" * (number + 1))
    return list_images([folder]).images


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    files = files_of(tmp_path / "a")
    first, second = Counting(), Counting()
    before = extract(first, files)
    after = extract(second, files)
    assert (first.asked, second.asked) == (5, 0)
    assert before.stored[:, 0].tolist() == [1, 2, 3, 4, 5] and np.array_equal(before.stored, after.stored)
    without = Counting()
    extract(without, files, cached=False)
    assert without.asked == 5


def test_only_what_changed_is_computed_again(tmp_path: Path) -> None:
    extract(Counting(), files_of(tmp_path / "a"))
    (tmp_path / "a" / "2.jpg").write_bytes(b"y" * 77)
    os.utime(tmp_path / "a" / "3.jpg", ns=(1, 1))
    again = Counting()
    found = extract(again, list_images([tmp_path / "a"]).images)
    assert again.asked == 2 and found.stored[:, 0].tolist() == [1, 2, 77, 4, 5]


def test_files_that_fail_are_told_and_tried_again(tmp_path: Path) -> None:
    files = files_of(tmp_path / "a")
    found = extract(Counting(broken="1.jpg"), files)
    assert found.failed == {1: "broken"} and found.stored[1].tolist() == [0, 0, 0]
    again = Counting()
    assert extract(again, files).failed == {} and again.asked == 1
    with pytest.raises(UserError, match="none of 1 images"):
        extract(Counting(broken="1.jpg"), files[1:2], cached=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_numbers_are_refused_and_not_kept(tmp_path: Path, value: float) -> None:
    files = files_of(tmp_path / "a")
    with pytest.raises(UserError, match=r"sizes: its features of .*0\.jpg are not finite"):
        extract(Counting(value=value), files)
    again = Counting()
    extract(again, files)
    assert again.asked == 5


def cache_file(home_dir: Path) -> Path:
    return next((home_dir / "features").glob("*.sqlite"))


@pytest.mark.parametrize("damage", ["noise", "empty", "half", "other table", "a folder"])
def test_a_damaged_cache_costs_time_only(tmp_path: Path, home_dir: Path, damage: str) -> None:
    files = files_of(tmp_path / "a", 300)
    expected = extract(Counting(), files).stored
    file = cache_file(home_dir)
    if damage == "noise":
        file.write_bytes(np.random.default_rng(0).bytes(5000))
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "half":
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
    elif damage == "other table":
        file.unlink()
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE features (path, size)")
    else:
        file.unlink()
        file.mkdir()
    assert np.array_equal(extract(Counting(), files).stored, expected)
    last = Counting()
    assert np.array_equal(extract(last, files).stored, expected)
    assert last.asked == 0 or damage in ("other table", "a folder")


def test_a_vector_that_was_tampered_with_is_not_believed(tmp_path: Path, home_dir: Path) -> None:
    files = files_of(tmp_path / "a")
    extract(Counting(), files)
    with sqlite3.connect(cache_file(home_dir)) as connection:
        connection.execute("UPDATE features SET vector = zeroblob(12) WHERE size = 2")
        connection.execute("UPDATE features SET vector = zeroblob(8) WHERE size = 3")
    again = Counting()
    assert extract(again, files).stored[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert again.asked == 2


def _write(folder: Path, start: int) -> None:
    cache = FeatureCache("shared", 4, np.dtype(np.float32), folder)
    for number in range(start, start + 50):
        cache.write([(ImageFile(Path(f"/{number}.jpg"), number, 0), np.full(4, number, np.float32))])


def test_two_processes_may_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(tmp_path, start)) for start in (0, 25)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    files = [ImageFile(Path(f"/{number}.jpg"), number, 0) for number in range(80)]
    found = FeatureCache("shared", 4, np.dtype(np.float32), tmp_path).read(files)
    assert {index: vector.tolist() for index, vector in found.items()} == {n: [float(n)] * 4 for n in range(75)}


def test_a_data_directory_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SIMSIAM_RETRIEVAL_HOME", str(tmp_path / "file"))
    assert extract(Counting(), files_of(tmp_path / "a")).stored[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_encoder_features_are_in_the_order_of_the_files(few_photos: Path, encoder_file: Path) -> None:
    files = list_images([few_photos]).images
    extractor = open_extractor(encoder_file)
    found = extract(extractor, files, workers=2)
    assert found.failed == {} and extractor.identity == Encoder(encoder_file).identity
    for row in (0, 20, len(files) - 1):
        np.testing.assert_allclose(found.stored[row], extractor.encoder.embed([files[row].path])[0], atol=1e-5)


def test_a_network_in_torch_gives_what_its_exported_encoder_gives(
    few_photos: Path, run_dir: Path, encoder_file: Path
) -> None:
    backbone, config = load_backbone(run_dir)
    network = NetworkExtractor(backbone, config.image_size, "torch", "")
    files = list_images([few_photos]).images[:8]
    torch_rows = unit_rows(extract(network, files, workers=0).stored)
    onnx_rows = unit_rows(extract(open_extractor(encoder_file), files, workers=0).stored)
    torch.testing.assert_close(torch_rows, onnx_rows, atol=1e-4, rtol=0)


def test_random_weights_are_the_same_every_time_and_not_the_encoder(encoder_file: Path) -> None:
    encoder = Encoder(encoder_file)
    state = torch.random.get_rng_state()
    first, second = random_weights(encoder), random_weights(encoder)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first is not None and second is not None and first.identity == second.identity
    assert first.dim == encoder.dim and first.side == encoder.image_size
    squares = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    assert not np.allclose(unit_rows(first.embed_squares(squares)).numpy(), encoder.embed_pixels(squares), atol=0.01)
    encoder.metadata.pop("backbone")
    assert random_weights(encoder) is None


def test_pixels_are_the_centre_square(few_photos: Path) -> None:
    files = list_images([few_photos]).images[:3]
    found = extract(PixelExtractor(), files, workers=0)
    expected = np.asarray(centre_square(decode(files[1].path, short_side=256), PIXEL_SIDE)).reshape(-1)
    assert found.stored.dtype == np.uint8 and np.array_equal(found.stored[1], expected)
    np.testing.assert_allclose(
        unit_rows(found.stored)[1].numpy(), expected / np.linalg.norm(expected.astype(float)), atol=1e-6
    )
    assert unit_rows(np.zeros((1, 4), np.uint8)).tolist() == [[0, 0, 0, 0]]


def test_encoders_are_named_after_their_run_or_file(encoder_file: Path, tmp_path: Path) -> None:
    assert open_extractor(None).name == "shipped encoder"
    assert open_extractor(encoder_file.parent).name == open_extractor(encoder_file).name == "tiny"
    shutil.copy(encoder_file, tmp_path / "mine.onnx")
    assert open_extractor(tmp_path / "mine.onnx").name == "mine"
