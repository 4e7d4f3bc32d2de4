"""What DCT-scaled decoding costs in accuracy: ``python benchmarks/scaled_decoding.py FOLDER [FOLDER …] [--out FILE]``.

Every JPEG below the folders that is large enough to be decoded at a half, a quarter or an eighth of its size is
embedded twice, from the scaled and from the full decode; their cosine is 1 where it makes no difference. Beside it, for
scale: the cosine of the photo with its own copy at JPEG quality 90, and with the most similar other photo. Copies of
one picture at several sizes count once, the largest. CPU seconds are those of decoding alone, on one thread.
"""

import argparse
import io
import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, features

import simsiam_retrieval
from simsiam_retrieval.encoder.onnx_encoder import Encoder, load_encoder
from simsiam_retrieval.images.decode import ImageError, centre_square, decode
from simsiam_retrieval.images.files import list_images

SAME = 0.98  # cosine from which two files are taken for one picture
JPEGS = (".jpg", ".jpeg", ".jpe", ".jfif")


def timed(content: bytes, side: int | None) -> tuple[Image.Image, float]:
    """The decoded image, and the CPU seconds it took the second time."""
    decode(content, short_side=side)
    started = time.process_time()
    image = decode(content, short_side=side)
    return image, time.process_time() - started


def compared(encoder: Encoder, file: Path) -> tuple[dict, np.ndarray] | None:
    """Facts of one photo and its vector from the full decode, or None where scaling has no part in it."""
    content = file.read_bytes()
    try:
        full, full_seconds = timed(content, None)
        scaled, scaled_seconds = timed(content, encoder.decode_side)
    except ImageError as error:
        print(f"left out: {file}: {error}")
        return None
    if scaled.size == full.size:
        return None
    buffer = io.BytesIO()
    full.save(buffer, "JPEG", quality=90)
    again = decode(buffer.getvalue())
    squares = [np.asarray(centre_square(image, encoder.image_size)) for image in (full, scaled, again)]
    vectors = encoder.embed_pixels(np.stack(squares))
    facts = {
        "megapixels": round(full.width * full.height / 1e6, 2),
        "scale": round(max(full.size) / max(scaled.size)),
        "cosine": float(vectors[0] @ vectors[1]),
        "cosine_quality_90": float(vectors[0] @ vectors[2]),
        "grey_levels": float(np.abs(squares[0].astype(int) - squares[1]).mean()),
        "full_seconds": full_seconds,
        "scaled_seconds": scaled_seconds,
    }
    return facts, vectors[0]


def summary(photos: list[dict]) -> dict:
    """One row of the table."""
    cosines = [photo["cosine"] for photo in photos]
    return {
        "photos": len(photos),
        "megapixels_median": statistics.median(photo["megapixels"] for photo in photos),
        "cosine_median": round(statistics.median(cosines), 5),
        "cosine_lowest": round(min(cosines), 5),
        "grey_levels_mean": round(statistics.mean(photo["grey_levels"] for photo in photos), 3),
        "quality_90_median": round(statistics.median(photo["cosine_quality_90"] for photo in photos), 5),
        "quality_90_lowest": round(min(photo["cosine_quality_90"] for photo in photos), 5),
        "full_cpu_ms": round(1000 * statistics.median(photo["full_seconds"] for photo in photos), 1),
        "scaled_cpu_ms": round(1000 * statistics.median(photo["scaled_seconds"] for photo in photos), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--encoder", help="run folder or .onnx file; by default the shipped one")
    parser.add_argument("--out", type=Path, help="write the result to this JSON file")
    arguments = parser.parse_args()

    encoder = load_encoder(arguments.encoder, device="cpu", threads=1)
    files = [image.path for image in list_images(arguments.folders).images if image.path.suffix.lower() in JPEGS]
    everything = [result for file in files if (result := compared(encoder, file)) is not None]
    found: list[tuple[dict, np.ndarray]] = []
    for facts, vector in sorted(everything, key=lambda result: -result[0]["megapixels"]):
        if all(float(vector @ other) < SAME for _, other in found):
            found.append((facts, vector))
    if len(found) < 2:
        raise SystemExit("fewer than two JPEG files there are large enough to be scaled while decoding")
    photos, vectors = [facts for facts, _ in found], np.stack([vector for _, vector in found])
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    result = {
        "encoder": encoder.identity,
        "decode_side": encoder.decode_side,
        "files": len(files),
        "all": summary(photos),
        "by_scale": {
            f"1/{scale}": summary([photo for photo in photos if photo["scale"] == scale])
            for scale in sorted({photo["scale"] for photo in photos})
        },
        "nearest_other_photo_median": round(float(np.median(similarity.max(axis=1))), 5),
        "cosines": sorted(round(photo["cosine"], 5) for photo in photos),
        "version": simsiam_retrieval.__version__,
        "pillow": PIL.__version__,
        "libjpeg_turbo": features.version_feature("libjpeg_turbo"),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    print(f"{len(photos)} pictures, from {len(files)} JPEG files; encoder {encoder.identity}\n")
    print(
        "| decoded at | photos | megapixels (median) | cosine: median | lowest | quality 90: median | lowest |", end=""
    )
    print(" CPU ms, full | scaled |\n|" + " --- |" * 9)
    for name, row in {**result["by_scale"], "all": result["all"]}.items():
        print(
            f"| {name} | {row['photos']} | {row['megapixels_median']:.1f} | {row['cosine_median']:.4f} |"
            f" {row['cosine_lowest']:.4f} | {row['quality_90_median']:.4f} | {row['quality_90_lowest']:.4f} |"
            f" {row['full_cpu_ms']:.0f} | {row['scaled_cpu_ms']:.0f} |"
        )
    print(f"\nmost similar other photo: {result['nearest_other_photo_median']:.3f} (median)")
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
