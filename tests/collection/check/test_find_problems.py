"""Problems that were planted in a folder are found, reported, called fine, and nothing else is."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.check.find_problems import find_problems
from simsiam_retrieval.collection.check.fine import set_fine
from simsiam_retrieval.collection.check.problems import KINDS, beyond
from simsiam_retrieval.collection.check.report import as_csv, as_json, write_page
from simsiam_retrieval.core.errors import UserError
from tests.support.small_encoder import small_encoder

ALIKE = 60  # images without a fault
PLANTED = {
    "blurred.png": "blurred",
    "dark.png": "dark",
    "bright.png": "bright",
    "flat.png": "low contrast",
    "long.png": "odd aspect",
    "tiny.png": "unusual size",
    "grey.png": "unusual mode",
    "other.png": "outlier",
    "damaged.png": "damaged",
    "copy.png": "near-duplicate",
    "gone.png": "missing",
}


def _picture(generator: np.random.Generator, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """Bright at the top, dark below, as all of them, with fine noise."""
    slope = np.linspace(220, 30, 64)[:, None, None] + generator.normal(0, 4, (1, 48, 3))
    noise = generator.normal(0, 12, (64, 48, 3))
    return Image.fromarray((slope + noise).clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)


def _photos(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    (folder / "sub").mkdir(parents=True)
    for number in range(ALIKE):
        _picture(generator).save(folder / f"{number:02}.png")
    _picture(generator).filter(ImageFilter.GaussianBlur(3)).save(folder / "blurred.png")
    _picture(generator).point([value // 8 for value in range(256)] * 3).save(folder / "dark.png")
    _picture(generator).point([200 + value // 5 for value in range(256)] * 3).save(folder / "bright.png")
    _picture(generator).point([110 + value // 32 for value in range(256)] * 3).save(folder / "flat.png")
    _picture(generator, (480, 72)).save(folder / "long.png")
    _picture(generator, (12, 9)).save(folder / "tiny.png")
    _picture(generator).convert("L").save(folder / "grey.png")
    _picture(generator).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(folder / "other.png")
    (folder / "damaged.png").write_bytes(b"not a picture")
    _picture(generator).save(folder / "gone.png")
    (folder / "sub" / "copy.png").write_bytes((folder / "07.png").read_bytes())
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("check")
    photos = _photos(folder / "photos")
    collection = Collection.create(folder / "c", small_encoder(folder / "small.onnx"))
    collection.update([photos], workers=1)
    (photos / "gone.png").unlink()
    return collection


def _found(collection: Collection, **options) -> set[tuple[str, str]]:
    report = find_problems(collection, threshold=1.0, fence=3, **options)
    return {(Path(problem.path).name, problem.kind) for problem in report.problems if not problem.fine}


def test_every_planted_fault_is_named_with_its_kind_and_no_whole_image(made: Collection) -> None:
    found = _found(made)
    names = {name for name, _ in found}
    assert set(PLANTED.items()) - found - {("copy.png", "near-duplicate")} == set()
    assert names & {"copy.png", "07.png"}  # of two copies either may be the best
    assert names - set(PLANTED) - {"07.png"} == set()


def test_only_the_kinds_that_are_asked_for(made: Collection) -> None:
    assert {kind for _, kind in _found(made, kinds=["dark", "damaged"])} == {"dark", "damaged"}


def test_a_lower_fence_names_more(made: Collection) -> None:
    few, many = (find_problems(made, ["blurred"], fence=fence).problems for fence in (3, 0.5))
    assert few == many[: len(few)] and len(few) < len(many)
    assert [problem.score for problem in many] == sorted((problem.score for problem in many), reverse=True)


def test_what_is_fine_is_kept_by_content(made: Collection) -> None:
    dark = [problem for problem in find_problems(made, ["dark", "outlier"]).problems if "dark.png" in problem.path]
    assert set_fine(made, dark) == len(dark) > 0
    again = Collection.open(made.folder)
    found = find_problems(again, ["dark"])
    assert [problem.fine for problem in found.problems if "dark.png" in problem.path] == [True]
    assert "dark" not in found.counts() or found.counts()["dark"] == len(found.problems) - 1
    assert set_fine(again, dark) == 0
    assert set_fine(again, dark, fine=False) == len(dark)
    assert ("dark.png", "dark") in _found(again)


def test_json_csv_and_a_page_without_a_server(made: Collection, tmp_path: Path) -> None:
    report = find_problems(made, threshold=1.0)
    stored = json.loads(as_json(report))
    rows = list(csv.DictReader(io.StringIO(as_csv(report.problems))))
    assert [row["path"] for row in rows] == [problem["path"] for problem in stored["problems"]]
    assert stored["counts"] == report.counts() and list(stored["counts"]) == [k for k in KINDS if k in stored["counts"]]
    write_page(made, report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<figure>") == len(report.problems)
    assert not re.search(r"(src|href)=.?(?!data:image/jpeg;base64,)[^\"]*//", page)  # nothing is loaded from elsewhere


def test_without_a_known_threshold_near_duplicates_are_skipped_with_a_reason(made: Collection) -> None:
    report = find_problems(made, ["near-duplicate"])
    assert report.problems == [] and "no threshold is known" in report.skipped["near-duplicate"]


def test_bad_input(made: Collection) -> None:
    with pytest.raises(UserError, match="no such kind of problem"):
        find_problems(made, ["foggy"])
    with pytest.raises(UserError, match="0 or more"):
        find_problems(made, fence=float("nan"))


def test_a_few_images_have_no_quartiles(tmp_path: Path) -> None:
    for number in range(3):
        _picture(np.random.default_rng(number)).save(tmp_path / f"{number}.png")
    with Collection.create(tmp_path / "c", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / "0.png", tmp_path / "1.png", tmp_path / "2.png"], workers=1)
        report = find_problems(collection, ["outlier", "blurred"])
    assert report.problems == [] and "too few" in report.skipped["outlier"]


def test_beyond_counts_interquartile_ranges() -> None:
    values = np.array([0.0, 1, 2, 3, 4, 10])  # quartiles 1.25 and 3.75
    scores, spread = beyond(values, 0.1, high=True)
    assert (spread, scores[-1]) == (2.5, 2.5)
    assert beyond(values, 0.1, high=False)[0][0] == 0.5
    assert beyond(np.ones(5), 0.5, high=True)[0].tolist() == [0] * 5
