"""A folder of files that are no pictures, or not whole ones: ``python tests/support/broken_files.py FOLDER [SEED]``.

Everything a folder of photos can hold that an index must survive, each with what must be said of it.
"""

import io
import os
import random
import socket
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "tif": "TIFF", "bmp": "BMP", "avif": "AVIF"}
USABLE = ""  # stands for no complaint


def picture(file_format: str, seed: int = 0, size: tuple[int, int] = (96, 64)) -> bytes:
    """A small picture of coloured blotches."""
    blotches = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blotches).resize(size, Image.Resampling.BICUBIC).save(buffer, file_format)
    return buffer.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A grey PNG with this size in its header, whatever its chunks hold."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        whole += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return whole


def make_broken_files(folder: Path, seed: int = 0) -> dict[Path, str]:
    """Fill ``folder``; returns what must be said of each image file in it: a part of the reason, or :data:`USABLE`."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    made: dict[Path, str] = {}

    def add(name: str | bytes, content: bytes, reason: str) -> None:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        made[path] = reason

    for suffix, file_format in FORMATS.items():
        whole = picture(file_format)
        add(f"cut/half.{suffix}", whole[: len(whole) // 2], "not an image" if suffix == "avif" else "damaged")
        add(f"cut/header only.{suffix}", whole[:12], "damaged" if suffix == "jpg" else "not an image")
        add(f"cut/empty.{suffix}", b"", "empty")
        add(f"wrong/text.{suffix}", b"This is a letter, not a picture.\n" * 20, "not an image")
        add(f"wrong/noise.{suffix}", draw.randbytes(5000), "not an image")
        add(f"wrong/page.{suffix}", b"<!doctype html><title>404</title>" + b" " * 999, "not an image")
        other = "png" if suffix != "png" else "jpg"
        add(f"usable/really {suffix}.{other}", whole, USABLE)  # the content counts, not the name
        add(f"usable/more behind it.{suffix}", whole + draw.randbytes(500), USABLE)
    grey = zlib.compress(bytes(65 * 64))
    pixels = 60_000
    add("bombs/huge header.png", png(pixels, pixels, (b"IDAT", grey)), "too large")
    bomb = zlib.compress(bytes(100_000_000), 9)
    add("bombs/more data than pixels.png", png(64, 64, (b"IDAT", bomb)), USABLE)  # only what is needed is unpacked
    text = b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9)
    add("bombs/compressed text.png", png(64, 64, (b"zTXt", text), (b"IDAT", grey)), USABLE)  # read without its text
    add("bombs/huge.gif", b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(3) + b"," + bytes(20), "too large")
    add(
        "bombs/huge.bmp",
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 40_000, 40_000, 1, 24, *[0] * 6),
        "too large",
    )
    add("odd/no pixels.png", png(0, 0, (b"IDAT", grey)), "not an image")
    add("odd/no data.png", png(64, 64), "damaged")
    add("odd/very long.png", picture("PNG", size=(30_000, 1)), USABLE)
    add("names/two\nlines.jpg", b"x", "not an image")
    add("names/<img src=x onerror=alert(1)>.jpg", b"x", "not an image")
    add("names/\x1b[31mred.jpg", b"x", "not an image")
    add(b"names/not utf-8 \xff\xfe.jpg", b"x", "not an image")
    add("names/" + "long " * 48 + ".jpg", b"x", "not an image")
    add("names/ends in capitals.JPG", picture("JPEG", 1), USABLE)
    deep = folder
    for _ in range(60):
        deep /= "deeper still, and deeper"
    add(str(deep.relative_to(folder) / "x.jpg"), picture("JPEG", 2), USABLE)
    special = folder / "special"
    special.mkdir(exist_ok=True)
    for name in ("pipe.jpg", "socket.jpg", "nowhere.jpg", "loop a.jpg", "loop b.jpg", "folder.jpg", "circle"):
        path = special / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            path.unlink()
    os.mkfifo(special / "pipe.jpg")
    made[special / "pipe.jpg"] = "not a regular file"
    here = Path.cwd()
    os.chdir(special)  # the name of a socket may have 107 bytes only
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket.jpg")
    finally:
        os.chdir(here)
    made[special / "socket.jpg"] = "not a regular file"
    for name, target in (("nowhere.jpg", "gone"), ("loop a.jpg", "loop b.jpg"), ("loop b.jpg", "loop a.jpg")):
        (special / name).symlink_to(target)
        made[special / name] = "no such file" if target == "gone" else "symbolic links"
    (special / "folder.jpg").mkdir(exist_ok=True)  # a folder, by no means a file
    (special / "circle").symlink_to("..", target_is_directory=True)
    return made


if __name__ == "__main__":
    found = make_broken_files(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    usable = sum(reason == USABLE for reason in found.values())
    print(f"{len(found)} files in {sys.argv[1]}, {usable} of them usable after all")
