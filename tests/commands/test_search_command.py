"""``python -m simsiam_retrieval.search``: what it prints, and what it says of what cannot work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from simsiam_retrieval import Collection
from tests.support.commands import refused, table
from tests.support.small_collections import indexed, painted
from tests.support.small_encoder import paint, small_encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return painted(tmp_path / "pictures", 5)


@pytest.fixture
def made(folder: Path, tmp_path: Path) -> Path:
    """The folder of a collection of ``folder``."""
    return indexed(folder, tmp_path / "made")


# -- what it prints


def test_the_table(run_command, made, folder):
    done = run_command("search", folder / "2.jpg", "--collection", made, "-k", 3)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == table(made, folder / "2.jpg", 3)
    assert done.stdout.splitlines()[1] == f"   1   1.000  {folder}/2.jpg"


def test_ten_results_for_each_query(run, collection_dir, photos):
    queries = sorted(photos.glob("pets/*.jpg"))[:2]
    done = run("search", *queries, "--collection", collection_dir)
    assert done.stdout == table(collection_dir, queries[0], 10) + table(collection_dir, queries[1], 10)
    assert len(done.stdout.splitlines()) == 22


def test_json(run_command, collection_dir, photos):
    queries = sorted(photos.glob("*/*.jpg"))[::60]
    done = run_command("search", *queries, "--collection", collection_dir, "--json", "-k", 4)
    assert (done.returncode, done.stderr) == (0, "")
    results = json.loads(done.stdout)
    assert [result["query"] for result in results] == [str(query) for query in queries]
    with Collection.open(collection_dir) as collection:
        for query, result in zip(queries, results, strict=True):
            hits = collection.search(query, k=4)
            assert [(hit["rank"], hit["path"]) for hit in result["hits"]] == [(h.rank, str(h.path)) for h in hits]
            assert [hit["score"] for hit in result["hits"]] == pytest.approx([h.score for h in hits], abs=2e-6)


def test_the_query_need_not_be_in_the_collection(run, made, folder, tmp_path):
    query = tmp_path / "outside.jpg"
    with Image.open(folder / "3.jpg") as image:
        image.save(query, quality=95)
    done = run("search", "outside.jpg", "--collection", "made", "-k", 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"outside.jpg\n   1   1.000  {folder}/3.jpg\n"


def test_a_collection_that_is_too_small_for_a_noise_level_says_so(run, made, folder):
    query = sorted(folder.rglob("*.*"))[0]
    done = run("search", query, "--collection", made, "--above-noise")
    assert done.returncode == 0 and done.stdout.count("\n") > 1
    assert "--above-noise left nothing out" in done.stderr
    assert "left nothing out" not in run("search", query, "--collection", made).stderr


def test_a_photo_of_the_collection_finds_itself_first(run, collection_dir, photos):
    queries = sorted(photos.glob("*/*.jpg"))[::5]
    done = run("search", *queries, "--collection", collection_dir, "--json", "-k", 200)
    for result in json.loads(done.stdout):
        # the tiny encoder gives some pictures the same vector up to rounding: first, then, but for a tie
        [own] = [hit["score"] for hit in result["hits"] if hit["path"] == result["query"]]
        assert own == pytest.approx(1, abs=1e-5)
        assert own == pytest.approx(result["hits"][0]["score"], abs=1e-5)


def test_an_empty_collection(run, folder, tmp_path):
    Collection.create(tmp_path / "empty", small_encoder(tmp_path / "small.onnx")).close()
    done = run("search", folder / "0.jpg", "--collection", tmp_path / "empty")
    assert (done.returncode, done.stdout) == (0, f"{folder}/0.jpg: nothing in the collection\n")
    done = run("search", folder / "0.jpg", "--collection", tmp_path / "empty", "--json", "--sheet", "s.png")
    assert json.loads(done.stdout) == [{"query": str(folder / "0.jpg"), "noise_level": None, "hits": []}]
    assert Image.open(tmp_path / "s.png").width > 0


def test_the_one_indexed_last(run, made, folder, tmp_path):
    encoder = tmp_path / "small.onnx"
    refused(run("search", folder / "0.jpg"), "nothing is indexed", "simsiam_retrieval.index")
    paint(tmp_path / "other" / "x.jpg", 50)
    run("index", "other", "--encoder", encoder)  # the default collection
    assert f"{tmp_path}/other/x.jpg" in run("search", folder / "0.jpg").stdout
    run("index", folder, "--collection", "made")
    assert run("search", folder / "0.jpg", "-k", 2).stdout == table(made, folder / "0.jpg", 2)
    run("index", "other")
    assert f"{tmp_path}/other/x.jpg" in run("search", folder / "0.jpg").stdout


NAMES = {
    "accents": "Grüße aus Łódź 写真.jpg".encode(),
    "newline": b"two\nlines.jpg",
    "markup": b"<img src=x onerror=alert(1)>.jpg",
    "not utf-8": b"caf\xe9.jpg",
    "escape": b"\x1b[31mred\x1b[0m.jpg",
    "dash": b"-k.jpg",
    "percent": b"100%s.jpg",
    "colon": b"x:y:.jpg",
}


@pytest.fixture
def named(made: Path, folder: Path) -> dict[str, Path]:
    """Pictures with such names, in the collection."""
    paths = {kind: folder / os.fsdecode(name) for kind, name in NAMES.items()}
    for number, path in enumerate(paths.values()):
        paint(path, 10 + number)
    with Collection.open(made) as collection:
        collection.update([folder], workers=0)
    return paths


@pytest.mark.parametrize("kind", NAMES)
def test_names_of_every_kind(run, made, named, tmp_path, kind):
    path = named[kind]
    done = run("search", path, "--collection", made, "-k", 1, "--sheet", tmp_path / "sheet.png")
    assert (done.returncode, done.stderr) == (0, f"drew {tmp_path}/sheet.png\n")
    assert "   1   1.000  " in done.stdout
    if kind not in ("not utf-8", "newline", "escape"):
        assert done.stdout == f"{str(path).rstrip(':')}\n   1   1.000  {path}\n"
    done = run("search", path, "--collection", made, "-k", 1, "--json")
    assert json.loads(done.stdout)[0]["hits"][0]["path"] == str(path)


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""},
    ],
)
def test_terminals_that_are_not_utf_8(run_command, made, named, folder, environment):
    done = run_command("search", folder / "0.jpg", "--collection", made, "-k", 20, **environment)
    assert done.returncode == 0, done.stderr
    assert "".join(done.stdout).count(str(folder)) == 1 + 13
    done = run_command("index", folder, "--collection", made, **environment)
    assert done.stdout == f"13 images in {made} (0 new, 0 changed, 0 gone)\n"


@pytest.mark.parametrize("name", ["newline", "escape"])
def test_a_name_does_not_break_the_table(run, made, folder, name):
    """One line a result, and nothing that a terminal would obey."""
    path = (folder / "1.jpg").rename(folder / os.fsdecode(NAMES[name]))
    with Collection.open(made) as collection:
        collection.update([folder], workers=0)
    done = run("search", path, "--collection", made, "-k", 2)
    assert len(done.stdout.splitlines()) == 3
    assert "\x1b" not in done.stdout


def test_one_query_of_an_exact_index_does_not_wait_for_faiss(made, folder) -> None:
    """Importing FAISS takes as long as the rest of a small search; typeguard, which tyro would ask, a third of that."""
    program = (
        "import sys; from simsiam_retrieval import search; sys.argv = ['search', *sys.argv[1:]]\n"
        "search.main(); print(sorted({'faiss', 'typeguard', 'torch'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(folder / "0.jpg"), "--collection", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "0.jpg" in done.stdout.splitlines()[1]


def test_output_to_a_reader_that_leaves(collection_dir, photos):
    queries = " ".join(f"'{path}'" for path in sorted(photos.glob("*/*.jpg"))[:8])
    command = (
        f"'{sys.executable}' -m simsiam_retrieval.search {queries} -k 126 --collection '{collection_dir}' | head -1"
    )
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("where", ["> /dev/full", ">&-"])
def test_output_that_goes_nowhere(made, folder, where):
    command = f"'{sys.executable}' -m simsiam_retrieval.search '{folder}/0.jpg' --collection '{made}' {where}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2)
    assert len(done.stderr.splitlines()) <= 1


# -- what cannot work


def test_no_query(run, made):
    done = run("search", "--collection", made)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "image" in done.stderr.lower()


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "folder", "~nobody-of-this-name/x.jpg"])
def test_queries_that_cannot_be_read(run, made, folder, tmp_path, kind):
    query = tmp_path / "query.jpg"
    if kind == "folder":
        query.mkdir()
    elif kind.startswith("~"):
        query = Path(kind)
    elif kind != "missing":
        content = {"empty": b"", "text": b"text", "truncated": (folder / "0.jpg").read_bytes()[:300]}
        query.write_bytes(content[kind])
    done = run("search", query, "--collection", made)
    refused(done, str(query))
    assert "Errno" not in done.stderr
    done = run("search", folder / "0.jpg", query, "--collection", made)  # the others are answered
    assert done.returncode == 2 and str(query) in done.stderr and str(folder / "0.jpg") in done.stdout


def test_a_query_that_would_block(made, tmp_path):
    """Somebody points at a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "fifo.jpg")
    command = [sys.executable, "-m", "simsiam_retrieval.search", tmp_path / "fifo.jpg", "--collection", made]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    refused(done, "fifo.jpg")


@pytest.mark.parametrize("k", ["0", "-1"])
def test_k_below_one(run, made, folder, k):
    refused(run("search", folder / "0.jpg", "--collection", made, "-k", k), "-k", "at least one")


@pytest.mark.parametrize("k", ["x", "1.5", "9" * 30])
def test_k_that_is_no_sensible_number(run, made, folder, k):
    done = run("search", folder / "0.jpg", "--collection", made, "-k", k)
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if k.startswith("9") else 2)
    if k.startswith("9"):
        assert done.stdout == table(made, folder / "0.jpg", 5)


def test_an_unknown_option(run, made, folder):
    done = run("search", folder / "0.jpg", "--colection", made)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--colection" in done.stderr
    assert "--collection" in done.stderr
    assert "Traceback" not in done.stderr


def test_help(run):
    done = run("search", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("--collection", "-k", "--json", "--sheet"):
        assert option in done.stdout
