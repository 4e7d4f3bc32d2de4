"""A sharded collection is opened, searched and shown as a plain one of the same images; what it cannot do it says."""

import base64
import json
import shutil
import sqlite3
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from simsiam_retrieval.app import settings  # pyright: ignore[reportMissingImports]
from streamlit.testing.v1 import AppTest

import simsiam_retrieval.collection.search.searcher as searching
from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.index.build_shard_index import build
from simsiam_retrieval.collection.search.filters import Filter
from simsiam_retrieval.collection.status import read_status
from simsiam_retrieval.collection.storage.capabilities import LARGE, Capability
from simsiam_retrieval.collection.storage.parquet_store import ParquetStore
from simsiam_retrieval.collection.storage.shard_file import shard_file, shard_names
from simsiam_retrieval.collection.storage.shard_manifest import prepare, read_manifest
from tests.support.app_pages import SECONDS, grid, own_settings, said, search_page  # noqa: F401 -- a fixture among them
from tests.support.app_pages import run as run_page
from tests.support.commands import Run, refused
from tests.support.sharded_collections import prepared, rows_of_plain, write_rows

ROUNDED = 2e-3  # cosines of float16 vectors differ by less


@pytest.fixture(scope="module")
def made(collection_dir: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example photos in three shards, and one file that is none; read only."""
    folder = tmp_path_factory.mktemp("sharded") / "c"
    manifest = prepare(folder, collection_dir / "encoder.onnx", [str(photos)])
    rows = list(rows_of_plain(collection_dir))
    for number, start in enumerate(range(0, len(rows), 50)):
        write_rows(folder, manifest, number, rows[start : start + 50], source=str(photos))
    build(folder, recall=1.0)
    return folder


@pytest.fixture
def both(collection_dir: Path, made: Path):
    with Collection.open(collection_dir) as plain, Collection.open(made) as sharded:
        yield plain, sharded


def same(plain_hits, hits) -> None:
    """The same results, as far as rounding leaves their order."""
    assert len(plain_hits) == len(hits)
    for one, other in zip(plain_hits, hits, strict=True):
        assert one.rank == other.rank and one.score == pytest.approx(other.score, abs=ROUNDED)
    scores = {hit.path: hit.score for hit in plain_hits}
    floor = plain_hits[-1].score if plain_hits else 0
    for hit in hits:
        assert scores.get(hit.path, floor) == pytest.approx(hit.score, abs=ROUNDED)


def test_it_holds_the_same(both) -> None:
    plain, sharded = both
    assert len(plain) == len(sharded) > 100
    pairs = list(zip(plain, sharded, strict=True))
    for one, other in pairs:
        for name in ("path", "size", "mtime_ns", "width", "height", "format", "taken"):
            assert getattr(one, name) == getattr(other, name)
        assert plain.thumbnail(one.id) == sharded.thumbnail(other.id)
    assert [item for start in range(0, 200, 30) for item in sharded.items(30, start)] == [item for _, item in pairs]
    for one, other in pairs[::20]:
        assert sharded.item(other.id) == other == sharded.item_at(one.path)
    assert sharded.thumbnail(10**6) is None and sharded.item(10**6) is None and sharded.item_at("/nowhere") is None
    assert sharded.roots == plain.roots and sharded.failures() == plain.failures()
    assert sharded.noise_level == pytest.approx(plain.noise_level, abs=ROUNDED)
    assert np.allclose(plain.vectors()[1], sharded.vectors()[1], atol=1e-3)
    ids = [pairs[row][1].id for row in (90, 3, 3, 60)]
    assert np.allclose(sharded.vectors_of(ids), sharded.vectors()[1][[90, 3, 3, 60]])
    assert sharded.sample(10).shape == (10, plain.dim)


def test_it_is_handed_over_as_a_plain_one(both) -> None:
    """Whoever goes through all ids in spans, beginning at the first, meets every image once."""
    plain = both[0]
    parts = []
    for collection in both:
        after, met = 0, []
        while (first := collection.next_id(after)) is not None:
            records, vectors = collection.records(first - 1, after := first + 30)
            met += [(record.item.path, record.digest, record.label) for record in records]
            assert np.allclose(vectors, collection.vectors_of([record.item.id for record in records]))
        parts.append(met)
    assert parts[0] == parts[1] and len(parts[0]) == len(plain)


def test_every_kind_of_query(both, photos) -> None:
    plain, sharded = both
    files = sorted(photos.rglob("*.jpg"))
    item, own = plain.items()[17], sharded.items()[17]
    vector = np.random.default_rng(1).standard_normal(plain.dim).astype(np.float32)
    same(plain.search(files[5], 10), sharded.search(files[5], 10))
    same(plain.search(vector, 200), sharded.search(vector, 200))
    several = [files[1], files[30]]
    same(plain.search(several, 5, unlike=files[60]), sharded.search(several, 5, unlike=files[60]))
    found = sharded.search(own, 8)
    same(plain.search(item, 8), found)
    assert own.id not in [hit.item.id for hit in found] and all(hit.above_noise is not None for hit in found)


FILTERS = [
    {"names": ("*1*",)},
    {"min_side": 300},
    {"max_side": 400, "formats": ("jpg",)},
    {"formats": ("png",)},
    {"since": date(2000, 1, 1), "max_bytes": 30_000},
    {"min_bytes": 20_000},
]


@pytest.mark.parametrize("most", [10**6, 0])
def test_filters(both, photos, monkeypatch, most) -> None:
    """Exactly where a filter leaves few images, through the index where it leaves many."""
    monkeypatch.setattr(searching, "EXACT_UP_TO", most)
    plain, sharded = both
    folders = [path for path in sorted(photos.iterdir()) if path.is_dir()]
    ids = {item.path: item.id for item in sharded}
    query = sorted(photos.rglob("*.jpg"))[0]
    some = [(Filter(**conditions), Filter(**conditions)) for conditions in FILTERS]
    some += [(where := Filter(folders=tuple(folders[2:5])), where), (where := Filter(folders=(query,)), where)]
    some += [(where := Filter(folders=(Path("/"),)), where), (where := Filter(folders=(photos / "non",)), where)]
    wanted = plain.items()[::7]
    some.append((Filter(ids=frozenset(i.id for i in wanted)), Filter(ids=frozenset(ids[i.path] for i in wanted))))
    for one, other in some:
        assert [i.path for i in plain.matching(one)] == [i.path for i in sharded.matching(other)]
        same(plain.search(query, 12, where=one), sharded.search(query, 12, where=other))


def test_labels_and_duplicates_of_small_ones(both, made, tmp_path) -> None:
    plain, _ = both
    with Collection.open(shutil.copytree(made, tmp_path / "c")) as sharded:
        items = sharded.items()
        sharded.set_labels({items[3].id: "cat", items[9].id: "dog"})
        assert sharded.labels() == {items[3].id: "cat", items[9].id: "dog"}
        assert [hit.item for hit in sharded.search(items[0], where=Filter(labels=("dog",)))] == [items[9]]
        groups = [{file.path for file in group} for group in sharded.duplicates(0.97)]
        assert groups == [{file.path for file in group} for group in plain.duplicates(0.97)] and groups
        assert len(sharded.duplicates(exact=True)) == len(plain.duplicates(exact=True))


def test_what_needs_everything_at_once_is_refused(both, run: Run, made, monkeypatch) -> None:
    monkeypatch.setattr(ParquetStore, "capabilities", {**LARGE, **dict.fromkeys(LARGE, 50)})
    _, sharded = both
    for forbidden in (
        sharded.vectors, sharded.duplicates, lambda: sharded.compare(0.9), lambda: sharded.set_labels({0: "a"}),
    ):  # fmt: skip
        with pytest.raises(UserError, match="more than 50 images refuse") as error:
            forbidden()
        assert "\n" not in str(error.value)
    refused(run("duplicates", "--collection", made), "duplicates compare all images", "search for an image's copies")
    monkeypatch.setattr(ParquetStore, "capabilities", {**LARGE, Capability.LIST: 10})
    with pytest.raises(UserError, match="more than 10 images meet the conditions; add another one"):
        sharded.matching(Filter(min_side=1))
    with pytest.raises(UserError, match="searched on the CPU"):
        Collection(made, sharded._store, "cuda")


@pytest.mark.parametrize(
    "options",
    [
        ["PHOTOS"],
        [],
        ["--watch"],
        ["--prune"],
        ["--dry-run"],
        ["--remove", "PHOTOS"],
        ["--index", "ivf"],
        ["--include", "x"],
    ],
)
def test_updates_are_refused(made, photos, run: Run, options) -> None:
    before = {file: file.stat().st_mtime_ns for file in made.iterdir() if not file.name.startswith(".")}
    done = run("index", *(str(photos) if option == "PHOTOS" else option for option in options), "--collection", made)
    refused(done, "--engine ray", "--rebuild-index")
    assert {file: file.stat().st_mtime_ns for file in made.iterdir() if not file.name.startswith(".")} == before


def test_commands(made, photos, run: Run, tmp_path) -> None:
    query = sorted(photos.rglob("*.jpg"))[0]
    done = run("search", query, "--collection", made, "--json", "--sheet", "sheet.png")
    [found] = json.loads(done.stdout)
    assert done.returncode == 0 and found["hits"][0]["path"] == str(query) and (tmp_path / "sheet.png").stat().st_size
    [hit, *_] = json.loads(run("search", "--item", found["hits"][0]["id"], "--collection", made, "--json").stdout)[0][
        "hits"
    ]
    assert hit["path"] == found["hits"][1]["path"]
    done = run("status", "--collection", made)
    assert done.returncode == 0 and "in 3 shards" in done.stdout and "index       ivf-sq8 (asked: auto)" in done.stdout
    told = json.loads(run("status", "--collection", made, "--json").stdout)
    assert told["shards"] == 3 and told["images"] == told["roots"][0]["images"] and told["roots"][0]["present"]
    assert set(told["bytes"]) >= {"catalog.sqlite", "encoder.onnx", "index-1.faiss", "index-1.ivfdata", "shards/"}
    done = run("index", "--verify", "--collection", made)
    assert done.returncode == 0 and done.stdout.endswith("all in order\n"), done.stderr


def test_the_command_that_builds(tmp_path, run: Run) -> None:
    folder = tmp_path / "c"
    prepared(folder, [400, 300])
    refused(run("search", "--item", "1", "--collection", folder), "embedded, but not built yet", "--rebuild-index")
    refused(run("index", "--collection", folder), "embedded, but not built yet")
    done = run("index", "--rebuild-index", "--index", "ivf", "--recall", 0.9, "--collection", folder, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"built the index of 693 images in {folder} (2 shards new, 0 gone, 2 in all, 7 unusable)\n"
    assert done.stderr.startswith("index: ivf, lists 17, nprobe ") and "of 0.9 asked" in done.stderr
    assert "exact" not in done.stderr
    assert run("index", "--rebuild-index", "--collection", folder).stdout.startswith("nothing to do: 693 images")
    refused(
        run("index", "--rebuild-index", "--index", "flat", "--collection", folder), "choose one of auto, ivf, ivf-sq8"
    )
    status = read_status(folder)
    assert (status.images, len(status.failures), status.reasons) == (693, 7, [("damaged: made so", 7)])
    done = run("search", "--item", "3", "--collection", folder, "-k", 3)  # remembered as the last one, too
    assert done.returncode == 0 and run("search", "--item", "3", "-k", 3).stdout == done.stdout


def test_changed_bytes_of_the_index_are_found(made, photos, run: Run, tmp_path) -> None:
    """Of the centroids and of the lists by a search, too."""
    query = sorted(photos.rglob("*.jpg"))[0]
    for suffix in ("ivfdata", "faiss"):
        folder = shutil.copytree(made, tmp_path / suffix)
        [file] = folder.glob(f"index-*.{suffix}")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with Collection.open(folder) as opened, pytest.raises(UserError, match="index is missing or damaged"):
            opened.search(query, 10**6)
    done = run("index", "--verify", "--collection", folder)
    assert "does not fit its checksum" in done.stdout and "build again" in done.stdout
    assert run("index", "--rebuild-index", "--collection", folder).stdout.startswith("built the index")


def test_labels_outlive_the_catalog_of_a_sharded_collection(made, tmp_path, run: Run) -> None:
    folder = shutil.copytree(made, tmp_path / "c")
    with Collection.open(folder) as opened:
        first = opened.items(1)[0]
        opened.set_labels({first.id: "cat"})
    content = bytearray((folder / "catalog.sqlite").read_bytes())
    content[4096 * 2 : 4096 * 2 + 600] = b"\xaa" * 600
    (folder / "catalog.sqlite").write_bytes(content)
    refused(run("index", "--verify", "--collection", folder), "was put aside", "--rebuild-index")
    assert run("index", "--rebuild-index", "--collection", folder).returncode == 0
    with Collection.open(folder) as opened:
        assert [opened.item_at(first.path).id] == list(opened.labels()) and set(opened.labels().values()) == {"cat"}  # type: ignore[union-attr]


def test_a_shard_that_is_gone_or_damaged(made, photos, run: Run, tmp_path) -> None:
    folder = shutil.copytree(made, tmp_path / "c")
    query = sorted(photos.rglob("*.jpg"))[0]
    files = [shard_file(folder, name) for name in shard_names(folder)]
    contents = files[0].read_bytes()
    with Collection.open(folder) as reader:
        reader.search(query)
        files[0].unlink()
        reader.search(query)  # the file that is open stays readable
    refused(
        run("search", query, "-k", 100, "--collection", folder), "this shard cannot be opened", "put it back, or build"
    )
    done = run("index", "--verify", "--collection", folder)
    assert done.returncode == 0 and "1 repairs" in done.stdout and "gone" in done.stdout
    with Collection.open(folder) as reader:
        thumbnails = [reader.thumbnail(item.id) for item in reader]
        assert any(jpeg is None for jpeg in thumbnails) and any(thumbnails)
    files[0].write_bytes(contents[: len(contents) // 2])
    refused(run("search", query, "-k", 100, "--collection", folder), "has changed since the collection was built")
    at = len(contents) // 2
    files[0].write_bytes(contents[:at] + bytes(byte ^ 255 for byte in contents[at : at + 9]) + contents[at + 9 :])
    done = run("index", "--verify", "--collection", folder)
    assert "a damaged shard" in done.stdout and "1 repairs" in done.stdout
    files[0].write_bytes(contents)
    assert run("index", "--verify", "--collection", folder).stdout.endswith("all in order\n")
    database = sqlite3.connect(folder / "catalog.sqlite")
    with database:
        database.execute("UPDATE shards SET images = images + 1 WHERE first = 1")
    database.close()
    with Collection.open(folder) as opened, pytest.raises(UserError, match="the list of its shards does not fit"):
        opened.search(query)
    refused(run("index", "--verify", "--collection", folder), "was put aside", "--rebuild-index")


def test_what_a_shard_or_the_catalog_says_wrong_is_no_result(made, tmp_path) -> None:
    """Vectors and thumbnails are read without Parquet's checksums, rows are copies: each has one of its own."""
    folder = Path(shutil.copytree(made, tmp_path / "vectors"))
    with Collection.open(folder) as opened:
        chosen = opened.items()[0]
        vector = opened.vectors_of([chosen.id])[0]
        jpeg = opened.thumbnail(chosen.id)
    assert jpeg is not None
    file = next(
        file for file in map(lambda name: shard_file(folder, name), shard_names(folder)) if jpeg in file.read_bytes()
    )
    content = bytearray(file.read_bytes())
    content[content.find(jpeg) + 300] ^= 1
    file.write_bytes(content)
    with Collection.open(folder) as opened:
        assert opened.thumbnail(chosen.id) is None
        assert opened.search_vectors(vector[None], 1)[0][0].item == chosen
    with sqlite3.connect(folder / "catalog.sqlite") as database:
        (at,) = database.execute("SELECT vectors_at FROM row_groups WHERE first = ?", [chosen.id]).fetchone()
    database.close()
    content[at] ^= 1  # of the first vector
    file.write_bytes(content)
    with Collection.open(folder) as opened, pytest.raises(UserError, match="a vector that does not fit its checksum"):
        opened.search_vectors(vector[None], 10**6)
    with Collection.open(folder) as opened:
        assert [finding.subject for finding in opened.verify()] == [file]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE items SET path = '/elsewhere.jpg' WHERE id = 1",
        "UPDATE items SET generation = 9 WHERE id = 1",
        "UPDATE row_groups SET vectors_at = vectors_at + 2 WHERE first = 1",
        "UPDATE row_seals SET seals = x'00'",
        "UPDATE list_seals SET seals = x'00'",
    ],
)
def test_rows_that_are_not_what_the_shard_says_are_put_right(made, tmp_path, change: str) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "c"))
    with Collection.open(folder) as opened:
        before = opened.search_vectors(opened.vectors_of([1]), 30)
        query = opened.vectors_of([1])
    with sqlite3.connect(folder / "catalog.sqlite") as database:
        database.execute(change)
    database.close()
    with Collection.open(folder) as opened:
        with pytest.raises(UserError, match=r"checksum|missing|damaged|wrong length"):
            opened.search_vectors(query, 30)
        found = opened.verify()
    assert found
    if "list_seals" in change:
        build(folder)
    with Collection.open(folder) as opened:
        assert opened.verify() == []
        assert opened.search_vectors(query, 30) == before


