"""Every FAISS type against numpy: recall, scores, settings, what is taken up and what is built anew."""

import json
import shutil
import sqlite3
from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

import simsiam_retrieval.collection.index.index_kinds as index_kinds
import simsiam_retrieval.collection.index.make_index as indexes
from simsiam_retrieval import Collection
from simsiam_retrieval.collection.index.index_kinds import choose
from simsiam_retrieval.collection.index.tuning import tune
from simsiam_retrieval.collection.index.vector_index import VectorIndex
from simsiam_retrieval.collection.search.filters import Filter
from tests.support.commands import refused
from tests.support.small_encoder import paint, small_encoder

APPROXIMATE = ["ivf", "ivf-sq8", "hnsw"]
STORED = ["flat", "float16", *APPROXIMATE]


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    """4,000 unit vectors round 50 directions, as those of real photos lie."""
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((50, 24))
    found = centres[generator.integers(0, 50, 4000)] + 0.7 * generator.standard_normal((4000, 24))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def ids() -> NDArray[np.int64]:
    return 5 + 3 * np.arange(4000, dtype=np.int64)


def nearest(vectors: NDArray[np.float32], ids: NDArray[np.int64], query: NDArray[np.float32], k: int) -> set[int]:
    return set(ids[np.argsort(-(vectors @ query), kind="stable")[:k]].tolist())


def test_what_auto_means() -> None:
    assert [choose("auto", count, 512) for count in (0, 200_000, 200_001)] == ["flat", "flat", "ivf-sq8"]
    assert [choose("auto", count, 256) for count in (400_000, 400_001)] == ["flat", "ivf-sq8"]
    assert [choose(kind, 1999, 512) for kind in STORED] == ["flat"] * 5
    assert [choose(kind, 2000, 512) for kind in STORED] == STORED


