"""Several queries in one, and what counts as noise, against numpy."""

from pathlib import Path

import numpy as np
import pytest
from commands import refused
from PIL import Image
from small import expected_vector, paint, small_encoder

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.noise import noise_level
from simsiam_retrieval.collection.queries import combine


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


def test_the_noise_level_is_a_quantile_of_all_pairs() -> None:
    generator = np.random.default_rng(5)
    vectors = generator.standard_normal((300, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [float(vectors[i] @ vectors[j]) for i in range(300) for j in range(i)]
    assert noise_level(vectors) == pytest.approx(np.quantile(pairs, 0.999), abs=1e-5)
    assert noise_level(vectors[:45]) is None
    assert noise_level(np.repeat(vectors[:1], 60, axis=0)) == pytest.approx(1, abs=1e-6)


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
    assert level == pytest.approx(noise_level(vectors), abs=1e-6)
    own, copy, *others = many.search(tmp_path / "many" / "7.jpg", 10)
    assert (own.above_noise, copy.above_noise, copy.path.name) == (True, True, "copy.jpg")
    assert [hit.above_noise for hit in others] == [hit.score > level for hit in others]
    assert not others[-1].above_noise
    with Collection.open(many.folder) as again:
        assert again.noise_level == level
    for number in range(60, 70):
        paint(tmp_path / "many" / f"{number}.jpg", number)
    many.update([tmp_path / "many"], workers=0)
    assert many.noise_level == pytest.approx(noise_level(many.vectors()[1]), abs=1e-6)


def test_the_command_marks_weak_hits(run, many: Collection, tmp_path: Path) -> None:
    done = run("search", "many/7.jpg", "--collection", "made", "-k", 5)
    lines = done.stdout.splitlines()
    assert [line[12] for line in lines[1:]] == [" ", " ", "~", "~", "~"]
    assert done.stderr.startswith("~ no more alike than one random pair of this collection in a thousand")
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