def test_a_damaged_manifest_is_made_again(made, tmp_path, photos) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "c"))
    whole = read_manifest(folder)
    for content in (
        b"",
        b'{"format": 1',
        b"[]",
        (folder / "shards.json").read_bytes().replace(b'"dim": ', b'"dim": 1'),
    ):
        (folder / "shards.json").write_bytes(content)
        with Collection.open(folder) as opened:
            assert [finding.subject for finding in opened.verify()] == [folder / "shards.json"]
        assert read_manifest(folder) == whole and whole.sources == [str(photos)]
    encoder = bytearray((folder / "encoder.onnx").read_bytes())
    encoder[-1] ^= 1
    (folder / "encoder.onnx").write_bytes(encoder)
    (folder / "shards.json").write_bytes(b"")
    with Collection.open(folder) as opened, pytest.raises(UserError):
        opened.verify()
    assert (folder / "shards.json").read_bytes() == b""  # nothing is made of an encoder that is not the shards'


def test_searching_needs_neither_pyarrow_nor_torch(made, photos, tmp_path) -> None:
    folder = shutil.copytree(made, tmp_path / "c")
    code = (
        "import sys; sys.modules['pyarrow'] = sys.modules['torch'] = None; from simsiam_retrieval import Collection\n"
        "c = Collection.open(sys.argv[1]); hits = c.search(sys.argv[2]); assert c.thumbnail(hits[0].item.id)\n"
        "print(hits[0].path, hits[0].score)\n"
        "from simsiam_retrieval.collection.index.build_shard_index import build\n"
        "from pathlib import Path; build(Path(sys.argv[1]), kind='ivf')"
    )
    query = sorted(photos.rglob("*.jpg"))[0]
    done = subprocess.run([sys.executable, "-c", code, folder, query], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"{query} 0.99") or done.stdout.startswith(f"{query} 1.0")
    assert "needs pyarrow, which is not installed: pip install 'simsiam-retrieval[distributed]'" in done.stderr


