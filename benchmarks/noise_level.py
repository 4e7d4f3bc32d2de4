"""What a collection's noise level is worth: ``noise_level.py --out FILE.json NAME=FOLDER…``.

Of each folder (subfolders are classes) up to 2,000 images are the collection and up to 500 others are queries, with the
shipped encoder. How often is the first hit of the query's class, above the noise level and at most at it? And how often
do images of the *other* folders come above it?
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simsiam_retrieval.collection.noise import noise_level
from simsiam_retrieval.embedding import embed_files
from simsiam_retrieval.encoder import Encoder, find_encoder
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    encoder = Encoder(find_encoder(None), device="cpu")
    folders = {name: Path(folder) for name, _, folder in (word.partition("=") for word in given.folders)}
    sets = {name: embedded(encoder, folder) for name, folder in folders.items()}
    rows = []
    for name, (vectors, classes) in sets.items():
        indexed = min(INDEXED, len(vectors) * 4 // 5)
        collection, queries = vectors[:indexed], vectors[indexed:]
        level = noise_level(collection)
        assert level is not None
        cosines = queries @ collection.T
        first, best = cosines.argmax(axis=1), cosines.max(axis=1)
        right, above = classes[first] == classes[indexed:], best > level
        rows.append(
            {
                "collection": name,
                "images": indexed,
                "queries": len(queries),
                "noise level": round(level, 4),
                "above it": share(above),
                "right, above it": share(right[above]),
                "right, at most it": share(right[~above]),
                "of other folders above it": {
                    other: share((strangers[:QUERIES] @ collection.T).max(axis=1) > level)
                    for other, (strangers, _) in sets.items()
                    if other != name
                },
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    given.out.write_text(json.dumps({"encoder": encoder.identity, "seed": 0, "collections": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
