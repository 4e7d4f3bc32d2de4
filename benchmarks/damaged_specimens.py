"""Small valid files of every kind that is read, to be damaged by ``damaged_files.py``; no program."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import imagecodecs
import numpy as np
import pydicom
import pydicom.data
import tifffile
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from stored_ways import COLOURS, GREYS, bands, pyramid

HEIGHT, WIDTH = 48, 64
LARGEST = 300_000  # bytes; larger files of pydicom's test data would take the time of the others


def scene() -> NDArray[np.uint8]:
    """Blotches of colour, uint8 (HEIGHT, WIDTH, 3)."""
    rough = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(rough).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def saved(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def tiff(values: NDArray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **{"metadata": None, **options})
    return buffer.getvalue()


def from_stored_ways(word: str) -> list[bytes]:
    """The files of ``stored_ways.py`` that have a word in their name."""
    colours = scene()
    grey = np.asarray(Image.fromarray(colours).convert("L"))
    return [
        *(store(grey) for name, store in GREYS.items() if word in name),
        *(store(colours) for name, store in COLOURS.items() if word in name),
    ]


def tiff_samples() -> list[bytes]:
    """Depths, signs, floats, Lab, palette, CMYK, alpha."""
    colours = scene()
    deep = colours.astype(np.uint16) * 257
    grey = deep[:, :, 0]
    palette = np.arange(256, dtype=np.uint16)[None].repeat(3, 0) * 257
    return [
        tiff(grey),
        tiff(grey.astype(np.int32) - 500),
        tiff(grey.astype(np.float32), extratags=[(42113, 2, None, "0", True)]),
        tiff(grey.astype(np.float64) / 9),
        tiff((colours[:, :, 0] // 2).astype(np.int8)),
        tiff(colours > 99, photometric="rgb"),
        tiff(deep, photometric="cielab"),
        tiff(colours[:, :, 0], photometric="palette", colormap=palette),
        tiff(np.concatenate([deep, deep[:, :, :1]], axis=2), photometric="separated"),
        tiff(np.stack([grey, grey], axis=2), photometric="minisblack", extrasamples=["assocalpha"]),
        tiff(grey, photometric="miniswhite", bigtiff=True, byteorder=">"),
    ]


def tiff_compressions() -> list[bytes]:
    """All compressions, contiguous and planar, in strips and tiles."""
    colours = scene()
    found = []
    for compression in ("lzw", "zlib", "packbits", "zstd", "jpeg", "jpeg2000", "lerc", "png", "webp", "jpegxl", "lzma"):
        found.append(tiff(colours, photometric="rgb", compression=compression, tile=(16, 16)))
        if compression not in ("webp", "jpegxl"):
            planes = np.ascontiguousarray(np.moveaxis(colours, 2, 0))
            found.append(tiff(planes, photometric="rgb", planarconfig="separate", compression=compression))
    found.append(tiff(colours.astype(np.uint16) * 257, photometric="rgb", compression="zlib", predictor=True))
    return found


def tiff_pages() -> list[bytes]:
    """Pyramids, several pages, OME, BigTIFF, GeoTIFF, thirteen bands."""
    colours = scene()
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in (colours[::4, ::4], colours, colours[::-1]):
            writer.write(page, photometric="rgb", subfiletype=int(page.shape[0] < HEIGHT), metadata=None)
    return [buffer.getvalue(), pyramid(colours), bands(colours), *from_stored_ways("OME"), *from_stored_ways("GeoTIFF")]


def tiff_by_pillow() -> list[bytes]:
    """TIFFs that Pillow reads."""
    image = Image.fromarray(scene())
    return [
        *(saved(image, "TIFF", compression=kind) for kind in ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg")),
        saved(image.convert("1"), "TIFF", compression="group4"),
        saved(image.convert("CMYK"), "TIFF"),
        saved(image.quantize(), "TIFF"),
    ]


def dicom_files() -> list[bytes]:
    """Uncompressed files, and those of pydicom's package in all transfer syntaxes."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    names = sorted(path for path in folder.glob("*.dcm") if path.stat().st_size <= LARGEST)
    return from_stored_ways("DICOM") + [path.read_bytes() for path in names]


