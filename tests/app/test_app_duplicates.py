"""The Duplicates page, without a browser."""

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from simsiam_retrieval.app import settings  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.pages import duplicates_comparison, duplicates_kinds, duplicates_page  # pyright: ignore[reportMissingImports]
from streamlit.testing.v1 import AppTest

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.duplicates.pixels.kinds import RESIZED, SAME_FILE
from simsiam_retrieval.collection.duplicates.thresholds import CALIBRATED
from tests.support.app_pages import SECONDS, run, said
from tests.support.small_encoder import paint, small_encoder

PAGE = "from simsiam_retrieval.app.pages import duplicates_page; duplicates_page.show()"
ODD_NAME = "<img src=x onerror=alert(1)>**x**.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures with copies, one of them smaller, and one without."""
    root = tmp_path / "pictures"
    for name, seed in (("a.png", 1), ("b.png", 2), ("c.png", 3)):
        paint(root / name, seed, (120, 90))
    shutil.copy(root / "a.png", root / ODD_NAME)
    paint(root / "a small.png", 1, (60, 45))
    paint(root / "b small.png", 2, (60, 45))
    return root


@pytest.fixture
def collection(folder: Path, tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))
    made.update([folder], workers=0)
    return made


def page(collection: Path, **parameters: str) -> AppTest:
    settings.use(settings.Settings(collection, Path("nowhere")))
    test = AppTest.from_string(PAGE, default_timeout=SECONDS)
    test.query_params.update(parameters)
    return run(test)


def sections(test: AppTest) -> list[dict[str, Any]]:
    found = test.get("bidi_component")
    return json.loads(found[0].proto.json)["sections"] if found else []


def names(test: AppTest) -> list[list[str]]:
    return [[picture["name"] for picture in section["pictures"]] for section in sections(test)]


def figures(groups: int, files: int) -> str:
    return f"<dt>Groups</dt><dd>{groups}</dd></div><div><dt>Files besides the best</dt><dd>{files}</dd>"


def test_groups_are_those_of_the_collection_best_first(collection: Collection) -> None:
    test = page(collection.folder, cosine="0.97")
    expected = collection.duplicates(0.97)
    assert names(test) == [[file.path.name for file in group] for group in expected]
    assert len(expected) == 2
    badges = [[picture["badge"] for picture in section["pictures"]] for section in sections(test)]
    assert badges == [["best", "exact", f"{expected[0][2].score:.3f}"], ["best", f"{expected[1][1].score:.3f}"]]
    first = sections(test)[0]["pictures"][0]
    assert first["link"] == f"./?image={expected[0][0].item.id}"
    assert first["source"].startswith("data:image/jpeg;base64,") and "120 × 90" in first["notes"][0]
    assert figures(2, 3) in said(test)
    assert "deletes nothing" in said(test)
    assert ODD_NAME in names(test)[0] and "<img" not in said(test)  # a name travels as data and is set as text


def test_the_count_moves_with_the_threshold(collection: Collection) -> None:
    test = page(collection.folder)
    counts = []
    for threshold in (0.9, 0.97, 1.0):
        run(test.slider[0].set_value(threshold))
        expected = collection.duplicates(threshold)
        counts.append(len(expected))
        assert figures(len(expected), sum(len(group) - 1 for group in expected)) in said(test)
    assert counts[-1] == 1 < counts[0]
    run(test.toggle[0].set_value(True))
    assert names(test) == [[file.path.name for file in group] for group in collection.duplicates(exact=True)]
    assert test.slider[0].disabled


def test_pixels_give_each_file_its_kind(collection: Collection) -> None:
    test = page(collection.folder, cosine="0.97", pixels="true")
    expected = collection.copies(0.97)
    assert names(test) == [[file.path.name for file in group] for group in expected]
    notes = {picture["name"]: picture["notes"][0] for section in sections(test) for picture in section["pictures"]}
    kinds = {file.path.name: file.kind for group in expected for file in group[1:]}
    assert {name: notes[name] for name in kinds} == kinds and set(kinds.values()) == {SAME_FILE, RESIZED}
    [pills] = test.get("button_group")
    run(pills.select(SAME_FILE))  # pyright: ignore[reportAttributeAccessIssue]
    assert names(test) == [[file.path.name for file in expected[0] if file.kind in ("", SAME_FILE)]]
    assert figures(1, 1) in said(test)


def test_crops_are_outlined_and_the_best_is_chosen(tmp_path: Path, photos: Path) -> None:
    with Image.open(photos / "windmills/kinderdijk-windmills.jpg") as opened:
        photo = opened.convert("RGB")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    photo.save(tmp_path / "a/whole.png")
    photo.crop((20, 15, 300, 225)).save(tmp_path / "b/part.png")
    photo.save(tmp_path / "b/again.webp", lossless=True)
    os.utime(tmp_path / "b/part.png", (10**9, 10**9))
    made = Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))
    made.update([tmp_path / "a", tmp_path / "b"], workers=0)
    test = page(made.folder, cosine="0.9", pixels="true")
    shown = {picture["name"]: picture["boxes"] for section in sections(test) for picture in section["pictures"]}
    assert {name for name, boxes in shown.items() if boxes} == {"whole.png"}
    [[left, top, width, height]] = shown["whole.png"]  # in percent of a square, with margins above and below
    assert (left, width) == pytest.approx((100 * 20 / 320, 100 * 280 / 320), abs=1)
    assert (top, height) == pytest.approx((12.5 + 75 * 15 / 240, 75 * 210 / 240), abs=1)
    assert {option.label for option in test.selectbox} == {"Best file"}
    script = next(name for name in said(test).split(">") if name.startswith("Script that moves"))
    assert script.startswith("Script that moves 1 file<")

    run(test.selectbox[0].set_value("oldest"))
    [group] = sections(test)
    assert group["pictures"][0]["name"] == "part.png" and not group["pictures"][0]["boxes"]
    assert all(len(picture["boxes"]) == 1 for picture in group["pictures"][1:])  # wholes with the part that is kept
    run(test.multiselect[0].set_value([str(tmp_path / "a")]))
    assert names(test)[0][0] == "whole.png"
    test = page(made.folder, cosine="0.9", pixels="true", across="true")
    assert all(
        Path(path).parent != Path(group["pictures"][0]["path"]).parent
        for group in sections(test) for path in [picture["path"] for picture in group["pictures"][1:]]
    )  # fmt: skip


