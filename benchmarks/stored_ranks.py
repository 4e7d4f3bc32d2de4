"""Do stored vectors (16 bits a value) give the scores and ranks of float32? ``stored_ranks.py FOLDER… [--out FILE]``

Of each folder up to ``--images`` pictures, drawn at random, go through the shipped encoder. Every picture is a query
among the others: the largest difference of a score, and how often the ten nearest are the same, as a set and in the
same order, with float32 vectors and with the catalog's. float16 stands beside for comparison.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from hardware import processor
from numpy.typing import NDArray
from result_file import write_result

from simsiam_retrieval.collection.storage import vector_bytes
from simsiam_retrieval.encoder.onnx_encoder import Encoder, load_encoder
from simsiam_retrieval.images.files import list_images

K, BATCH = 10, 64


def embedded(folder: Path, count: int, encoder: Encoder) -> NDArray[np.float32]:
    files = [image.path for image in list_images([folder]).images]
    drawn = [files[at] for at in np.random.default_rng(0).permutation(len(files))[:count]]
    return np.concatenate([encoder.embed(drawn[at : at + BATCH]) for at in range(0, len(drawn), BATCH)])


def stored(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    found = [vector_bytes.from_bytes(vector_bytes.to_bytes(vector), vectors.shape[1]) for vector in vectors]
    return np.stack([vector for vector in found if vector is not None])


def halved(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    found = vectors.astype(np.float16).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def compared(exact: NDArray[np.float32], other: NDArray[np.float32]) -> dict[str, float]:
    scores, rounded = (vectors.astype(np.float64) @ vectors.astype(np.float64).T for vectors in (exact, other))
    for matrix in (scores, rounded):
        np.fill_diagonal(matrix, -2)
    one, two = (np.argsort(-matrix, axis=1, kind="stable")[:, : K + 1] for matrix in (scores, rounded))
    order = (one[:, :K] == two[:, :K]).all(1)
    same = np.array([set(a) == set(b) for a, b in zip(one[:, :K].tolist(), two[:, :K].tolist(), strict=True)])
    cut = np.take_along_axis(scores, one, 1)
    gaps = (cut[:, K - 1] - cut[:, K])[~same]
    return {
        "largest difference of a score": float(np.abs(scores - rounded).max()),
        "top 10 equal": float(same.mean()),
        "top 10 in the same order": float(order.mean()),
        "largest gap between rank 10 and 11 where they differ": float(gaps.max(initial=0)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    encoder = load_encoder(device="cpu", threads=1)
    rows = []
    for folder in options.folders:
        vectors = embedded(folder, options.images, encoder)
        row = {"set": folder.name, "pictures": len(vectors), "16 bits": compared(vectors, stored(vectors))}
        rows.append(row | {"float16": compared(vectors, halved(vectors))})
        print(json.dumps(rows[-1]), flush=True)
        result = {"encoder": encoder.identity, "values": encoder.dim, "k": K, "sets": rows, "processor": processor()}
        write_result(result, options.out)


if __name__ == "__main__":
    main()
