"""What a collection's noise level is worth: ``noise_level.py --out FILE.json NAME=FOLDER…``.

Of each folder (subfolders are classes) up to 2,000 images are the collection and up to 500 others are queries, with the
shipped encoder. Does the mark tell first hits of the query's class from others? Two levels are compared:

    one    one cosine for all queries: what one random pair in a thousand exceeds (the rule until November 2026)
    own    each query's own level (``simsiam_retrieval.collection.index.noise_level``)

``auc``: how often a right first hit stands out more than a wrong one (0.5: chance). ``balanced``: the mean of the right
hits that are unmarked and the wrong ones that are marked. ``doubled``: the same for a collection that holds every image
twice. ``sweep``: the AUC for other quantiles and shares of the query's own cosines.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from simsiam_retrieval.collection.duplicates.thresholds import CALIBRATED
from simsiam_retrieval.collection.index.noise_level import QUANTILE, measure_noise, sample
from simsiam_retrieval.encoder.embed_files import embed_files
from simsiam_retrieval.encoder.find_encoder import find_encoder
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.images.files import list_images

INDEXED, QUERIES = 2000, 500


def embedded(encoder: Encoder, folder: Path) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Unit vectors (n, dim) of a random choice of images, and their classes (n,)."""
    files = list_images([folder]).images
    chosen = [files[row] for row in np.random.default_rng(0).permutation(len(files))[: INDEXED + QUERIES]]
    found = [one for chunk in embed_files(chosen, encoder) for one in chunk if one.vector is not None]
    return np.stack([one.vector for one in found if one.vector is not None]), np.array(
        [one.file.path.parent.name for one in found]
    )


def share(hits: NDArray[np.bool_]) -> float | None:
    return round(float(hits.mean()), 3) if len(hits) else None


def levels(collection: NDArray[np.float32], queries: NDArray[np.float32], alike: float) -> dict[str, NDArray]:
    """The level of each query by both rules; of ``collection`` the sample that a search would take."""
    taken = collection[sample(np.arange(len(collection)))]
    pairs = (taken @ taken.T)[np.triu_indices(len(taken), 1)]
    noise = measure_noise(taken, alike)
    assert noise is not None
    return {"one": np.full(len(queries), np.quantile(pairs, QUANTILE)), "own": noise.levels(queries, taken)}


def judged(best: NDArray, right: NDArray[np.bool_], level: NDArray) -> dict:
    above = best > level
    return {
        "level": round(float(np.median(level)), 3),
        "auc": round(float(roc_auc_score(right, best - level)), 3),
        "balanced": round((float(above[right].mean()) + float((~above)[~right].mean())) / 2, 3),
        "above it": share(above),
        "right, above it": share(right[above]),
        "right, at most it": share(right[~above]),
    }


def swept(best: NDArray, right: NDArray[np.bool_], cosines: NDArray, alike: float) -> dict[str, float]:
    far = np.where(cosines < alike, cosines, np.nan)
    found = {}
    for quantile in (0.9, 0.95, 0.99):
        own = np.nanquantile(far, quantile, axis=1)
        for part in (0.0, 0.25, 0.5, 0.75, 1.0):
            found[f"{quantile} x {part}"] = round(float(roc_auc_score(right, best - part * own)), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    encoder = Encoder(find_encoder(None), device="cpu")
    alike = CALIBRATED[encoder.identity]
    folders = {name: Path(folder) for name, _, folder in (word.partition("=") for word in given.folders)}
    sets = {name: embedded(encoder, folder) for name, folder in folders.items()}
    rows = []
    for name, (vectors, classes) in sets.items():
        indexed = min(INDEXED, len(vectors) * 4 // 5)
        collection, queries = vectors[:indexed], vectors[indexed:]
        cosines = queries @ collection.T
        first, best = cosines.argmax(axis=1), cosines.max(axis=1)
        right = classes[first] == classes[indexed:]
        doubled = np.concatenate([collection, collection])
        row = {"collection": name, "images": indexed, "queries": len(queries), "right": share(right)}
        row |= {rule: judged(best, right, level) for rule, level in levels(collection, queries, alike).items()}
        row["doubled"] = {rule: judged(best, right, level) for rule, level in levels(doubled, queries, alike).items()}
        row["of other folders above its own level"] = {
            other: share(
                (strangers[:QUERIES] @ collection.T).max(axis=1) > levels(collection, strangers[:QUERIES], alike)["own"]
            )
            for other, (strangers, _) in sets.items()
            if other != name
        }
        row["sweep"] = swept(best, right, cosines, alike)
        rows.append(row)
        print(json.dumps(rows[-1]), flush=True)
    given.out.write_text(json.dumps({"encoder": encoder.identity, "seed": 0, "collections": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
