"""The check command says what it did not look for, counts what it shows, and refuses what would change nothing."""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.check.find_problems import LEAST_SPREAD, find_problems
from simsiam_retrieval.collection.check.leaks import Split, _folder_labels
from simsiam_retrieval.collection.labelling.read_labels import read_labels
from tests.support.commands import Run, refused, runner
from tests.support.small_encoder import paint, small_encoder

__all__ = ["run"]
DARK, COPIES = 4, 5


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(tmp_path, capsys, monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """40 noise pictures, 4 dark ones, 5 of the same bytes, and a file of three pages."""
    folder = tmp_path_factory.mktemp("command")
    generator = np.random.default_rng(0)

    def noise() -> Image.Image:
        return Image.fromarray(generator.integers(0, 256, (40, 40, 3), np.uint8))

    photos = folder / "photos"
    for name in ("clean", "dark", "copies"):
        (photos / name).mkdir(parents=True)
    for number in range(40):
        noise().save(photos / "clean" / f"{number:02}.png")
    for number in range(DARK):
        noise().point([value // 8 for value in range(256)] * 3).save(photos / "dark" / f"{number}.png")
    noise().save(photos / "copies" / "0.png")
    for number in range(1, COPIES):
        shutil.copy(photos / "copies" / "0.png", photos / "copies" / f"{number}.png")
    first, *others = (noise() for _ in range(2))
    first.save(photos / "multi.tif", save_all=True, append_images=[others[0], others[0]])
    collection = Collection.create(folder / "c", small_encoder(folder / "small.onnx"))
    collection.update([photos], workers=1, pages="all")
    return collection


def _check(run: Run, made: Collection, *args: object):
    return run("check", "--collection", made.folder, *args)


def _names(problems: Sequence, kind: str) -> list[str]:
    return sorted(Path(problem.path).name for problem in problems if problem.kind == kind)


def test_pages_of_a_file_are_missing_only_with_the_file(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((20, 20, 3), 40 * page, np.uint8)) for page in range(3)]
    file = tmp_path / "photos" / "multi.tif"
    file.parent.mkdir()
    pages[0].save(file, save_all=True, append_images=pages[1:])
    with Collection.create(tmp_path / "c", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / "photos"], workers=1, pages="all")
        assert len(collection) == 3 and find_problems(collection, ["missing"]).problems == []
        assert set(read_labels(collection, "folders").values()) == {"photos"}
        file.unlink()
        assert len(find_problems(collection, ["missing"]).problems) == 3


def test_pages_that_are_alike_are_in_the_same_file(made: Collection) -> None:
    found = find_problems(made, ["near-duplicate"], threshold=0.99).problems
    [page] = [problem for problem in found if "multi.tif" in problem.path]
    assert page.reason.endswith(", on another page of the file")
    assert _names(found, "near-duplicate")[:-1] and all("folder" not in problem.reason for problem in found)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--kind", "leak"], "--kind leak: add --splits"),
        (["--kind", "label error"], "--kind 'label error': add --labels"),
        (["--kind", "blurred", "--splits", "a=x", "b=y"], "--splits: no effect"),
        (["--kind", "blurred", "--kind", "near-duplicate", "--labels", "folders"], "--labels: no effect"),
        (["--kind", "blurred", "--threshold", "0.9"], "--threshold: no effect"),
        (["--kind", ""], "'': no such kind of problem"),
        (["--fence", "inf"], "a fence of inf"),
        (["--splits", "a=x", "a=y"], "2 are named a"),
    ],
)
def test_what_would_find_nothing_is_refused(made: Collection, run: Run, given: list[str], words: str) -> None:
    refused(_check(run, made, *given), words)


def test_labels_also_serve_the_accuracy_of_leaks(made: Collection, run: Run) -> None:
    root = made.roots[0]
    splits = ["--splits", f"train={root / 'clean'}", f"test={root / 'dark'}"]
    done = _check(run, made, "--kind", "leak", "--labels", "folders", "--threshold", "0.99", *splits)
    assert (done.returncode, done.stdout.splitlines()[1]) == (0, f"nothing found among {len(made)} images")


def test_the_class_of_a_page_is_not_its_file(made: Collection) -> None:
    items = made.items()
    found = _folder_labels([Split("all", made.roots[0])], [np.arange(len(items))], items)
    assert {label for label, item in zip(found, items, strict=True) if "multi.tif" in item.path.parts} == {None}
    assert set(found) == {"clean", "dark", "copies", None}