def dng_files() -> list[bytes]:
    """A sensor's data, and the same with a preview."""
    colours = np.asarray(Image.fromarray(scene()).resize((640, 480)))
    sensor = np.empty(colours.shape[:2], np.uint16)
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        sensor[row::2, column::2] = colours[row::2, column::2, channel].astype(np.uint16) * 64
    matrix = (3.1339, -1.6169, -0.4906, -0.9788, 1.9161, 0.0335, 0.0719, -0.229, 1.4052)
    rationals = tuple(part for value in matrix for part in (round(value * 10_000), 10_000))
    tags = [
        *((271, 2, None, "Maker", True), (272, 2, None, "Model", True), (50706, 1, 4, (1, 4, 0, 0), True)),
        *((50721, 10, 9, rationals, True), (50728, 5, 3, (1, 1, 1, 1, 1, 1), True), (50778, 3, 1, 21, True)),
    ]
    pattern = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True), (50717, 3, 1, 16383, True)]
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        jpeg = np.asarray(Image.fromarray(colours).convert("YCbCr"))
        options = {"photometric": "ycbcr", "compression": "jpeg", "rowsperstrip": len(jpeg), "metadata": None}
        writer.write(jpeg, subfiletype=1, subifds=1, extratags=tags, **options)
        writer.write(sensor, photometric=32803, subfiletype=0, metadata=None, extratags=pattern)
    return [tiff(sensor, photometric=32803, extratags=tags + pattern), buffer.getvalue()]


def jpeg_xl_files() -> list[bytes]:
    colours = scene()
    alpha = np.concatenate([colours, colours[:, :, :1]], axis=2)
    pictures = (colours, alpha, colours[:, :, 0].copy(), colours.astype(np.uint16) * 257)
    return [
        bytes(imagecodecs.jpegxl_encode(values, lossless=lossless, usecontainer=lossless))
        for values in pictures
        for lossless in (True, False)
    ]


def jpeg_2000_files() -> list[bytes]:
    image = Image.fromarray(scene())
    alpha = image.copy()
    alpha.putalpha(image.convert("L"))
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return [
        *(saved(image, "JPEG2000", no_jp2=plain, tile_size=(32, 32) if plain else None) for plain in (False, True)),
        *(saved(image, "JPEG2000", irreversible=True, quality_layers=[20]), saved(alpha, "JPEG2000")),
        saved(deep, "JPEG2000"),
        *(bytes(imagecodecs.jpeg2k_encode(np.asarray(image), level=level)) for level in (0, 30)),
    ]


def png_files() -> list[bytes]:
    """Colour keys of all depths, 16 bits, text, EXIF, animation."""
    image = Image.fromarray(scene())
    deep = np.asarray(image).astype(np.uint16) * 257
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "word " * 99, zip=True)
    exif = Image.Exif()
    exif[274] = 6
    return [
        saved(image, "PNG", pnginfo=info, exif=exif),
        saved(image, "PNG", transparency=(9, 9, 9)),
        saved(image.convert("L"), "PNG", transparency=9),
        saved(image.convert("1"), "PNG", transparency=1),
        *(saved(image.quantize(2**bits), "PNG", bits=bits, transparency=1) for bits in (1, 2, 4)),
        bytes(imagecodecs.png_encode(deep)),
        with_key(bytes(imagecodecs.png_encode(deep)), b"\1\1" * 3),
        with_key(bytes(imagecodecs.png_encode(deep[:, :, 0].copy())), b"\1\1"),
        saved(image, "PNG", save_all=True, append_images=[image.rotate(90), image.rotate(180)]),
    ]


def with_key(png: bytes, key: bytes) -> bytes:
    """A PNG with a transparent colour."""
    chunk = b"tRNS" + key
    place = png.index(b"IDAT") - 4
    return png[:place] + len(key).to_bytes(4, "big") + chunk + crc32(chunk).to_bytes(4, "big") + png[place:]


