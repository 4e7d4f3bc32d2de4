"""Maps of collections, made here and in a process of their own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.explore.make_map import make_map, make_map_apart
from simsiam_retrieval.collection.explore.projection import load, project
from simsiam_retrieval.core.threads import bounded_threads
from tests.support.small_encoder import paint, small_encoder


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    for number in range(20):
        paint(tmp_path / "pictures" / f"{number}.png", number)
    with Collection.create(tmp_path / "collection", small_encoder(tmp_path / "small.onnx")) as made:
        made.update([tmp_path / "pictures"], workers=0)
    return tmp_path / "collection"


def test_both_ways_store_the_same_map(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # products differ in the last bit by number of threads
        monkeypatch.setenv(name, "1")
    make_map_apart(collection, told.append)
    assert told == sorted(told) and told[-1] == 1
    with Collection.open(collection) as opened, bounded_threads(1):
        ids, vectors = opened.vectors()
        apart = load(collection, opened.encoder_identity)
        make_map(collection)
        here = load(collection, opened.encoder_identity)
        direct = project(vectors)
    assert apart is not None and here is not None and np.array_equal(apart.ids, ids)
    assert np.array_equal(apart.points, here.points) and np.array_equal(here.points, direct)


def test_a_map_of_nothing_and_of_no_collection(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "empty", small_encoder(tmp_path / "small.onnx")) as empty:
        make_map(tmp_path / "empty")
        found = load(tmp_path / "empty", empty.encoder_identity)
    assert found is not None and len(found.ids) == 0
    with pytest.raises(UserError, match="not a collection"):
        make_map_apart(tmp_path / "none", lambda done: None)


def test_a_folder_that_cannot_be_written_is_told(open_folder: Path, unprivileged) -> None:
    made = open_folder / "collection"
    Collection.create(made, small_encoder(open_folder / "small.onnx")).close()
    made.chmod(0o555)
    with unprivileged(), pytest.raises(UserError, match="the map cannot be stored there"):
        make_map(made)
    made.chmod(0o755)
    assert not list(made.glob("map-*"))


def test_a_reader_that_goes_away_ends_the_work_quietly(collection: Path) -> None:
    command = [sys.executable, "-m", "simsiam_retrieval.collection.explore.make_map", str(collection)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        complaints = process.stderr.read()
        assert process.wait(timeout=60) == 1 and complaints == b""
    assert not list(collection.glob("map-*"))


def test_no_torch_comes_with_maps_clusters_probes_and_their_pages() -> None:
    code = (
        "import sys, numpy as np\n"
        "from simsiam_retrieval.collection.explore import few_shot_classifier as classifier, clusters\n"
        "from simsiam_retrieval.collection.explore import make_map as mapping, projection\n"
        "from simsiam_retrieval.app.pages import map_page, teach_page\n"
        "vectors = np.eye(20, dtype=np.float32)\n"
        "projection.project(vectors); clusters.cluster(np.arange(20), vectors, 3)\n"
        "classifier.cross_validate(vectors, ['a', 'b'] * 10, classifier.Scaling.of(vectors))\n"
        "print(sorted({'torch', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "[]\n"
