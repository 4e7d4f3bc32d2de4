"""Several queries in one, and what counts as noise, against numpy."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.index import noise_level
from simsiam_retrieval.collection.index.noise_level import measure_noise
from simsiam_retrieval.collection.search.query_vectors import combine
from tests.support.commands import refused
from tests.support.small_encoder import expected_vector, paint, small_encoder


@pytest.fixture
def collection(folder: Path, tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))
    made.update([folder], workers=0)
    return made


def ranked(collection: Collection, direction: np.ndarray) -> list[tuple[Path, float]]:
    direction = direction / np.linalg.norm(direction)
    scored = [(item.path, float(expected_vector(item.path) @ direction)) for item in collection]
    return sorted(scored, key=lambda pair: -pair[1])


def assert_order(hits, expected) -> None:
    assert [hit.path for hit in hits] == [path for path, _ in expected]
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], abs=1e-5)


def test_several_queries_are_their_mean(collection, folder) -> None:
    a, b, c = (expected_vector(folder / name) for name in ("a.jpg", "b.jpg", "c.jpg"))
    three = [folder / "a.jpg", folder / "b.jpg", folder / "c.jpg"]
    assert_order(collection.search(three), ranked(collection, a + b + c))
    hits = collection.search([folder / "a.jpg", folder / "b.jpg"], weights=[3, -1])
    assert_order(hits, ranked(collection, 3 * a - b))
    hits = collection.search([folder / "a.jpg", folder / "b.jpg"], unlike=[folder / "c.jpg"])
    assert_order(hits, ranked(collection, (a + b) / 2 - c / 2))


def test_items_among_the_queries_are_left_out(collection, folder) -> None:
    a, b, *_ = collection
    hits = collection.search([a, folder / "c.jpg"], unlike=b)
    assert {hit.item.id for hit in hits} == {item.id for item in collection} - {a.id, b.id}
    assert [hit.rank for hit in hits] == [1, 2, 3]


@pytest.mark.parametrize("weights", [[1], [1, float("nan")], [0, 0], [1, -1]])
def test_weights_that_cannot_be(collection, folder, weights) -> None:
    with pytest.raises(UserError):
        collection.search([folder / "a.jpg", folder / "a.jpg"], weights=weights)


def test_queries_that_cannot_be(collection, folder) -> None:
    with pytest.raises(UserError, match="at least one"):
        collection.search([])
    with pytest.raises(UserError, match="not both"):
        collection.search(folder / "a.jpg", weights=[1], unlike=folder / "b.jpg")


def test_a_combination_has_unit_length() -> None:
    vectors = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(combine(vectors[:3], [2, -1, 2]), np.array([2, -1, 2, 0]) / 3, rtol=1e-6)


def test_many_vectors_at_once(collection, folder) -> None:
    vectors = np.stack([expected_vector(folder / name) for name in ("a.jpg", "d.jpg")]).astype(np.float32)
    found = collection.search_vectors(3 * vectors, 4)
    for hits, vector in zip(found, vectors, strict=True):
        assert_order(hits, [(hit.path, hit.score) for hit in collection.search(vector, 4)])
    assert collection.search_vectors(np.zeros((0, 192), np.float32)) == []


def unit_rows(count: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_one_random_pair_in_a_thousand_exceeds_the_level_of_its_query() -> None:
    vectors = unit_rows(300, 16, 5)
    noise = measure_noise(vectors)
    assert noise is not None
    others = [[float(vectors[i] @ vectors[j]) for j in range(300) if j != i] for i in range(300)]
    # the formula, written out: base + half of what one in twenty of the query's own cosines exceeds
    own = [np.quantile(row, 0.95) for row in others]
    base = np.quantile([cosine - own[i] / 2 for i, row in enumerate(others) for cosine in row], 0.999)
    np.testing.assert_allclose(noise.levels(vectors, vectors), base + np.array(own) / 2, atol=1e-5)
    assert noise.typical == pytest.approx(base + np.median(own) / 2, abs=1e-5)
    levels = noise.levels(vectors, vectors)
    exceeding = np.mean([np.array(row) > level for row, level in zip(others, levels, strict=True)])
    assert exceeding == pytest.approx(0.001, abs=1e-4)
    assert measure_noise(vectors[:45]) is None
    assert measure_noise(np.repeat(vectors[:1], 60, axis=0)) is None  # copies of one picture say nothing


def test_copies_and_bursts_do_not_change_the_noise_level() -> None:
    vectors = unit_rows(200, 16, 6)
    alone = measure_noise(vectors, 0.95)
    copied = measure_noise(np.concatenate([vectors, vectors]), 0.95)
    moved = vectors[:20].repeat(10, axis=0) + 0.01 * np.random.default_rng(7).standard_normal((200, 16))
    burst = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
    shot = measure_noise(np.concatenate([vectors, burst]), 0.95)
    assert alone is not None and copied is not None and shot is not None
    assert copied.typical == pytest.approx(alone.typical, abs=0.01)
    assert shot.typical == pytest.approx(alone.typical, abs=0.05)  # twenty pictures weigh more now, nothing else


@pytest.mark.parametrize("seed", range(5))
def test_copies_that_fall_short_of_near_duplicates_do_not_raise_the_level_of_a_small_collection(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trimmed copies of a third of the images: their cosines are the highest, and more than a thousandth of all."""
    vectors = unit_rows(72, 64, seed)
    trimmed = vectors[:22] + 0.055 * np.random.default_rng(seed + 100).standard_normal((22, 64)).astype(np.float32)
    trimmed /= np.linalg.norm(trimmed, axis=1, keepdims=True)
    assert 0.88 < (trimmed * vectors[:22]).sum(axis=1).mean() < 0.93
    both = np.concatenate([vectors, trimmed])
    alone, copied = measure_noise(vectors, 0.95), measure_noise(both, 0.95)
    monkeypatch.setattr(noise_level, "FEW", 0)
    by_quantile = measure_noise(both, 0.95)
    assert alone is not None and copied is not None and by_quantile is not None
    assert by_quantile.typical > 0.8
    assert copied.typical == pytest.approx(alone.typical, abs=0.15)
    without = measure_noise(vectors, 0.95)
    assert without is not None and without.typical == pytest.approx(alone.typical, abs=0.03)