def test_a_folder_that_was_moved(made, photos, tmp_path) -> None:
    """Nothing in it knows where it lies, and no file's time matters."""
    folder = shutil.copytree(made, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    query = sorted(photos.rglob("*.jpg"))[7]
    with Collection.open(folder) as moved, Collection.open(made) as reader:
        assert moved.search(query) == reader.search(query)
    assert not build(folder).changed


def test_the_search_page(made, collection_dir) -> None:
    with Collection.open(made) as sharded:
        images, item = len(sharded), sharded.items()[5]
        thumbnail = sharded.thumbnail(item.id)
        assert thumbnail
        neighbours = [hit.item.id for hit in sharded.search(item, 60)]
        beside = [hit.item.id for hit in sharded.search(item, 60, where=Filter(folders=(item.path.parent,)))]
    everything = search_page(made)
    assert f"{images:,} images" in said(everything) and len(grid(everything)) == 60
    address = "data:image/jpeg;base64," + base64.b64encode(thumbnail).decode()
    assert next(tile for tile in grid(everything) if tile["id"] == item.id)["source"] == address
    found = search_page(made, image=str(item.id), copies="1")
    assert f"{len(grid(found))} most similar" in said(found)
    assert [tile["id"] for tile in grid(found)] == neighbours[: len(grid(found))]
    assert len(grid(found)) >= 12 and all(tile["source"] for tile in grid(found))
    filtered = search_page(made, image=str(item.id), folder=str(item.path.parent), copies="1")
    assert [tile["id"] for tile in grid(filtered)] == beside[: len(grid(found))]
    folders = next(box for box in filtered.selectbox if box.label == "Folder").options
    assert str(item.path.parent) in folders


def test_pages_that_need_everything_say_so(made, monkeypatch) -> None:
    monkeypatch.setattr(ParquetStore, "capabilities", {**LARGE, **dict.fromkeys(LARGE, 50)})
    settings.use(settings.Settings(made, Path("nowhere")))
    for name in ("duplicates", "map", "teach"):
        code = f"from simsiam_retrieval.app.pages import {name}_page; {name}_page.show()"
        test = run_page(AppTest.from_string(code, default_timeout=SECONDS))
        assert "more than 50 images refuse" in said(test), name
