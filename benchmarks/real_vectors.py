"""Real vectors for the measurements of search: pictures through the shipped encoder, with 256 and with 512 values.

    python benchmarks/real_vectors.py OUT FOLDER… [--minutes M]

OUT gets ``vectors-256.npy`` (the encoder's own) and ``vectors-512.npy``, float32 unit vectors in the order of the
files. 512 values are what the shipped encoder would give with a wider last layer: its 3,072 features, reduced to the
512 strongest directions and half-whitened, which is how the 256 were made. Directions are fitted to 10,000 pictures
drawn from all folders. The program goes on where it stopped; after M minutes it stops by itself.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from simsiam_retrieval.encoder.onnx_encoder import load_encoder
from simsiam_retrieval.images.decode import ImageError, centre_square, read_image
from simsiam_retrieval.images.files import list_images

WIDE, FITTED_ON, BATCH, PIECE = 512, 10_000, 64, 20_000
POWER = 0.5  # half-whitened


class Network:
    """The shipped encoder with its features before the reduction as a second output."""

    def __init__(self) -> None:
        encoder = load_encoder(device="cpu", threads=1)
        self.identity, self.side, self.decode_side = encoder.identity, encoder.image_size, encoder.decode_side
        model = onnx.load(encoder.file)
        centred = next(node.input[0] for node in model.graph.node if node.input[1:] == ["reduction_projection"])
        features = next(node.input[0] for node in model.graph.node if node.output[0] == centred)
        model.graph.output.append(onnx.helper.make_tensor_value_info(features, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        self._wanted = ["vectors", features]

    def read(self, files: list[Path]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors (n, 256) and features (n, 3072) of those files that can be read."""
        squares = []
        for file in files:
            try:
                image = read_image(file.read_bytes(), self.decode_side).image
            except ImageError:
                continue
            squares.append(np.asarray(centre_square(image, self.side)))
        narrow, features = self._session.run(self._wanted, {self._session.get_inputs()[0].name: np.stack(squares)})
        return np.asarray(narrow, np.float32), np.asarray(features, np.float32)


def fitted(network: Network, files: list[Path], out: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean (3072,) and projection (3072, 512)."""
    kept = out / "reduction.npz"
    if not kept.exists():
        drawn = [files[at] for at in np.random.default_rng(0).permutation(len(files))[:FITTED_ON]]
        features = np.concatenate([network.read(drawn[at : at + BATCH])[1] for at in range(0, len(drawn), BATCH)])
        mean = features.mean(0)
        features -= mean
        values, axes = np.linalg.eigh(features.T @ features / len(features))
        strongest = np.argsort(-values)[:WIDE]
        np.savez(kept, mean=mean, projection=axes[:, strongest] / values[strongest] ** (POWER / 2))
    found = np.load(kept)
    return found["mean"], found["projection"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=4)
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    files = [image.path for image in list_images(options.folders).images]
    network = Network()
    mean, projection = fitted(network, files, options.out)
    pieces = [options.out / f"piece-{at:07d}.npz" for at in range(0, len(files), PIECE)]
    for number, piece in enumerate(pieces):
        if piece.exists():
            continue
        if time.monotonic() > end:
            raise SystemExit(f"{number} of {len(pieces)} pieces: run it again")
        here = files[number * PIECE : (number + 1) * PIECE]
        narrow, wide = [], []
        for at in range(0, len(here), BATCH):
            vectors, features = network.read(here[at : at + BATCH])
            reduced = (features - mean) @ projection
            narrow.append(vectors)
            wide.append((reduced / np.linalg.norm(reduced, axis=1, keepdims=True)).astype(np.float32))
        np.savez(piece.with_suffix(".tmp.npz"), narrow=np.concatenate(narrow), wide=np.concatenate(wide))
        piece.with_suffix(".tmp.npz").rename(piece)
        print(f"{number + 1} of {len(pieces)} pieces", flush=True)
    loaded = [np.load(piece) for piece in pieces]
    for width, name in ((256, "narrow"), (WIDE, "wide")):
        vectors = np.concatenate([piece[name] for piece in loaded])
        np.save(options.out / f"vectors-{width}.npy", vectors)
    facts = {"encoder": network.identity, "pictures": len(vectors), "folders": [str(f.name) for f in options.folders]}
    (options.out / "about.json").write_text(json.dumps(facts, indent=1) + "\n")
    for piece in pieces:
        piece.unlink()
    print(facts)


if __name__ == "__main__":
    main()
