"""Maps and clusters of vectors whose groups are known."""

from pathlib import Path

import numpy as np
import pytest

from simsiam_retrieval import UserError
from simsiam_retrieval.collection.explore import clusters, projection
from simsiam_retrieval.collection.explore.clusters import cluster, stored_clusters
from simsiam_retrieval.collection.explore.projection import Cancelled, Projection, load, placed, project, save


def groups(count: int, kinds: int = 4, dim: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors in ``kinds`` groups far apart, and the group of each."""
    draws = np.random.default_rng(5)
    kind = draws.integers(0, kinds, count)
    vectors = draws.normal(size=(kinds, dim))[kind] + 0.15 * draws.normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), kind


@pytest.fixture(scope="module")
def mapped() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
    vectors, kind = groups(300)
    told: list[float] = []
    return vectors, kind, project(vectors, told.append), told


def test_groups_stay_together_on_the_map(mapped) -> None:
    vectors, kind, points, told = mapped
    assert points.shape == (300, 2) and points.dtype == np.float32
    assert np.abs(points).max() == pytest.approx(1) and np.abs(points).min(axis=0).max() < 1
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argsort(axis=1)[:, :5]
    assert (kind[nearest] == kind[:, None]).mean() > 0.99
    # within a group, too, those beside each other on the map are alike: chance would be 5 / 75
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    alike = cosines.argsort(axis=1)[:, -5:]
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(nearest, alike, strict=True)]) > 0.2
    assert told == sorted(told) and told[-1] == 1 and len(told) > 20


def test_the_same_vectors_give_the_same_map(mapped) -> None:
    vectors, _, points, _ = mapped
    assert np.array_equal(project(vectors), points)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 10, 12, 40])
def test_small_and_equal_collections_have_a_map(count: int) -> None:
    for vectors in (groups(count)[0], np.tile(groups(1)[0], (count, 1))):
        points = project(vectors)
        assert points.shape == (count, 2) and np.isfinite(points).all() and (np.abs(points) <= 1.0001).all()


def test_neighbours_are_those_of_numpy() -> None:
    vectors, _ = groups(50)
    vectors[7] = vectors[9] = vectors[11]  # copies: a row is never its own neighbour
    rows, distances = projection._neighbours(vectors, 6, lambda done: None)
    apart = np.linalg.norm(vectors[:, None].astype(float) - vectors[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(distances, np.sort(apart, axis=1)[:, :6], atol=1e-3)
    assert (rows != np.arange(50)[:, None]).all()


def test_a_map_can_be_stopped() -> None:
    def stop(done: float) -> None:
        if done > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        project(groups(60)[0], stop)


def test_without_the_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "available", lambda: False)
    with pytest.raises(UserError, match=r"install it with: pip install \"simsiam-retrieval\[map\]\""):
        project(groups(20)[0])


def test_new_images_lie_beside_their_neighbours(mapped) -> None:
    vectors, kind, points, _ = mapped
    ids = np.arange(10, 310)
    stored = Projection(ids[:250], points[:250])
    now = placed(stored, ids[5:], vectors[5:])  # five are gone, fifty are new
    assert now is not None and now.placed == 50 and np.array_equal(now.ids, ids[5:])
    assert np.array_equal(now.points[:245], points[5:250])
    centres = np.array([points[:250][kind[:250] == number].mean(axis=0) for number in range(4)])
    nearest = np.linalg.norm(now.points[245:, None] - centres, axis=2).argmin(axis=1)
    assert np.array_equal(nearest, kind[250:])
    assert placed(stored, ids + 1000, vectors) is None


def test_a_stored_map_comes_back_and_a_damaged_or_foreign_one_does_not(tmp_path: Path) -> None:
    ids, points = np.array([3, 5, 8]), np.eye(3, 2, dtype=np.float32)
    assert save(tmp_path, 4, "me", Projection(ids, points))
    assert save(tmp_path, 11, "me", Projection(ids + 1, points))
    assert [file.name for file in tmp_path.iterdir()] == ["map-11.npz"]
    found = load(tmp_path, "me")
    assert found is not None and np.array_equal(found.ids, ids + 1) and np.array_equal(found.points, points)
    assert load(tmp_path, "other encoder") is None
    content = (tmp_path / "map-11.npz").read_bytes()
    for damaged in (b"", b"no zip", content[:-40], content[: len(content) // 2]):
        (tmp_path / "map-11.npz").write_bytes(damaged)
        assert load(tmp_path, "me") is None
    (tmp_path / "map-9.npz").write_bytes(content)  # an older one that is whole
    assert load(tmp_path, "me") is not None


# -- clusters


def test_clusters_are_the_groups_largest_first() -> None:
    vectors, kind = groups(200)
    ids = np.arange(200) + 7
    found = cluster(ids, vectors, 4)
    assert len({(a, b) for a, b in zip(found.numbers.tolist(), kind.tolist(), strict=True)}) == 4
    assert found.sizes.tolist() == sorted(np.bincount(kind).tolist(), reverse=True)
    # typical ones first: by the cosine with the mean direction, worked out here
    members = vectors[found.numbers == 0]
    centre = members.mean(axis=0) / np.linalg.norm(members.mean(axis=0))
    assert found.members(0)[0] == ids[found.numbers == 0][(members @ centre).argmax()]
    np.testing.assert_allclose(np.sort(found.cosines[found.numbers == 0]), np.sort(members @ centre), atol=1e-5)


def test_as_many_clusters_as_images_and_fewer_than_asked_for() -> None:
    vectors, _ = groups(6)
    assert sorted(cluster(np.arange(6), vectors, 6).sizes.tolist()) == [1] * 6
    same = np.tile(vectors[:1], (6, 1))
    assert cluster(np.arange(6), same, 3).sizes.sum() == 6
    with pytest.raises(ValueError, match="7 clusters of 6"):
        cluster(np.arange(6), vectors, 7)


def test_clusters_are_worked_out_once_a_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = groups(80)
    ids = np.arange(80)
    first = stored_clusters(tmp_path, 1, ids, vectors, 4)
    stored_clusters(tmp_path, 1, ids, vectors, 3)
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(clusters, "cluster", None)  # not called again
    again = stored_clusters(tmp_path, 1, ids, vectors, 4)
    assert np.array_equal(again.numbers, first.numbers) and np.array_equal(again.members(1), first.members(1))
    monkeypatch.undo()
    (tmp_path / "clusters-1-4.npz").write_bytes(b"damaged")
    assert np.array_equal(stored_clusters(tmp_path, 1, ids, vectors, 4).numbers, first.numbers)
    stored_clusters(tmp_path, 2, ids[1:], vectors[1:], 4)
    assert [file.name for file in tmp_path.iterdir()] == ["clusters-2-4.npz"]
