"""Collections that earlier versions made, with their pictures: opened, searched, moved and updated.

``older_versions.zip`` was written by the code of three days: the first collections (``old1``, 2026-11-21), schema 3
(``old2``, 2026-11-22), and the last state before the folders of this package were set up (``old`` and the sharded
``shards``, 2026-11-28).
"""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.index.build_shard_index import build
from tests.support.small_encoder import expected_vector

PLACE = Path("/tmp/made-by-older")  # where they were made; nothing is there now
NAMES = [f"{number}.jpg" for number in range(8)]
LABELS = {"old1": {}, "old2": {"0.jpg": "cat", "5.jpg": "dog"}, "old": {"0.jpg": "cat", "5.jpg": "dog"}}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    with zipfile.ZipFile(Path(__file__).with_name("older_versions.zip")) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def labelled(collection: Collection) -> dict[str, str]:
    labels = collection.labels()
    return {item.path.name: labels[item.id] for item in collection if item.id in labels}


@pytest.mark.parametrize("version", ["old1", "old2", "old"])
def test_a_collection_of_an_earlier_version(made: Path, version: str) -> None:
    photos = made / "photos"
    with Collection.open(made / version) as collection:
        items = list(collection)
        assert [item.path.name for item in items] == NAMES
        assert [path.name for path, _ in collection.failures()] == ["broken.jpg"]
        assert labelled(collection) == LABELS[version]
        ids, vectors = collection.vectors()
        assert ids.tolist() == [item.id for item in items]
        files = sorted(photos.glob("*/*.jpg"))
        np.testing.assert_allclose(vectors, [expected_vector(file) for file in files], atol=1e-6)
        for file in files:
            best = collection.search(file, k=1)[0]
            assert best.path.name == file.name and best.score == pytest.approx(1)
        assert all((collection.thumbnail(item.id) or b"").startswith(b"\xff\xd8") for item in items)
        # the pictures are elsewhere now: nothing is embedded again, and ids and labels stay
        for item in items:
            os.utime(photos / item.path.relative_to(PLACE / version / "photos"), ns=(item.mtime_ns, item.mtime_ns))
        assert collection.move(PLACE / version / "photos", photos) == 8
        update = collection.update(workers=0)
        assert (update.added, update.changed, update.removed, update.images) == (0, 0, 0, 8)
        assert len(update.failed) == 1
        assert {item.id: item.path for item in collection} == {
            item.id: photos / item.path.relative_to(PLACE / version / "photos") for item in items
        }
        assert labelled(collection) == LABELS[version]
        collection.set_labels({items[7].id: "bird"})
        assert collection.verify() == []
    with Collection.open(made / version) as collection:
        assert labelled(collection) == {**LABELS[version], "7.jpg": "bird"}


def test_a_sharded_collection_of_an_earlier_version(made: Path) -> None:
    files = sorted((made / "photos").glob("*/*.jpg"))
    with Collection.open(made / "shards") as collection:
        assert [item.path.name for item in collection] == NAMES
        assert labelled(collection) == {"0.jpg": "cat"}
        for file in files:
            best = collection.search(file, k=1)[0]
            assert best.path.name == file.name and best.score == pytest.approx(1, abs=1e-3)
        assert all((collection.thumbnail(item.id) or b"").startswith(b"\xff\xd8") for item in collection)
    built = build(made / "shards")
    assert (built.images, built.unusable, built.shards, built.changed) == (8, 1, 2, False)
    with Collection.open(made / "shards") as collection:
        assert collection.verify() == []
        assert len(collection) == 8
