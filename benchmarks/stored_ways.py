"""One photo stored in many valid ways: ``python benchmarks/stored_ways.py FOLDER [--photos 60] [--out FILE]``.

Each photo is decoded once, stored again in every way, and embedded from both. The cosine of the two vectors is 1 where
the way makes no difference. Greys are compared with the grey photo. Beside it, for scale: the cosine of each photo with
the next photo. Needs the extras ``scientific``, ``medical`` and ``jxl``.
"""

import argparse
import io
import platform
import statistics
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import imagecodecs
import numpy as np
import PIL
import pydicom
import tifffile
from hardware import processor
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from result_file import write_result

import simsiam_retrieval
from simsiam_retrieval.encoder.onnx_encoder import Encoder, load_encoder
from simsiam_retrieval.images.decode import ImageError, decode
from simsiam_retrieval.images.files import list_images

Pixels = NDArray  # uint8, (h, w, 3) or (h, w)
LARGEST = 512  # pixels of a side; smaller files are quicker, and the ways are the same
BANDS = 13


def tiff(values: NDArray, **options) -> bytes:
    """A TIFF as tifffile writes it."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **{"metadata": None, **options})
    return buffer.getvalue()


def by_pillow(file_format: str, **options) -> Callable[[Pixels], bytes]:
    def store(pixels: Pixels) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, file_format, **options)
        return buffer.getvalue()

    return store


def rgb(values: NDArray, **options) -> bytes:
    return tiff(values, photometric="rgb", **options)


def planar(values: NDArray) -> bytes:
    return rgb(np.moveaxis(values, 2, 0), planarconfig="separate")


def deep(pixels: Pixels, bits: int) -> NDArray[np.uint16]:
    return (pixels / 255 * (2**bits - 1)).round().astype(np.uint16)


def with_no_data(grey: Pixels) -> bytes:
    values = grey.astype(np.float32) / 255
    values[:2] = -9999
    return tiff(values, extratags=[(42113, 2, None, "-9999", True)])


def with_hot_pixels(grey: Pixels) -> bytes:
    values = deep(grey, 12)
    values[::97, ::89] = 65535
    return tiff(values)


def with_alpha(pixels: Pixels, kind: str) -> bytes:
    alpha = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    return rgb(np.concatenate([pixels, alpha], axis=2), extrasamples=[kind])


def pyramid(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        options = {"photometric": "rgb", "metadata": None}
        small = np.ascontiguousarray(pixels[::8, ::8])
        writer.write(small, subfiletype=1, **options)
        writer.write(pixels, subifds=1, tile=(64, 64), **options)
        writer.write(np.ascontiguousarray(pixels[::2, ::2]), subfiletype=1, **options)
    return buffer.getvalue()


def ome(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="rgb", ome=True)
    return buffer.getvalue()


def geotiff(pixels: Pixels) -> bytes:
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
    tags = [
        (33550, 12, 3, (10.0, 10.0, 0.0), True),
        (33922, 12, 6, (0, 0, 0, 5e5, 5e6, 0), True),
        (34735, 3, len(keys), keys, True),
    ]
    return rgb(deep(pixels, 12), tile=(64, 64), compression="deflate", predictor=True, extratags=tags)


def bands(pixels: Pixels) -> bytes:
    values = np.zeros((*pixels.shape[:2], BANDS), np.uint16)
    values[:, :, [3, 2, 1]] = deep(pixels, 12)
    return tiff(values, photometric="minisblack", planarconfig="contig")


def dicom(grey: Pixels, *, slope: float = 1, intercept: float = 0, inverted: bool = False) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["a photo"])
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    values = deep(255 - grey if inverted else grey, 12)
    data.Rows, data.Columns, data.SamplesPerPixel, data.PixelRepresentation = *grey.shape, 1, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    data.RescaleSlope, data.RescaleIntercept = slope, intercept
    if not inverted:
        data.WindowCenter, data.WindowWidth = intercept + slope * 2048, slope * 4096
    data.PixelData = values.tobytes()
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data)
    return buffer.getvalue()


GREYS: dict[str, Callable[[Pixels], bytes]] = {
    "12 bits in a 16-bit PNG": lambda grey: by_pillow("PNG")(deep(grey, 12)),
    "16-bit PNG": lambda grey: by_pillow("PNG")(deep(grey, 16)),
    "signed 16-bit elevation": lambda grey: tiff(grey.astype(np.int16) * 8 - 500),
    "signed 8 bits": lambda grey: tiff((grey.astype(int) - 128).astype(np.int8)),
    "unsigned 32 bits above 2^31": lambda grey: tiff(grey.astype(np.uint32) * 2**20 + np.uint32(2**31)),
    "float16": lambda grey: tiff(grey.astype(np.float16) / 255),
    "float32 with a no-data value": with_no_data,
    "float64": lambda grey: tiff(grey / 255),
    "16 bits, white is zero": lambda grey: tiff(deep(255 - grey, 16), photometric="miniswhite"),
    "12 bits with hot pixels": with_hot_pixels,
    "BigTIFF, big endian": lambda grey: tiff(deep(grey, 16), bigtiff=True, byteorder=">"),
    "DICOM, 12 bits, window": dicom,
    "DICOM, Hounsfield units": lambda grey: dicom(grey, intercept=-1024),
    "DICOM, MONOCHROME1": lambda grey: dicom(grey, inverted=True),
    "PGM, 16 bits": lambda grey: by_pillow("PPM")(deep(grey, 16)),
    "JPEG 2000, 16 bits": lambda grey: by_pillow("JPEG2000")(deep(grey, 16)),
}
COLOURS: dict[str, Callable[[Pixels], bytes]] = {
    "12-bit RGB TIFF": lambda pixels: rgb(deep(pixels, 12)),
    "16-bit planar RGB TIFF": lambda pixels: planar(deep(pixels, 16)),
    "float32 RGB TIFF": lambda pixels: rgb(pixels.astype(np.float32) / 255),
    "JPEG-compressed TIFF": lambda pixels: rgb(pixels, compression="jpeg", tile=(64, 64)),
    "JPEG 2000-compressed TIFF": lambda pixels: rgb(pixels, compression="jpeg2000"),
    "LERC-compressed TIFF": lambda pixels: rgb(pixels, compression="lerc"),
    "WebP-compressed TIFF": lambda pixels: rgb(pixels, compression="webp", compressionargs={"lossless": True}),
    "PNG-compressed TIFF": lambda pixels: rgb(pixels, compression="png"),
    "RGB with associated alpha": lambda pixels: with_alpha(pixels, "assocalpha"),
    "pyramid, the smallest page first": pyramid,
    "OME-TIFF": ome,
    "GeoTIFF, 12 bits": geotiff,
    "bands 4, 3, 2 of 13": bands,
    "16-bit RGB PNG": lambda pixels: bytes(imagecodecs.png_encode(deep(pixels, 16))),
    "PNG": by_pillow("PNG"),
    "lossless WebP": by_pillow("WEBP", lossless=True),
    "JPEG 2000": by_pillow("JPEG2000"),
    "JPEG XL": lambda pixels: bytes(imagecodecs.jpegxl_encode(pixels, lossless=True)),
    "PPM": by_pillow("PPM"),
}


def compared(encoder: Encoder, photos: list[Image.Image]) -> dict[str, list[float | str]]:
    """The cosine of each photo with itself stored in each way, or why it cannot be read."""
    greys = [photo.convert("L") for photo in photos]
    plain = {"colour": encoder.embed(photos), "grey": encoder.embed([grey.convert("RGB") for grey in greys])}
    found: dict[str, list[float | str]] = {}
    for kind, ways, pictures in (("grey", GREYS, greys), ("colour", COLOURS, photos)):
        for way, store in ways.items():
            reading = encoder.reading.changed(bands="4,3,2") if way == "bands 4, 3, 2 of 13" else encoder.reading
            found[way] = []
            for picture, vector in zip(pictures, plain[kind], strict=True):
                try:
                    image = decode(store(np.asarray(picture)), encoder.decode_side, reading)
                except ImageError as error:
                    found[way].append(str(error))
                else:
                    found[way].append(float(encoder.embed([image])[0] @ vector))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--encoder")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    files = [file.path for file in list_images([options.folder]).images]
    files = [files[row] for row in np.linspace(0, len(files) - 1, options.photos).astype(int)]
    encoder = load_encoder(options.encoder, device="cpu")
    photos = [decode(file) for file in files]
    for photo in photos:
        photo.thumbnail((LARGEST, LARGEST))
    vectors = encoder.embed(photos)
    others = (vectors * np.roll(vectors, 1, axis=0)).sum(axis=1).tolist()
    rows = {}
    for way, cosines in compared(encoder, photos).items():
        known = [cosine for cosine in cosines if isinstance(cosine, float)]
        rows[way] = {"median": statistics.median(known), "lowest": min(known), "unread": len(cosines) - len(known)}
        print(
            f"{way:34} median {rows[way]['median']:.4f}  lowest {rows[way]['lowest']:.4f}  unread {rows[way]['unread']}"
        )
    print(f"{'another photo':34} median {statistics.median(others):.4f}  highest {max(others):.4f}")
    if options.out:
        facts = {
            "photos": len(photos),
            "folder": options.folder.name,
            "processor": processor(),
            "encoder": encoder.identity,
            "another_photo": {"median": statistics.median(others), "highest": max(others)},
            "versions": {
                "simsiam_retrieval": simsiam_retrieval.__version__,
                "pillow": PIL.__version__,
                "tifffile": version("tifffile"),
                "imagecodecs": imagecodecs.__version__,
                "pydicom": pydicom.__version__,
                "python": platform.python_version(),
            },
            "ways": rows,
        }
        write_result(facts, options.out)


if __name__ == "__main__":
    main()
