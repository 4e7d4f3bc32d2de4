"""Searching by region: compared with brute force over all vectors; boxes, filters, noise level, what is refused."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.index.vector_index import VectorIndex
from simsiam_retrieval.collection.regions.region_boxes import own_box
from simsiam_retrieval.collection.regions.region_searcher import _images_near
from simsiam_retrieval.collection.search.contact_sheet import draw_sheet
from simsiam_retrieval.collection.search.filters import Filter
from simsiam_retrieval.core.errors import UserError
from tests.support.small_encoder import paint, small_encoder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of 50 painted pictures with regions; read only."""
    place = tmp_path_factory.mktemp("regions")
    for number in range(50):
        paint(place / "pictures" / ("wide" if number % 2 else "tall") / f"{number}.png", number, (80, 60))
    with Collection.create(place / "collection", small_encoder(place / "small.onnx")) as collection:
        collection.update([place / "pictures"], regions=True, workers=0)
    return place / "collection"


@pytest.fixture
def regions(made: Path):
    with Collection.open(made) as collection:
        yield collection


def brute_force(collection: Collection, query: NDArray[np.float32]) -> list[tuple[float, int]]:
    """Score and id of every image, best first: the highest cosine with its own vector or a region."""
    ids, own = collection.vectors()
    parts = collection.region_vectors()
    best = {int(id_): float(vector @ query) for id_, vector in zip(ids, own, strict=True)}
    for id_, vector in zip(parts.ids.tolist(), parts.vectors, strict=True):
        best[id_] = max(best[id_], float(vector @ query))
    return sorted(((score, id_) for id_, score in best.items()), reverse=True)


def cut_out(collection: Collection, number: int, box: tuple[int, int, int, int]) -> tuple[Image.Image, int]:
    """A part of a picture, and the picture's id."""
    item = next(item for item in collection if item.path.stem == str(number))
    left, top, width, height = box
    with Image.open(item.path) as image:
        return image.convert("RGB").crop((left, top, left + width, top + height)), item.id


def test_a_part_finds_its_picture_and_place(regions: Collection) -> None:
    part, id_ = cut_out(regions, 7, (0, 30, 30, 30))  # a corner
    hits = regions.search(part, k=5, inside=True)
    assert hits[0].item.id == id_
    assert hits[0].box == pytest.approx((0, 0.5, 0.375, 0.5), abs=0.02)
    assert hits[0].pixel_box == (0, 30, 30, 30)
    assert regions.search(part, k=1)[0].score < hits[0].score


def test_scores_are_the_best_regions(regions: Collection) -> None:
    query = regions.direction(cut_out(regions, 4, (10, 5, 40, 40))[0])
    hits = regions.search(query, k=50, inside=True)
    expected = brute_force(regions, query)
    assert [hit.item.id for hit in hits] == [id_ for _, id_ in expected]
    assert [hit.score for hit in hits] == pytest.approx([score for score, _ in expected], abs=2e-3)
    assert len({hit.item.id for hit in hits}) == 50
    itself = next(item for item in regions if item.path.stem == "4")
    whole = regions.search(itself.path, k=1, inside=True)[0]  # found by the picture's own vector
    assert (whole.item.id, whole.score, whole.box) == (itself.id, pytest.approx(1), pytest.approx(own_box(80, 60)))


def test_a_box_is_the_query_that_a_crop_would_be(regions: Collection) -> None:
    part, id_ = cut_out(regions, 9, (40, 0, 40, 60))
    item = regions.item(id_)
    assert item is not None
    by_box = regions.search(item.path, box=[(40, 0, 40, 60)], k=50)
    by_crop = regions.search(part, inside=True, k=50)
    assert [hit[:3] for hit in by_box] == [hit[:3] for hit in by_crop]
    assert by_box[0].item.id == id_
    left_out = regions.search(item, box=[(40, 0, 40, 60)], k=50)  # an image of the collection is not its own result
    assert [hit.item.id for hit in left_out] == [hit.item.id for hit in by_box if hit.item.id != id_]


def test_several_boxes_are_combined_as_several_queries(regions: Collection) -> None:
    boxes = [(0, 0, 30, 30), (50, 30, 30, 30)]
    item = next(iter(regions))
    parts = [cut_out(regions, int(item.path.stem), box)[0] for box in boxes]  # type: ignore[arg-type]
    hits = regions.search(item.path, box=boxes, k=5)
    assert [hit[:3] for hit in hits] == [hit[:3] for hit in regions.search(parts, inside=True, k=5)]
    weighted = regions.search(item.path, box=boxes, weights=[1, -0.5], k=5)
    assert [hit[:3] for hit in weighted] == [
        hit[:3] for hit in regions.search(parts, weights=[1, -0.5], inside=True, k=5)
    ]


def test_filters_and_negatives(regions: Collection) -> None:
    part, id_ = cut_out(regions, 7, (0, 30, 30, 30))
    item = regions.item(id_)
    assert item is not None
    query = regions.direction(part)
    tall = Filter(folders=(item.path.parent.parent / "tall",))
    hits = regions.search(part, k=50, inside=True, where=tall)
    among = {other.id for other in regions.matching(tall)}
    assert [hit.item.id for hit in hits] == [found for _, found in brute_force(regions, query) if found in among]
    away = regions.search(part, inside=True, unlike=item, k=50)
    assert id_ not in {hit.item.id for hit in away}