def test_a_query_that_resembles_everything_has_a_higher_level() -> None:
    common = np.zeros(16, np.float32)
    common[0] = 1
    white = unit_rows(60, 16, 8) + 3 * common  # pictures that share a background
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    vectors = np.concatenate([unit_rows(240, 16, 9), white])
    noise = measure_noise(vectors, 0.99)
    assert noise is not None
    levels = noise.levels(vectors, vectors)
    assert levels[240:].min() > np.median(levels[:240])


@pytest.fixture
def many(tmp_path: Path) -> Collection:
    """Sixty pictures, and one of them once more at another quality."""
    for number in range(60):
        paint(tmp_path / "many" / f"{number}.jpg", number)
    with Image.open(tmp_path / "many" / "7.jpg") as image:
        image.save(tmp_path / "many" / "copy.jpg", quality=60)
    made = Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))
    made.update([tmp_path / "many"], workers=0)
    return made


def test_hits_say_whether_chance_would_do(many: Collection, tmp_path: Path) -> None:
    level = many.noise_level
    assert level is not None
    vectors = many.vectors()[1]
    noise = measure_noise(vectors)
    assert noise is not None and level == pytest.approx(noise.typical, abs=1e-6)
    own, copy, *others = many.search(tmp_path / "many" / "7.jpg", 10)
    queried = expected_vector(tmp_path / "many" / "7.jpg").astype(np.float32)
    level_of_query = many.noise_level_of(queried)
    assert level_of_query is not None and level_of_query == pytest.approx(
        float(noise.levels(queried[None], vectors)[0]), abs=1e-4
    )
    assert own.noise_level == pytest.approx(level_of_query, abs=1e-4)
    assert (own.above_noise, copy.above_noise, copy.path.name) == (True, True, "copy.jpg")
    assert [hit.above_noise for hit in others] == [hit.score > level_of_query for hit in others]
    assert not others[-1].above_noise
    with Collection.open(many.folder) as again:
        assert again.noise_level == level
    for number in range(60, 70):
        paint(tmp_path / "many" / f"{number}.jpg", number)
    many.update([tmp_path / "many"], workers=0)
    noise = measure_noise(many.vectors()[1])
    assert noise is not None and many.noise_level == pytest.approx(noise.typical, abs=1e-6)


def test_the_command_marks_weak_hits(run, many: Collection, tmp_path: Path) -> None:
    done = run("search", "many/7.jpg", "--collection", "made", "-k", 5)
    lines = done.stdout.splitlines()
    assert [line[12] for line in lines[1:]] == [" ", " ", "~", "~", "~"]
    assert done.stderr.startswith("~ may be chance: at most the noise level of 0.")
    done = run("search", "many/7.jpg", "--collection", "made", "-k", 5, "--above-noise")
    assert (done.stdout.splitlines(), done.stderr) == (lines[:3], "")


def test_the_command_with_queries_of_every_kind(run, many: Collection, tmp_path: Path) -> None:
    first = many.items(1)[0]
    np.save(tmp_path / "v.npy", many.vectors()[1][:2])
    done = run("search", "--item", first.id, "--vector", "v.npy", "--collection", "made", "-k", 2, "--sheet", "s.png")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line[0] != " "] == [str(first.path), "v.npy[0]", "v.npy[1]"]
    together = ("many/1.jpg", "many/2.jpg", "--collection", "made", "-k", 3)
    done = run("search", *together, "--unlike", "many/3.jpg")
    hits = many.search([tmp_path / "many/1.jpg", tmp_path / "many/2.jpg"], 3, unlike=tmp_path / "many/3.jpg")
    assert done.stdout.splitlines()[0] == "many/1.jpg + many/2.jpg - many/3.jpg"
    assert [line[14:] for line in done.stdout.splitlines()[1:]] == [str(hit.path) for hit in hits]
    assert run("search", *together, "--weights", "1", "-0.5").returncode == 0
    done = run("search", *together[2:], "many/1.jpg", "--name", "1?.jpg", "--min-side", 30, "--since", "2020-01-01")
    assert all(
        Path(line[14:]).name in {f"1{digit}.jpg" for digit in range(10)} for line in done.stdout.splitlines()[1:]
    )
    assert len(done.stdout.splitlines()) == 4


def test_the_command_refuses(run, many: Collection, tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.ones((2, 3), np.float32))
    np.save(tmp_path / "zero.npy", np.zeros(192, np.float32))
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    (tmp_path / "text.npy").write_text("no array")
    for options, words in [
        (["--item", 12345], "no such image"),
        (["--vector", "missing.npy"], "No such file"),
        (["--vector", "wrong.npy"], "found (2, 3)"),
        (["--vector", "zero.npy"], "zero or not finite"),
        (["--vector", "objects.npy"], "not an .npy file"),
        (["--vector", "text.npy"], "not an .npy file"),
        (["many/1.jpg", "--weights", "1", "2"], "one finite weight for each of 1"),
        (["many/1.jpg", "--since", "2021-01-01", "--until", "2020-01-01"], "no image has dates"),
        (["many/1.jpg", "--since", "yesterday"], "since"),
    ]:
        done = run("search", *options, "--collection", "made")
        assert done.returncode == 2, options
        if "yesterday" not in options:
            refused(done, words)
