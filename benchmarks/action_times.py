"""How long each action takes in a collection of many images: ``action_times.py --images 5000 100000 --out FILE.json``.

The collection is made of random unit vectors in clusters, with one small thumbnail for all; there are no files. The
shipped encoder gives the width of the vectors and embeds one query. Reading, searching, labelling and teaching do the
same work as with photos; embedding is measured by ``index_speed.py``. For each action: wall-clock and CPU seconds on
one thread, of the first time, and the medians of further ones. On a busy machine only the CPU seconds mean something.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from hardware import processor
from PIL import Image
from simsiam_retrieval.app import collection_snapshot  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.components import tiles  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.pages import teach_ranking  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.search.address import Address  # pyright: ignore[reportMissingImports]

from simsiam_retrieval import Collection, Filter
from simsiam_retrieval.collection.index.make_index import make_index
from simsiam_retrieval.collection.status import read_status
from simsiam_retrieval.collection.storage.opening import open_to_update
from simsiam_retrieval.collection.types import Entry

CLUSTERS, REPEATS = 200, 9
CLASSES, PER_CLASS = 4, 20  # labels before a click on the Teach page


def made(folder: Path, images: int) -> Path:
    """A collection of ``images`` without files."""
    rng = np.random.default_rng(0)
    root = folder / "pictures"
    with Collection.create(folder / "collection") as collection:
        dim = collection.dim
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (96, 128, 3), np.uint8)).save(buffer, "JPEG", quality=80)
    centres = rng.standard_normal((CLUSTERS, dim)).astype(np.float32)
    with contextlib.closing(open_to_update(folder / "collection")) as store:
        for start in range(0, images, 5000):
            entries = []
            for number in range(start, min(images, start + 5000)):
                file = root / f"{number % CLUSTERS:03d}" / f"{number:06d}.jpg"
                vector = centres[number % CLUSTERS] + 1.5 * rng.standard_normal(dim, np.float32)
                entries.append(
                    Entry(
                        file,
                        10_000 + number,
                        1_700_000_000_000_000_000 + number,
                        digest=rng.bytes(32),
                        width=1600,
                        height=1200,
                        format="JPEG",
                        vector=vector / np.linalg.norm(vector),
                        thumbnail=buffer.getvalue(),
                    )
                )
            store.add(entries)
        store.publish([], [root])
        make_index(store, dim)
    return folder / "collection"


def timed(action: Callable[[], object], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Wall-clock and CPU seconds of the first call, and the medians of the others."""
    found = []
    for _ in range(repeats + 1):
        begun = time.perf_counter(), time.process_time()
        action()
        found.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    then = [round(statistics.median(times), 4) for times in zip(*found[1:], strict=True)]
    return {"first": [round(seconds, 4) for seconds in found[0]]} | ({"then": then} if repeats else {})


def measured(folder: Path, images: int) -> dict[str, Any]:
    times: dict[str, Any] = {}
    collection = Collection.open(folder)
    ids = collection.items(-1)  # not timed: the first list checks all rows, which is timed below
    query = ids[images // 2]

    def reopened() -> None:
        with Collection.open(folder) as other:
            len(other)

    def listed() -> None:
        with Collection.open(folder) as other:
            other.items(60)

    times["open, count"] = timed(reopened)
    times["open, first page of 60 (checks all rows)"] = timed(listed, 3)
    times["a page of 60 with thumbnails"] = timed(
        lambda: tiles.photo_tiles(collection, collection.items(60, images // 2), Address())
    )
    times["search: like an image, 24 results"] = timed(lambda: collection.search(query, k=24))
    photo = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    times["search: a photo, 24 results"] = timed(lambda: collection.search(Image.fromarray(photo), k=24))
    where = Filter(names=("*7.jpg",))
    times["search: with a filter by name"] = timed(lambda: collection.search(query, k=24, where=where), 3)
    times["status"] = timed(lambda: read_status(folder), 3)

    labelled = {ids[row].id: f"class {row % CLASSES}" for row in range(CLASSES * PER_CLASS)}
    times["label 80 images"] = timed(lambda: collection.set_labels(labelled), 0)
    clicks = iter(ids[CLASSES * PER_CLASS :])

    def click() -> None:
        """What the Teach page does after a click: store, learn, order, draw 30 tiles."""
        collection.set_labels({next(clicks).id: "class 1"})
        labels = collection.labels()
        whole = collection_snapshot.whole(collection)
        lesson = collection_snapshot.taught(whole, labels)
        assert lesson is not None
        unlabelled = np.ones(len(whole.ids), bool)
        unlabelled[whole.rows(labels)] = False
        rows = teach_ranking.least_sure(lesson, unlabelled)[:30]
        tiles.photo_tiles(
            collection, [item for row in rows if (item := collection.item(int(whole.ids[row])))], Address()
        )

    times["Teach: a click"] = timed(click)
    times["verify"] = timed(collection.verify, 0)
    if images <= 20_000:
        times["duplicates, threshold 0.95"] = timed(lambda: collection.duplicates(0.95), 0)
    collection.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 100_000])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    logging.getLogger("streamlit").setLevel(logging.ERROR)  # there is no page around the actions
    logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context").setLevel(logging.ERROR)
    logging.getLogger("streamlit.runtime.caching.cache_data_api").setLevel(logging.ERROR)
    found = json.loads(given.out.read_text()) if given.out.exists() else {"seconds": {}}
    for images in given.images:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            collection = made(Path(folder), images)
            print(f"{images} made in {time.perf_counter() - begun:.0f} s", flush=True)
            found["seconds"][str(images)] = measured(collection, images)
        print(json.dumps(found["seconds"][str(images)], indent=1), flush=True)
        versions = {name: metadata.version(name) for name in ("faiss-gpu", "onnxruntime-gpu", "numpy")}
        facts = {"processor": processor(), "threads": os.environ.get("OMP_NUM_THREADS"), "versions": versions}
        found = {**facts, "seconds": found["seconds"]}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
