"""Measures in a collection: stored with the row, copied, filtered by, forgotten where damaged, made of thumbnails."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
from PIL import Image

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.check.measure_thumbnails import measure_thumbnails
from simsiam_retrieval.collection.search.filters import Filter
from simsiam_retrieval.collection.search.measure_range import Range
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.images.measures import measure
from tests.support.small_encoder import paint, small_encoder


@pytest.fixture
def made(tmp_path: Path) -> Collection:
    for seed in range(4):
        paint(tmp_path / "photos" / f"{seed}.png", seed)
    with Image.open(tmp_path / "photos" / "0.png") as image:
        image.point([value // 16 for value in range(256)] * 3).save(tmp_path / "photos" / "dark.png")
    collection = Collection.create(tmp_path / "c", small_encoder(tmp_path / "small.onnx"))
    collection.update([tmp_path / "photos"], workers=1)
    return collection


def _database(collection: Collection) -> contextlib.closing:
    return contextlib.closing(sqlite3.connect(collection.folder / "catalog.sqlite"))


def test_every_image_is_measured_when_it_is_indexed(made: Collection) -> None:
    found = made.measures()
    assert list(found) == [item.id for item in sorted(made, key=lambda item: item.id)]
    for item in made:
        with Image.open(item.path) as image:
            assert found[item.id] == measure(image.convert("RGB"), "RGB")


def test_a_copy_has_the_measures_of_its_content(made: Collection, tmp_path: Path) -> None:
    (tmp_path / "photos" / "copy.png").write_bytes((tmp_path / "photos" / "1.png").read_bytes())
    assert made.update(workers=1).reused == 1
    copy, original = (made.item_at(tmp_path / "photos" / name) for name in ("copy.png", "1.png"))
    assert copy is not None and original is not None
    assert made.measures()[copy.id] == made.measures()[original.id]


def test_measures_go_with_their_image(made: Collection, tmp_path: Path) -> None:
    (tmp_path / "photos" / "1.png").unlink()
    made.update(workers=1)
    with _database(made) as database:
        assert database.execute("SELECT count(*) FROM measures").fetchone() == (4,)


def test_a_filter_by_measures(made: Collection) -> None:
    dark = Filter(measures=(Range.parse("highlights=..0.1"),))
    assert [item.path.name for item in made.matching(dark)] == ["dark.png"]
    query = made.items()[0]
    assert [hit.path.name for hit in made.search(query, 3, where=dark)] == ["dark.png"]
    bright = Filter(measures=(Range("highlights", 0.1), Range("brightness", None, 1.0)))
    assert len(made.matching(bright)) == 4


@pytest.mark.parametrize("text", ["fog=0..1", "brightness", "brightness=", "brightness=..", "brightness=a..1",
                                  "brightness=nan..1", "brightness=0.5"])  # fmt: skip
def test_a_range_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="--measure"):
        Range.parse(text)


def test_a_range_that_nothing_meets() -> None:
    with pytest.raises(UserError, match=r"brightness from 0\.5 to 0\.1"):
        Filter(measures=(Range.parse("brightness=0.5..0.1"),))


def test_an_older_collection_is_measured_by_its_thumbnails(made: Collection) -> None:
    before = made.measures()
    with _database(made) as database:
        database.execute("DROP TABLE measures")
        database.commit()
    assert made.measures() == {}
    with pytest.raises(UserError, match="check --measure"):
        made.matching(Filter(measures=(Range("brightness", 0.1),)))
    assert measure_thumbnails(made) == 5
    assert measure_thumbnails(made) == 0
    for id_, found in made.measures().items():
        assert found.brightness == pytest.approx(before[id_].brightness, abs=0.02)
        assert found.mode == ""


def test_damaged_measures_are_forgotten(made: Collection) -> None:
    with _database(made) as database:
        database.execute("UPDATE measures SET brightness = 0.75 WHERE item = 2")
        database.commit()
    assert 2 not in made.measures()
    made.close()
    report = Collection.mend(made.folder)
    assert any("measured of 1 images was damaged" in found.problem for found in report)
