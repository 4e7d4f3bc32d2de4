"""Filters against conditions written out, and searches through them against numpy."""

from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.search.filters import Filter
from simsiam_retrieval.collection.types import Item
from tests.support.small_encoder import paint, small_encoder


def item(id_: int, path: str, **facts: object) -> Item:
    values = {"size": 1000, "mtime_ns": 0, "width": 40, "height": 30, "format": "JPEG", **facts}
    return Item(id_, Path(path), **values)  # type: ignore[arg-type]


ITEMS = [
    item(1, "/a/one.jpg", taken=datetime(2020, 1, 1)),
    item(2, "/a/sub/IMG_2.JPG", taken=datetime(2020, 6, 30, 23, 59, 59), width=30, height=400),
    item(3, "/ab/three.png", format="PNG", size=2000, mtime_ns=int(datetime(2021, 5, 5, 12).timestamp() * 1e9)),
    item(4, "/a", format="WEBP", taken=datetime(2020, 7, 1)),
    item(5, "/ab/many.jpg", format="MPO", width=4000, height=3000, taken=datetime(2019, 12, 31, 23, 59)),
]
LABELS = {1: "cat", 3: "dog"}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Filter(), [1, 2, 3, 4, 5]),
        (Filter(folders=(Path("/a"),)), [1, 2, 4]),
        (Filter(folders=(Path("/a/sub"), Path("/ab"))), [2, 3, 5]),
        (Filter(folders=(Path("/"),)), [1, 2, 3, 4, 5]),
        (Filter(names=("img_*", "three.*")), [2, 3]),
        (Filter(formats=("jpg",)), [1, 2, 5]),
        (Filter(formats=("png", "webp")), [3, 4]),
        (Filter(labels=("cat",)), [1]),
        (Filter(labels=("dog", "")), [2, 3, 4, 5]),
        (Filter(ids=frozenset({2, 5, 77})), [2, 5]),
        (Filter(ids=frozenset()), []),
        (Filter(since=date(2020, 1, 1), until=date(2020, 6, 30)), [1, 2]),
        (Filter(since=date(2021, 5, 5)), [3]),
        (Filter(until=date(2019, 12, 31)), [5]),
        (Filter(min_side=31), [5]),
        (Filter(max_side=400), [1, 2, 3, 4]),
        (Filter(min_bytes=1001), [3]),
        (Filter(max_bytes=1000, folders=(Path("/a"),), labels=("cat", "dog")), [1]),
    ],
)
def test_what_a_filter_lets_through(where: Filter, expected: list[int]) -> None:
    assert where.among(reversed(ITEMS), LABELS) == expected
    assert bool(where) == (where != Filter())


@pytest.mark.parametrize(
    "values", [{"min_side": 5, "max_side": 4}, {"since": date(2020, 2, 1), "until": date(2020, 1, 1)}]
)
def test_filters_that_nothing_can_meet(values: dict) -> None:
    with pytest.raises(UserError, match="no image has"):
        Filter(**values)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Sixty pictures in three folders."""
    root = tmp_path_factory.mktemp("big")
    for number in range(60):
        paint(root / "pictures" / "abc"[number % 3] / f"{number}.jpg", number, size=(40 + number, 40))
    made = Collection.create(root / "made", small_encoder(root / "small.onnx"))
    made.update([root / "pictures"], workers=0)
    return made


@pytest.mark.parametrize("kind", ["flat", "float16"])
@pytest.mark.parametrize("k", [1, 7, 100])
def test_a_filtered_search_is_that_of_numpy(big: Collection, kind: str, k: int) -> None:
    big.rebuild_index(kind)
    ids, vectors = big.vectors()
    folder = big.roots[0]
    chosen = {found.id for found in big if found.path.parent.name == "b" and found.width >= 60}
    where = Filter(folders=(folder / "b",), min_side=40, ids=frozenset(chosen))
    rows = np.array([row for row, id_ in enumerate(ids.tolist()) if id_ in chosen])
    query = vectors[3]
    scores = vectors[rows] @ query
    order = np.argsort(-scores)[:k]
    hits = big.search(query, k, where=where)
    assert [hit.item.id for hit in hits] == ids[rows[order]].tolist()
    assert [hit.score for hit in hits] == pytest.approx(scores[order].tolist(), abs=1e-5)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert big.search(query, k, where=Filter(labels=("nobody has this",))) == []


def test_labels_count_at_once(big: Collection) -> None:
    first, second, *_ = big
    big.set_labels({first.id: "here", second.id: "here"})
    where = Filter(labels=("here",))
    assert {hit.item.id for hit in big.search(first.path, where=where)} == {first.id, second.id}
    big.set_labels({second.id: None})
    assert [hit.item.id for hit in big.search(first.path, where=where)] == [first.id]


def test_the_last_of_all_days_has_no_next() -> None:
    item = Item(1, Path("/a.jpg"), 1, 0, 1, 1, "JPEG")
    assert Filter(until=date.max).among([item], {}) == [1]


@pytest.mark.parametrize(("written", "asked"), [("Été", "E\u0301te\u0301"), ("E\u0301te\u0301", "Été")])
def test_both_spellings_of_an_accent_are_one(tmp_path: Path, written: str, asked: str) -> None:
    """macOS and some cameras write an accent as a letter of its own."""
    assert written != asked
    file = paint(tmp_path / f"{written} 1" / f"{written} 2.png", 1)
    paint(tmp_path / "winter" / "1.png", 2)
    with Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / f"{written} 1", tmp_path / "winter"], workers=0)
        for where in (Filter(names=(f"{asked}*",)), Filter(folders=(tmp_path / f"{asked} 1",))):
            assert [item.path for item in collection.matching(where)] == [file]
        collection.update([tmp_path], exclude=[f"{asked}*"], workers=0)
        assert [item.path.name for item in collection] == ["1.png"]
