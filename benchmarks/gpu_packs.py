"""Images and results small enough to travel: ``gpu_packs.py pack DATA OUT``, ``gpu_packs.py join FOLDER OUT``.

``pack`` writes the training images of the shipped encoder as WebP, short side 64 px at most, into ``photos.tar.gz``
(Imagenette, Caltech-101, single images of further synsets) and ``tiny.tar.gz`` (Tiny-ImageNet, as many as
``--megabytes`` leave room for, drawn by ``--seed``). gzip does not shrink WebP, but it shrinks the headers of a tar
archive, which are half of it here. ``pretrain`` reads such archives once they are unpacked to ``.tar``. ``split`` cuts
a file into parts of at most 15 MiB beside a list of checksums; ``join`` puts such parts together and checks each file.
"""

import argparse
import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps

PHOTOS = ("imagenette-160/train", "caltech101-128", "imagenet-singles-160")
TINY = "tiny-imagenet-200/train"
SUFFIXES = {".jpg", ".jpeg", ".png"}
PART_BYTES = 15 << 20
HELD_BACK = 1 << 15  # bytes that gzip may still keep to itself
CHECKSUMS = "parts.json"


def packed(file: Path, side: int, quality: int) -> bytes:
    """WebP of one image, its short side at most ``side`` pixels."""
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    scale = min(1.0, side / min(image.size))
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def images_of(folder: Path) -> list[Path]:
    """All images at or below a folder, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _one(task: tuple[Path, int, int]) -> bytes:
    return packed(*task)


def write_tar(target: Path, root: Path, files: list[Path], side: int, quality: int, room: int) -> int:
    """Pack ``files`` until ``room`` bytes are used; returns the bytes of the archive."""
    count = 0
    with (
        target.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ProcessPoolExecutor() as pool,
    ):
        tasks = ((file, side, quality) for file in files)
        for file, content in zip(files, pool.map(_one, tasks, chunksize=64), strict=True):
            if raw.tell() + len(content) + HELD_BACK > room:
                break
            member = tarfile.TarInfo(str(file.relative_to(root).with_suffix(".webp")))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
            count += 1
        pool.shutdown(wait=True, cancel_futures=True)
    print(f"{target.name}: {count} of {len(files)} images, {target.stat().st_size / 2**20:.1f} MiB", flush=True)
    return target.stat().st_size


def pack(data: Path, out: Path, *, megabytes: float, side: int, quality: int, seed: int) -> None:
    """Write both archives; what is not there is left out, and said."""
    out.mkdir(parents=True, exist_ok=True)
    room = int(megabytes * 2**20)
    photos = [file for folder in PHOTOS for file in _there(data / folder)]
    tiny = _there(data / TINY) or _there(data / "tiny" / TINY)
    random.Random(seed).shuffle(tiny)
    for name, files in (("photos.tar.gz", photos), ("tiny.tar.gz", tiny)):
        if files:
            room -= write_tar(out / name, data, files, side, quality, room)


def _there(folder: Path) -> list[Path]:
    files = images_of(folder) if folder.is_dir() else []
    if not files:
        print(f"{folder}: no images, left out", flush=True)
    return files


def split(files: Iterable[Path], out: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Cut files into parts in ``out``, with the checksum of each whole file in ``parts.json``; returns the parts."""
    out.mkdir(parents=True, exist_ok=True)
    sums, parts = {}, []
    for file in files:
        digest, number = hashlib.sha256(), 0
        with file.open("rb") as source:
            while block := source.read(part_bytes):
                digest.update(block)
                part = out / f"{file.name}.part{number:02}"
                part.write_bytes(block)
                parts.append(part)
                number += 1
        sums[file.name] = {"sha256": digest.hexdigest(), "parts": number, "bytes": file.stat().st_size}
    (out / CHECKSUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
    return parts


def join(folder: Path, out: Path) -> Iterator[Path]:
    """Put parts together again; raises ``SystemExit`` for a part that is missing or a file that is not the same."""
    out.mkdir(parents=True, exist_ok=True)
    for name, about in json.loads((folder / CHECKSUMS).read_text(encoding="utf-8")).items():
        digest, target = hashlib.sha256(), out / name
        with target.open("wb") as whole:
            for number in range(about["parts"]):
                part = folder / f"{name}.part{number:02}"
                if not part.exists():
                    raise SystemExit(f"{part}: missing")
                block = part.read_bytes()
                digest.update(block)
                whole.write(block)
        if digest.hexdigest() != about["sha256"]:
            target.unlink()
            raise SystemExit(f"{name}: its parts do not make the file that was cut")
        yield target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("pack")
    one.add_argument("data", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--megabytes", type=float, default=40, help="of both archives together, in MiB")
    one.add_argument("--side", type=int, default=64)
    one.add_argument("--quality", type=int, default=30)
    one.add_argument("--seed", type=int, default=0)
    other = commands.add_parser("join")
    other.add_argument("folder", type=Path)
    other.add_argument("out", type=Path)
    given = parser.parse_args()
    if given.command == "pack":
        pack(
            given.data,
            given.out,
            megabytes=given.megabytes,
            side=given.side,
            quality=given.quality,
            seed=given.seed,
        )
    else:
        for file in join(given.folder, given.out):
            print(file)


if __name__ == "__main__":
    main()