@pytest.mark.parametrize("dim", [19, 64])
@pytest.mark.parametrize("k", [1, 10, 3001])
def test_one_query_is_searched_exactly_and_copies_come_by_id(dim, k) -> None:
    """Against numpy in float64 and FAISS; every vector is there three times, in places that are far apart."""
    generator = np.random.default_rng(0)
    different = generator.standard_normal((1000, dim))
    different /= np.linalg.norm(different, axis=1, keepdims=True)
    which = np.concatenate([np.arange(1000), generator.permutation(1000), np.arange(1000)[::-1], [5]])
    ids = 7 + 3 * np.arange(3001, dtype=np.int64)
    index = VectorIndex.build(ids, different[which].astype(np.float32), 1)
    for query in [*different[:10], *(-different[10:20])]:
        scores, found = index.search(query[None].astype(np.float32), k)
        assert scores.shape == found.shape == (1, k) and scores.dtype == np.float32
        exact = (different @ query)[which]
        np.testing.assert_allclose(scores[0], np.sort(exact)[::-1][:k], atol=1e-6)
        np.testing.assert_allclose(scores, np.clip(index.faiss_index.search(query[None], k)[0], -1, 1), atol=1e-6)
        rows = (found[0] - 7) // 3
        np.testing.assert_allclose(scores[0], exact[rows], atol=1e-6)
        assert len(set(rows.tolist())) == k
        same = which[rows][1:] == which[rows][:-1]
        assert (np.diff(rows)[same] > 0).all() and (np.diff(scores[0])[same] == 0).all()
        assert same.sum() >= 2 * (k // 3 - 1)  # copies stand beside each other


@pytest.mark.parametrize("copies", [2, 40])
def test_copies_come_by_id_in_a_batch_and_with_a_filter_too(copies: int) -> None:
    """As many as are wanted or fewer, and more: which of them are found must not depend on how it is asked."""
    different = np.random.default_rng(0).standard_normal((30, 32)).astype(np.float32)
    different /= np.linalg.norm(different, axis=1, keepdims=True)
    ids = 7 + 3 * np.arange(30 * copies, dtype=np.int64)
    index = VectorIndex.build(ids, np.tile(different, (copies, 1)), 1)
    _, alone = index.search(different[:1], 5)
    assert alone[0, : min(copies, 5)].tolist() == [7 + 90 * copy for copy in range(min(copies, 5))]
    for among in (None, ids):
        _, found = index.search(different[:20], 5, among)
        assert found[0].tolist() == alone[0].tolist()
        for query in range(20):
            assert found[query].tolist() == index.search(different[query : query + 1], 5)[1][0].tolist()


@pytest.mark.parametrize("kind", STORED)
def test_a_saved_index_is_the_same(kind, vectors, ids, tmp_path) -> None:
    made = VectorIndex.build(ids, vectors, 7, kind)
    made.save(tmp_path)
    loaded = VectorIndex.load(tmp_path, 7)
    assert loaded is not None
    assert (loaded.kind, len(loaded), loaded.exact) == (kind, 4000, kind == "flat")
    assert loaded.holds(ids, 24)
    assert not loaded.holds(ids + 1, 24) and not loaded.holds(ids[1:], 24) and not loaded.holds(ids, 25)
    for one, other in zip(made.search(vectors[:20], 5), loaded.search(vectors[:20], 5), strict=True):
        np.testing.assert_array_equal(one, other)
    tolerance = {"float16": 1e-3, "ivf-sq8": 2e-2}.get(kind, 0)
    np.testing.assert_allclose(loaded.vectors(ids[10:20].tolist()), vectors[10:20], atol=tolerance)


@pytest.mark.parametrize("kind", APPROXIMATE)
@pytest.mark.parametrize("asked", [0.5, 0.98])
def test_tuning_reaches_the_recall_that_numpy_finds(kind, asked, vectors, ids) -> None:
    index = VectorIndex.build(ids, vectors, 1, kind)
    rescored = 4 if index.rounded else 1
    measured = tune(index.faiss_index, ids, vectors, asked, rescored)
    assert measured.recall >= asked and not measured.falls_short
    assert (measured.kind, measured.images, measured.asked) == (kind, 4000, asked)
    assert measured.milliseconds > 0 and (measured.exact_milliseconds or 0) > 0
    shares = []
    for row in range(0, 4000, 16):
        truth = nearest(vectors, ids, vectors[row], 11) - {int(ids[row])}
        _, candidates = index.search(vectors[row][None], 11 * rescored)
        kept = [int(id_) for id_ in candidates[0] if id_ != ids[row]]
        best = sorted(kept, key=lambda id_: -float(vectors[(id_ - 5) // 3] @ vectors[row]))[:10]
        shares.append(len(truth & set(best)) / 10)
    assert np.mean(shares) == pytest.approx(measured.recall, abs=0.04)  # other queries, 250 against 200


def test_more_recall_takes_more_probes(vectors, ids) -> None:
    index = VectorIndex.build(ids, vectors, 1, "ivf")
    probes = [tune(index.faiss_index, ids, vectors, asked).settings["nprobe"] for asked in (0.3, 0.9, 1.0)]
    assert probes[0] < probes[1] <= probes[2] <= 102
    assert index.faiss_index.nprobe == probes[2]  # pyright: ignore[reportAttributeAccessIssue]


def test_a_recall_out_of_reach_is_said(vectors, ids) -> None:
    noise = np.random.default_rng(0).standard_normal((4000, 24)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    index = VectorIndex.build(ids, noise, 1, "ivf-sq8")
    measured = tune(index.faiss_index, ids, noise, 1.0)  # rounded scores, not worked out again
    assert measured.falls_short and 0.8 < measured.recall < 1
    assert measured.settings["nprobe"] == measured.settings["lists"]


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_taking_up_an_index(kind, vectors, ids) -> None:
    index = VectorIndex.build(ids[:3000], vectors[:3000], 1, kind)
    assert index.can_become(kind, ids[:3400])
    assert not index.can_become(kind, np.arange(5, 5 + 3 * 5000, 3))  # two thirds more: built anew
    assert not index.can_become("flat", ids[:3400])
    assert index.can_become(kind, ids[100:3400]) == (kind != "hnsw")
    first = 0 if kind == "hnsw" else 100
    grown = index.become(2, ids[:first], ids[3000:3400], vectors[3000:3400])
    assert grown.generation == 2 and grown.holds(ids[first:3400], 24)
    tune(grown.faiss_index, ids[first:3400], vectors[first:3400], 0.98)
    scores, found = grown.search(vectors[3000:3400], 1)
    assert (found[:, 0] == ids[3000:3400]).mean() > 0.98
    assert (scores[:, 0] > 0.98).mean() > 0.98  # 8 bits clip the few values beyond those they were made for


# -- in a collection


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    root = tmp_path_factory.mktemp("types")
    for number in range(120):
        paint(root / "pictures" / f"{number}.jpg", number)
    made = Collection.create(root / "made", small_encoder(root / "small.onnx"))
    made.update([root / "pictures"], workers=0)
    return made


@pytest.fixture
def collection(original: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Collection:
    """A copy of 120 pictures, where approximate indexes are made of so few."""
    monkeypatch.setattr(index_kinds, "APPROXIMATE_FROM", 40)
    shutil.copytree(original.folder, tmp_path / "made")
    shutil.copytree(original.roots[0], tmp_path / "pictures", copy_function=shutil.copy2)
    copy = Collection.open(tmp_path / "made")
    copy.move(original.roots[0], tmp_path / "pictures")
    return copy


@pytest.mark.parametrize("kind", STORED)
def test_scores_are_exact_whatever_the_index(collection, kind) -> None:
    collection.rebuild_index(kind, recall=1)
    ids, vectors = collection.vectors()
    with Collection.open(collection.folder) as again:
        for row in (0, 50, 119):
            hits = again.search(vectors[row], 10)
            order = np.argsort(-(vectors @ vectors[row]), kind="stable")[:10]
            assert [hit.score for hit in hits] == pytest.approx((vectors @ vectors[row])[order].tolist(), abs=1e-5)
            assert [hit.item.id for hit in hits] == ids[order].tolist()
        measured = again.measured
    assert (measured is None) if kind == "flat" else (measured is not None and measured.recall == 1)


@pytest.mark.parametrize("kind", STORED)
def test_nothing_is_missing_from_a_long_list(collection, kind) -> None:
    """More results than the lists that are looked into hold, and filters that leave few."""
    collection.rebuild_index(kind, recall=0.1)
    ids, vectors = collection.vectors()
    assert {hit.item.id for hit in collection.search(vectors[0], 500)} == set(ids.tolist())
    few = frozenset(ids[::40].tolist())
    assert {hit.item.id for hit in collection.search(vectors[0], 5, where=Filter(ids=few))} == few


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_an_update_takes_the_index_up(collection, kind, tmp_path, monkeypatch) -> None:
    collection.rebuild_index(kind, recall=0.9)
    built = []
    monkeypatch.setattr(indexes, "tune", lambda *args, **kwargs: built.append(args) or tune(*args, **kwargs))
    new = paint(tmp_path / "pictures" / "new.jpg", 500)
    collection.update(workers=0)
    assert built == []
    assert collection.search(new, 1)[0].path == new
    (tmp_path / "pictures" / "5.jpg").unlink()
    collection.update(workers=0)
    assert bool(built) == (kind == "hnsw")  # its graph cannot lose a vector
    assert tmp_path / "pictures" / "5.jpg" not in [hit.path for hit in collection.search(new, 500)]
    for number in range(600, 640):
        paint(tmp_path / "pictures" / f"{number}.jpg", number)
    collection.update(workers=0)
    assert built  # grown by a third: measured anew
    assert collection.measured.images == len(collection) == 160
    assert collection.verify() == []


def test_a_choice_is_kept(collection, run, tmp_path) -> None:
    done = run("index", "--collection", "made", "--index", "hnsw", "--recall", 0.9)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("index: hnsw, links 32, efSearch 16: recall@10 ")
    paint(tmp_path / "pictures" / "new.jpg", 500)
    run("index", "--collection", "made")
    status = json.loads(run("status", "--collection", "made", "--json").stdout)
    assert (status["index"], status["index_asked"], status["measured"]["asked"]) == ("hnsw", "hnsw", 0.9)
    assert "recall@10" in run("status", "--collection", "made").stdout
    done = run("index", "--collection", "made", "--rebuild-index", "--index", "flat")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(run("status", "--collection", "made", "--json").stdout)["measured"] is None
    done = run("index", "--collection", "made", "--verify")
    assert done.stdout.endswith("all in order\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--index", "annoy"], "choose one of auto, flat"),
        (["--recall", 0], "--recall 0"),
        (["--recall", 1.5], "--recall 1.5"),
        (["--verify", "--index", "flat"], "--verify goes with"),
        (["--remove", "x", "--recall", 0.9], "--remove goes with"),
    ],
)
def test_what_cannot_be_chosen(collection, run, options, words) -> None:
    refused(run("index", "--collection", "made", *options), words)
    refused(run("index", "pictures", "--collection", "new", "--index", "annoy"), "choose one of")


def test_a_damaged_vector_shows_in_every_type(collection) -> None:
    for kind in STORED:
        collection.rebuild_index(kind)
        assert collection.verify() == [], kind
    database = sqlite3.connect(collection.folder / "catalog.sqlite")
    with database:
        wrong = np.ones(192, "<f4") / np.sqrt(np.float32(192))
        database.execute("UPDATE vectors SET vector = ? WHERE item = 3", [wrong.tobytes()])
    database.close()
    [finding] = collection.verify()
    assert "differs between the catalog and the FAISS file" in finding.problem


def test_a_missing_file_makes_an_exact_index(collection) -> None:
    collection.rebuild_index("ivf")
    for file in collection.folder.glob("*.faiss"):
        file.unlink()
    with Collection.open(collection.folder) as again:
        query = again.vectors()[1][0]
        assert again.search(query, 3)[0].score == pytest.approx(1, abs=1e-5)
        assert again._searcher.index().kind == "flat"


def test_batches_take_the_fast_path() -> None:
    """FAISS's default would leave batches of some dozens to a loop that is several times slower."""
    assert faiss.cvar.distance_compute_blas_threshold == 1


def test_few_queries_are_searched_by_one_thread_and_many_by_all(vectors, ids, monkeypatch) -> None:
    """FAISS would wake threads that have nothing to do. The calling thread keeps its own number afterwards."""
    index = VectorIndex.build(ids, vectors, 1, "ivf-sq8")
    used = []
    search = type(index._index).search
    monkeypatch.setattr(
        type(index._index), "search", lambda *args, **options: used.append(threads()) or search(*args, **options)
    )
    threads, before = faiss.omp_get_max_threads, faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        index.search(vectors[:1], 5)
        index.search(vectors[:100], 5)
        assert used == [1, 3] and threads() == 3
    finally:
        faiss.omp_set_num_threads(before)
