"""Makers of image files in memory: formats, EXIF orientations, a wide colour profile, damaged copies."""

import base64
import io
import struct
import zlib

import numpy as np
from PIL import Image, features

# 48 x 32, left half (200, 40, 30), right half (20, 60, 200); written by libheif 1.20, which pi-heif cannot do
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJp"
    "bG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAI0AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAAB"
    "AAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEA"
    "AQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAA"
    "FGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAADAAAAABAAAAIAAAAAH////wAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhp"
    "cG1hAAAAAAAAAAEAAQWBAgMFhAAAAJVtZGF0AAAAiSgBrwT4QTGZv/TL///z412X5KZyjxPIPmZR9+B73/9A9p3riHu86xn3p0pc+BX9"
    "18hGyN0ZRj1p7jDD//kQY+8+LW7X5O4hdomiVgCribTPgn/pcobiYwy2X1UetImy/HcisD+K8Fub8zXP9VlCTsD+c/uX5SW2/7OeDHKb"
    "w3g28v2ltv+zOVbg"
)


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def asymmetrical(height: int = 48, width: int = 80) -> np.ndarray:
    """A picture that no turn or mirror leaves as it is: four quarters of different grey, red marks in one."""
    pixels = np.empty((height, width, 3), np.uint8)
    for row, column, value in ((0, 0, 40), (0, 1, 100), (1, 0, 160), (1, 1, 220)):
        rows = slice(row * height // 2, (row + 1) * height // 2)
        columns = slice(column * width // 2, (column + 1) * width // 2)
        pixels[rows, columns] = value
    pixels[: height // 4, : width // 4] = (200, 30, 30)
    return pixels


# EXIF 2.32, tag 0x0112: what the 0th row and 0th column of the stored picture are in the upright one
STORED = {
    1: lambda upright: upright,  # top, left
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: upright[::-1, ::-1],  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.transpose(1, 0, 2),  # left, top
    6: lambda upright: upright[:, ::-1].transpose(1, 0, 2),  # right, top
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: lambda upright: upright[::-1].transpose(1, 0, 2),  # left, bottom
}


def with_orientation(upright: np.ndarray, orientation: int, file_format: str, **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright))
    return encoded(Image.fromarray(stored), file_format, exif=exif, **options)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# D50 colorants of the ICC profiles, and their gamma
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
GAMMA = 563 / 256


def wide_profile() -> bytes:
    """A matrix profile with Adobe RGB's primaries, put together after the ICC specification."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65_536) for value in values))

    name = b"Wide gamut for tests\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(4 + 4 + 2 + 1 + 67)
    tags = {b"desc": description, b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249)}
    for channel, column in zip(b"rgb", ADOBE.T, strict=True):
        tags[bytes([channel]) + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*column)
        tags[bytes([channel]) + b"TRC"] = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(GAMMA * 256))
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for signature, content in tags.items():
        content += bytes(-len(content) % 4)
        table += signature + struct.pack(">II", start + len(data), len(content))
        data += content
    header = struct.pack(">I4xI4s4s4s", start + len(data), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + table + data


def adobe_to_srgb(pixels: np.ndarray) -> np.ndarray:
    linear = (pixels / 255) ** GAMMA @ (np.linalg.inv(SRGB) @ ADOBE).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def specimens() -> dict[str, bytes]:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)).resize((60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {
        "JPEG": encoded(photo, "JPEG", exif=exif, icc_profile=wide_profile()),
        "progressive": encoded(photo, "JPEG", progressive=True),
        "PNG": encoded(photo.convert("RGBA"), "PNG", exif=exif, icc_profile=wide_profile()),
        "palette": encoded(photo.quantize(16), "PNG", transparency=3),
        "GIF": encoded(photo, "GIF", save_all=True, append_images=[photo.rotate(90)]),
        "TIFF": encoded(photo, "TIFF", exif=exif),
        "BMP": encoded(photo, "BMP"),
        "HEIC": HEIC,
    }
    if features.check("libtiff"):
        found["lzw"] = encoded(photo, "TIFF", compression="tiff_lzw")
    if features.check("webp"):
        found["WEBP"] = encoded(photo, "WEBP", exif=exif)
    if features.check("avif"):
        found["AVIF"] = encoded(photo, "AVIF")
    return found


def corruptions(content: bytes, count: int, seed: int):
    """Flipped bytes (mostly in the first part, where headers are), cuts, repeated and missing pieces."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        data = bytearray(content)
        for _ in range(random.integers(1, 6)):
            reach = len(data) if random.random() < 0.4 else min(len(data), 120)
            place = int(random.integers(0, reach))
            match random.integers(0, 4):
                case 0 | 1:
                    data[place] = int(random.integers(0, 256))
                case 2:
                    data[place : place + 4] = random.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
                case 3:
                    del data[place : place + int(random.integers(1, 40))]
            if not data:
                break
        if random.random() < 0.2:
            del data[int(random.integers(0, len(data) + 1)) :]
        yield bytes(data)