def test_the_noise_level_is_that_of_best_regions(regions: Collection) -> None:
    part, _ = cut_out(regions, 7, (0, 30, 30, 30))
    query = regions.direction(part)
    level, whole = regions.region_noise_level_of(query), regions.noise_level_of(query)
    assert level is not None
    assert whole is not None
    assert level > whole  # the best of a dozen vectors is nearer by chance than one
    hits = regions.search(part, inside=True, k=50)
    assert {hit.noise_level for hit in hits} == {level}
    assert [hit.above_noise for hit in hits] == [hit.score > level for hit in hits]
    draw = np.random.default_rng(0).normal(size=(40, regions.dim)).astype(np.float32)
    above = [hit.above_noise for one in draw for hit in regions.search(one, inside=True, k=50)]
    assert np.mean(above) < 0.02  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["flat", "ivf-sq8"])
def test_all_images_are_found_whatever_the_index(kind: str) -> None:
    """One image with many near regions does not keep the others out; short lists are not the end."""
    draw = np.random.default_rng(2)
    vectors = draw.normal(size=(4000, 16)).astype(np.float32)
    vectors[:200] = vectors[0] + 0.01 * vectors[:200]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = np.concatenate([256 + np.arange(200), 256 * np.arange(2, 3802)]).astype(np.int64)
    index = VectorIndex.build(numbers, vectors, 0, kind)
    found = _images_near(index, vectors[0], 20, None)
    assert len(found) == 20
    assert found[0] == 1
    among = np.array([1, 5, 77, 3000], np.int64)
    expected = sorted(among.tolist(), key=lambda id_: -float((vectors[numbers // 256 == id_] @ vectors[0]).max()))
    assert _images_near(index, vectors[0], 20, among) == expected


def test_what_cannot_be_is_refused_in_one_line(regions: Collection, collection: Collection, folder: Path) -> None:
    item = next(iter(regions))
    for box, said in (
        ((60, 0, 30, 30), "--box 60 0 30 30: outside the picture, which has 80 x 60 pixels"),
        ((-1, 0, 30, 30), "outside the picture"),
        ((0, 0, 0, 30), "give left, top, width and height in pixels"),
        ((0, 0, float("nan"), 30), "give left, top, width and height in pixels"),
    ):
        with pytest.raises(UserError, match=said.replace("(", r"\(")):
            regions.search(item.path, box=[box])
    with pytest.raises(UserError, match="name one query image"):
        regions.search([item.path, item.path], box=[(0, 0, 9, 9)])
    with pytest.raises(UserError, match="a vector has no parts"):
        regions.search(np.ones(regions.dim, np.float32), box=[(0, 0, 9, 9)])
    with pytest.raises(UserError, match=r"has no regions; add them: .* --regions"):
        collection.search(folder / "a.jpg", inside=True)


def test_a_search_between_updates_sees_the_new_state(empty: Collection, folder: Path) -> None:
    empty.update([folder], regions=True, workers=0)
    query = folder / "a.jpg"
    assert len(empty.search(query, k=9, inside=True)) == 5
    with Collection.open(empty.folder) as other:
        paint(folder / "f.jpg", 9)
        other.update(workers=0)
        next(other.folder.glob("regions-*.faiss")).unlink()  # as after a killed update
    assert len(empty.search(query, k=9, inside=True)) == 6


def test_the_command(run, made: Path) -> None:
    with Collection.open(made) as regions:
        part, id_ = cut_out(regions, 7, (0, 30, 30, 30))
        path = regions.item(id_).path  # type: ignore[union-attr]
    crop = made.parent / "crop.png"
    part.save(crop)
    result = run("search", crop, "--inside", "--collection", made, "-k", 3, "--json", "--sheet", made.parent / "s.png")
    (found,) = json.loads(result.stdout)
    assert found["hits"][0]["path"] == str(path)
    assert found["hits"][0]["box"] == [0, 30, 30, 30]
    with Image.open(made.parent / "s.png") as sheet:
        assert sheet.width > 1000

    table = run("search", path, "--box", 0, 30, 30, 30, "--collection", made, "-k", 1)
    assert table.stdout.splitlines()[1].endswith(f"{path}  at 0 30 30 30")
    two = run("search", path, "--box", 0, 0, 30, 30, "--box", 40, 20, 30, 30, "--collection", made, "--json")
    assert len(json.loads(two.stdout)[0]["hits"]) == 10

    for words, said in (
        (["--box", 60, 0, 30, 30], "outside the picture"),
        ([path, "--box", 0, 0, 30, 30], "name one query image"),
    ):
        refused = run("search", path, *words, "--collection", made)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert said in refused.stderr


def test_the_sheet_outlines_the_region(regions: Collection, tmp_path: Path) -> None:
    part, _ = cut_out(regions, 7, (0, 30, 30, 30))
    buffer = io.BytesIO()
    part.save(buffer, "PNG")
    (tmp_path / "q.png").write_bytes(buffer.getvalue())
    inside, whole = regions.search(part, k=1, inside=True), regions.search(part, k=1)
    for hits, name in ((inside, "inside.png"), (whole, "whole.png")):
        draw_sheet(regions, [(tmp_path / "q.png", hits)], tmp_path / name)
    accent = (0xD9, 0x48, 0x0F)
    marks = {}
    for name in ("inside.png", "whole.png"):
        with Image.open(tmp_path / name) as sheet:
            pixels = np.asarray(sheet.convert("RGB"))[14 : 14 + 180, 222 : 222 + 180]  # the first result
        marks[name] = np.argwhere((pixels == accent).all(2))
    assert not len(marks["whole.png"])
    top, left = marks["inside.png"].min(0)
    bottom, right = marks["inside.png"].max(0)
    # 80 x 60 pixels become 180 x 135, 22 pixels below the tile's top; the region is the lower left corner
    assert (left, right) == pytest.approx((0, 67), abs=2)
    assert (top, bottom) == pytest.approx((22 + 68, 22 + 134), abs=2)