def portable_maps() -> list[bytes]:
    image = Image.fromarray(scene())
    grey = np.asarray(image.convert("L"))
    words = b" ".join(b"%d" % value for value in grey.ravel())
    return [
        *(saved(image.convert(mode), "PPM") for mode in ("1", "L", "RGB")),
        saved(Image.fromarray(grey.astype(np.uint16) * 16), "PPM"),
        b"P2\n# a remark\n%d %d\n255\n%s\n" % (WIDTH, HEIGHT, words),
        b"P5 %d %d 4095 " % (WIDTH, HEIGHT) + (grey.astype(">u2") * 16).tobytes(),
    ]


def everyday_files() -> list[bytes]:
    """JPEG, GIF, WebP, BMP, AVIF, with metadata and frames."""
    image = Image.fromarray(scene())
    exif = Image.Exif()
    exif[274] = 6
    exif.get_ifd(0x8769)[0x9003] = "2019:07:04 10:00:00"
    frames = {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)]}
    return [
        saved(image, "JPEG", exif=exif),
        saved(image, "JPEG", progressive=True, quality=60),
        saved(image.convert("CMYK"), "JPEG"),
        saved(image, "MPO", **frames),
        saved(image, "GIF", **frames),
        saved(image, "WEBP", exif=exif),
        saved(image, "WEBP", lossless=True, **frames),
        saved(image.convert("RGBA"), "BMP"),
        saved(image.quantize(16), "BMP"),
        saved(image, "AVIF"),
    ]


KINDS: dict[str, Callable[[], list[bytes]]] = {
    "TIFF: depths and colours": tiff_samples,
    "TIFF: compressions": tiff_compressions,
    "TIFF: pages and pyramids": tiff_pages,
    "TIFF: read by Pillow": tiff_by_pillow,
    "DICOM": dicom_files,
    "DNG": dng_files,
    "JPEG XL": jpeg_xl_files,
    "JPEG 2000": jpeg_2000_files,
    "PNG": png_files,
    "PGM, PPM, PBM": portable_maps,
    "JPEG, GIF, WebP, BMP, AVIF": everyday_files,
}


def damaged(contents: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield damaged copies, of each file in turn."""
    random = np.random.default_rng(seed)
    for number in range(count):
        content = bytearray(contents[number % len(contents)])
        for _ in range(int(random.choice([1, 1, 2, 3]))):
            _damage(content, contents, random)
        # with its checksums put right, a damaged PNG is looked into further
        yield with_checksums(bytes(content)) if random.random() < 0.5 else bytes(content)


def with_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have the right checksums; other files as they are."""
    if content[:4] != b"\x89PNG":
        return content
    parts, at = [content[:8]], 8
    while at + 12 <= len(content):
        length = min(int.from_bytes(content[at : at + 4], "big"), len(content) - at - 12)
        chunk = content[at + 4 : at + 8 + length]
        parts.append(length.to_bytes(4, "big") + chunk + crc32(chunk).to_bytes(4, "big"))
        at += 12 + length
    return b"".join(parts)


def _damage(content: bytearray, others: list[bytes], random: np.random.Generator) -> None:
    head = min(len(content), 600)
    place = int(random.integers(0, max(1, head if random.random() < 0.6 else len(content))))
    length = int(random.integers(1, 64))
    way = int(random.integers(0, 8))
    if way <= 2:  # a byte
        content[place : place + 1] = bytes([int(random.integers(0, 256))])
    elif way == 3:  # a number
        extreme = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\1\0")
        content[place : place + 4] = extreme[int(random.integers(0, len(extreme)))]
    elif way == 4:  # the end is missing
        del content[max(1, int(random.integers(1, max(2, len(content))))) :]
    elif way == 5:  # a part is missing, or there twice
        part = content[place : place + length]
        content[place : place + length] = b"" if random.random() < 0.5 else part * 2
    elif way == 6:  # noise
        content[place : place + length] = random.bytes(length)
    else:  # a part of another file
        other = others[int(random.integers(0, len(others)))]
        start = int(random.integers(0, len(other)))
        content[place : place + length] = other[start : start + length]