def test_the_script_moves_spares_of_the_chosen_kinds(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(duplicates_kinds, "download", lambda label, make, name, **rest: given.update({label: make}))
    test = page(collection.folder, cosine="0.97", pixels="true")
    [(label, make)] = given.items()
    text = make().decode()
    assert label == "Script that moves 3 files" and text.count("\nmove ") == 3 and "spare pictures" in text
    given.clear()
    run(test.get("button_group")[0].select(SAME_FILE))  # pyright: ignore[reportAttributeAccessIssue]
    assert list(given) == ["Script that moves 1 file"]


def test_moving_the_slider_compares_nothing_again(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[float] = []
    whole = Collection.compare

    def counted(self: Collection, least: float, *rest: Any) -> Any:
        compared.append(least)
        return whole(self, least, *rest)

    monkeypatch.setattr(Collection, "compare", counted)
    test = page(collection.folder)
    for threshold in (0.95, 0.96, 0.99):
        run(test.slider[0].set_value(threshold))
    page(collection.folder)  # somebody else
    assert len(compared) == 1
    run(test.button[0].click())  # look again
    assert len(compared) == 2


def test_an_update_and_files_that_went_are_seen(collection: Collection, folder: Path) -> None:
    test = page(collection.folder, cosine="0.97")
    paint(folder / "c small.png", 3, (60, 45))
    collection.update([folder], workers=0)
    assert len(names(run(test))) == 3
    (folder / "b.png").unlink()
    run(test.button[0].click())
    group = next(group for group in sections(test) if {"b.png"} & {picture["name"] for picture in group["pictures"]})
    assert [picture["name"] for picture in group["pictures"]] == ["b small.png", "b.png"]
    assert group["pictures"][1]["notes"][-1] == "gone"


def test_lists_name_all_files_of_all_pages(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(duplicates_page, "download", lambda label, make, name: given.update({name: make}))
    monkeypatch.setattr(duplicates_page, "PAGE", 1)
    monkeypatch.setattr(duplicates_page, "SHOWN", 2)
    test = page(collection.folder, cosine="0.97")
    assert [len(group) for group in names(test)] == [2]
    assert sections(test)[0]["more"].startswith("and 1 more")
    expected = collection.duplicates(0.97)
    rows = list(csv.DictReader(io.StringIO(given["duplicates.csv"]().decode())))
    paths = [str(file.path) for group in expected for file in group]
    assert [row["path"] for row in rows] == paths
    assert [file["path"] for group in json.loads(given["duplicates.json"]()) for file in group] == paths
    run(test.pagination[0].set_value(2))
    assert names(test) == [[file.path.name for file in expected[1]]]
    for nonsense in ("99", "0", "-1", "x", "1e3"):
        assert names(page(collection.folder, cosine="0.97", groups=nonsense))[0][0] == expected[0][0].path.name


def test_the_slider_stands_where_it_was_measured(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    test = page(collection.folder)
    assert test.slider[0].value == duplicates_page.UNKNOWN
    assert "No threshold was measured" in said(test)
    monkeypatch.setitem(CALIBRATED, collection.encoder_identity, 0.985)
    test = page(collection.folder)
    assert test.slider[0].value == 0.985
    assert "0.985 was measured" in said(test)


@pytest.mark.parametrize("threshold", ["x", "-1", "7", "nan", ""])
def test_nonsense_in_the_address_is_the_default(collection: Collection, threshold: str) -> None:
    assert page(collection.folder, cosine=threshold).slider[0].value == duplicates_page.UNKNOWN


def test_pages_without_groups_say_what_to_do(tmp_path: Path, collection: Collection, folder: Path) -> None:
    for file in folder.glob("*[a-z] small.png"):
        file.unlink()
    (folder / ODD_NAME).unlink()
    collection.update([folder], workers=0)
    assert "slider to the left" in said(page(collection.folder))
    assert "no equal files" in said(page(collection.folder, equal="true"))
    empty = Collection.create(tmp_path / "empty", small_encoder(tmp_path / "small.onnx"))
    assert "no images yet" in said(page(empty.folder)) and "simsiam_retrieval.index FOLDER" in said(page(empty.folder))
    assert "not a collection" in said(page(tmp_path / "nothing"))


def test_too_many_pairs_leave_equal_files(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates_comparison, "LEAST", 0.9995)  # as after a collection of black pictures
    test = page(collection.folder)
    assert "Too many pairs" in said(test) and not test.slider
    assert names(test) == [[file.path.name for file in group] for group in collection.duplicates(exact=True)]