def test_names_of_a_label_file_that_are_left_out(made: Collection, run: Run, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    rows = [(f"clean/{number:02}.png", "ab"[number % 2]) for number in range(40)]
    table.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in [*rows, ("gone.png", "a")]))
    done = _check(run, made, "--kind", "label error", "--labels", table)
    assert done.returncode == 0 and "left out, not one image of the collection: gone.png" in done.stderr


def test_all_kinds_that_need_more_images_are_named_in_one_line(run: Run, tmp_path: Path) -> None:
    paint(tmp_path / "photos" / "0.png", 0)
    with Collection.create(tmp_path / "c", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / "photos"], workers=1)
        done = _check(run, collection, "--threshold", "0.9")
        kinds = "blurred, dark, bright, low contrast, plain, odd aspect, unusual size, unusual mode, outlier"
        assert f"{kinds}: not looked for: 1 image is too few to say what is usual among them\n" in done.stderr
        assert done.stdout == "nothing found among 1 image\n"
        only = _check(run, collection, "--kind", "dark")
        assert only.stderr.startswith("dark: not looked for: ") and only.stdout.startswith("nothing was looked for ")


def test_a_folder_counts_its_own_images(made: Collection, run: Run) -> None:
    done = _check(run, made, made.roots[0] / "clean", "--kind", "dark")
    assert done.stdout == "nothing found among 40 images\n"
    stored = json.loads(_check(run, made, made.roots[0] / "dark", "--kind", "dark", "--json").stdout)
    assert (stored["images"], stored["counts"]) == (DARK, {"dark": DARK})


def test_fine_counts_files_of_the_same_content(made: Collection, run: Run) -> None:
    copies = [p for p in find_problems(made, ["near-duplicate"], threshold=0.9999).problems if "copies" in p.path]
    assert len(copies) == COPIES - 1
    given = ["--kind", "near-duplicate", "--threshold", "0.9999"]
    done = _check(run, made, *given, "--fine", copies[0].path)
    assert done.stdout == "4 findings noted: 3 of them about other files with the same content\n"
    assert _check(run, made, *given, "--fine", copies[1].path).stdout == "0 findings noted\n"
    assert _check(run, made, *given, "--not-fine", copies[2].path).stdout.startswith("4 findings noted: 3 of")


def test_table_and_page_list_the_same_and_fine_goes_with_a_page(made: Collection, run: Run, tmp_path: Path) -> None:
    image = made.roots[0] / "dark" / "1.png"
    done = _check(run, made, "--kind", "dark", "--fine", image, "--html", "page.html")
    assert done.stdout == "" and done.stderr.startswith("1 finding noted\n")
    assert (tmp_path / "page.html").read_text().count("<figure>") == DARK - 1
    assert _check(run, made, "--kind", "dark", "--all", "--html", "page.html").returncode == 0
    table = _check(run, made, "--kind", "dark", "--all").stdout
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figure>") == DARK and f"dark: {DARK} " in table
    assert page.count("(fine)") == table.count("(fine)") == 1
    done = _check(run, made, "--kind", "dark", "--not-fine", image, "--csv")
    assert [row["fine"] for row in csv.DictReader(io.StringIO(done.stdout))] == ["0"] * DARK


def test_the_page_shows_the_other_picture_too(made: Collection, run: Run, tmp_path: Path) -> None:
    _check(run, made, "--kind", "near-duplicate", "--threshold", "0.9999", "--html", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figure>") == page.count("like (right)") == COPIES and page.count("<img") == 2 * COPIES


def test_fine_says_which_option_a_finding_needs(made: Collection, run: Run) -> None:
    done = _check(run, made, "--threshold", "0.99999", "--fence", "99", "--fine", made.roots[0] / "clean" / "01.png")
    refused(done, "nothing was found about it; a leak is looked for with --splits only; a label error is")


def test_the_line_about_more_leaks_can_be_run_again(made: Collection, run: Run) -> None:
    root = made.roots[0]
    splits = ["--splits", f"a={root / 'dark'}", f"b={root / 'clean'}"]
    done = _check(run, made, "--kind", "leak", "--threshold", "0.01", *splits)
    assert f"more: --kind 'leak' {' '.join(splits)} --all\n" in done.stdout


def test_distances_that_are_nearly_equal_are_no_outliers(made: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    near = np.where(np.arange(len(made)) == 3, 1.0 + 1.4 * LEAST_SPREAD, 1.0).astype(np.float32)
    monkeypatch.setattr("simsiam_retrieval.collection.check.find_problems.outlier_scores", lambda vectors: near)
    assert find_problems(made, ["outlier"]).problems == []
    near[3] = 1.0 + 1.6 * LEAST_SPREAD
    [found] = find_problems(made, ["outlier"]).problems
    assert found.reason == "1.08 times as far from the average image as most"
