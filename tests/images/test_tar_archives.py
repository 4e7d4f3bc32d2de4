"""Tar shards: which members count, damage, and that members decode as the files they came from."""

import bz2
import gzip
import io
import lzma
import os
import random
import struct
import subprocess
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.images import tar_archives
from simsiam_retrieval.images.decode import ImageError
from simsiam_retrieval.images.files import Listing, list_images
from simsiam_retrieval.images.tar_archives import ShardMember, list_training_images, read_member
from simsiam_retrieval.training.pixel_store import load_store


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def write_tar(path: Path, members: dict[str, bytes], format: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def listed(path: Path) -> Listing:
    return list_training_images([path])


def contents(listing: Listing) -> dict[str, bytes]:
    """Name -> bytes of each member, read by seeking alone."""
    found = {}
    for member in listing.images:
        assert isinstance(member, ShardMember)
        with member.path.open("rb") as file:
            file.seek(member.offset)
            found[member.member] = file.read(member.length)
        assert read_member(member) == found[member.member]
    return found


IMAGES = {f"{index:04d}.jpg": jpeg(index) for index in range(6)}


# -- what is listed


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_members_with_image_suffixes_are_found_where_they_lie(tmp_path, format):
    labels = {"0000.cls": b"3", "0000.json": b"{}", "0001.txt": b"a bird", "README": b""}
    shard = write_tar(tmp_path / "a.tar", {**IMAGES, **labels, "deep/er/UPPER.JPEG": b"x" * 513}, format)
    listing = listed(shard)
    assert contents(listing) == {**IMAGES, "deep/er/UPPER.JPEG": b"x" * 513}
    assert (listing.other, listing.skipped, listing.unreadable) == (4, 0, [])
    status = shard.stat()
    for image in listing.images:
        assert (image.path, image.size, image.mtime_ns) == (shard, status.st_size, status.st_mtime_ns)
    assert listing.images[0].label == shard / "0000.jpg"


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_odd_names(tmp_path, format):
    names = ["d" * 90 + "/" + "n" * 300 + ".jpg", "café.jpg", "a b\n.jpg", os.fsdecode(b"caf\xe9.jpg"), "/abs.jpg"]
    shard = write_tar(tmp_path / "a.tar", {name: name.encode("utf-8", "surrogateescape") for name in names}, format)
    assert contents(listed(shard)) == {name: name.encode("utf-8", "surrogateescape") for name in names}
    assert listed(shard).images[-1].label == shard / "abs.jpg"


def test_archives_of_the_system_s_tar_are_read(tmp_path):
    for name, content in IMAGES.items():
        (tmp_path / name).write_bytes(content)
    subprocess.run(["tar", "cf", "a.tar", "--", *(f"./{name}" for name in IMAGES)], cwd=tmp_path, check=True)
    assert contents(listed(tmp_path / "a.tar")) == {f"./{name}": content for name, content in IMAGES.items()}


def test_links_devices_hidden_and_sparse_members_are_skipped_and_counted(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"special-{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        folder = tarfile.TarInfo("folder.jpg")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in (".hidden.jpg", "._resource-fork.jpg", "a/.git/b.jpg", "./shown.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    listing = listed(tmp_path / "a.tar")
    assert contents(listing) == {"./shown.jpg": b"abc"}
    assert listing.skipped == 5 + 3 and listing.unreadable == []


@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_sparse_members_are_skipped(tmp_path, format):
    """Their bytes do not lie there as one piece."""
    with (tmp_path / "holes.jpg").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"data")
    (tmp_path / "whole.jpg").write_bytes(b"whole")
    command = ["tar", "cf", "a.tar", f"--format={format}", "--sparse", "holes.jpg", "whole.jpg"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / "a.tar").stat().st_size < 1 << 19
    listing = listed(tmp_path / "a.tar")
    assert contents(listing) == {"whole.jpg": b"whole"} and listing.skipped == 1 and listing.unreadable == []


def test_shards_beside_files_are_sorted_by_path_and_members_in_their_order(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"1")
    (tmp_path / "z.jpg").write_bytes(b"2")
    (tmp_path / "sub").mkdir()
    write_tar(tmp_path / "sub" / "s.tar", {"b.jpg": b"3", "a.jpg": b"4"})
    write_tar(tmp_path / "B.TAR", {"c.jpg": b"5"})
    write_tar(tmp_path / ".hidden.tar", {"d.jpg": b"6"})
    roots = [tmp_path, tmp_path / "sub" / "s.tar", tmp_path / "sub"]  # nothing counts twice
    labels = [image.label.relative_to(tmp_path) for image in list_training_images(roots).images]
    assert list(map(str, labels)) == ["B.TAR/c.jpg", "a.jpg", "sub/s.tar/b.jpg", "sub/s.tar/a.jpg", "z.jpg"]


def test_other_callers_do_not_see_members(tmp_path):
    write_tar(tmp_path / "a.tar", IMAGES)
    listing = list_images([tmp_path])
    assert listing.images == [] and listing.other == 1 and listing.unreadable == []


def test_equal_names_in_one_shard_are_two_images(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for content in (b"one", b"two"):
            info = tarfile.TarInfo("a.jpg")
            info.size = 3
            tar.addfile(info, io.BytesIO(content))
    images = listed(tmp_path / "a.tar").images
    assert len({image.identity for image in images}) == 2


def test_a_shard_with_very_many_members_lists_by_its_headers(tmp_path):
    """Bodies are seeked over: a sparse file of 20 GB lists at once."""
    count, body = 2_000, 10 << 20
    with (tmp_path / "a.tar").open("wb") as file:
        for index in range(count):
            info = tarfile.TarInfo(f"{index:06d}.jpg")
            info.size = body
            file.write(info.tobuf(tarfile.USTAR_FORMAT))
            file.seek(body, os.SEEK_CUR)
        file.truncate(file.tell() + 1024)
    began = time.process_time()
    images = listed(tmp_path / "a.tar").images
    assert time.process_time() - began < 5
    assert len(images) == count and images[-1].size == count * (body + 512) + 1024  # the shard's


# -- what is refused


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar.zst", "a.TAR.XZ", "a.tbz2"])
def test_compressed_archives_get_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"anything")
    (tmp_path / "good.jpg").write_bytes(b"x")
    (tmp_path / "other.gz").write_bytes(b"x")
    listing = listed(tmp_path)
    assert [image.path.name for image in listing.images] == ["good.jpg"]
    assert [(path.name, "decompress it first" in reason) for path, reason in listing.unreadable] == [(name, True)]


@pytest.mark.parametrize(
    ("compress", "kind"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")]
)
def test_compression_shows_whatever_the_name_says(tmp_path, compress, kind):
    shard = write_tar(tmp_path / "a.tar", IMAGES)
    shard.write_bytes(compress(shard.read_bytes()))
    listing = listed(shard)
    assert listing.images == [] and len(listing.unreadable) == 1
    assert f"compressed with {kind}" in listing.unreadable[0][1]


@pytest.mark.parametrize("content", [b"", b"no tar", b"\xff" * 5000, os.urandom(3 << 20)], ids=len)
def test_what_is_no_archive_says_so(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    listing = listed(tmp_path / "a.tar")
    assert listing.images == [] and len(listing.unreadable) == 1
    assert "not a tar archive" in listing.unreadable[0][1]


def test_an_empty_archive_is_no_error(tmp_path):
    listing = listed(write_tar(tmp_path / "a.tar", {}))
    assert listing.images == [] and listing.unreadable == []


def test_a_fifo_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    listing = listed(tmp_path)
    assert listing.images == [] and [reason for _, reason in listing.unreadable] == ["not a regular file"]


def test_an_archive_without_permission_is_reported(open_folder, unprivileged):
    write_tar(open_folder / "a.tar", IMAGES).chmod(0)
    with unprivileged():
        listing = listed(open_folder)
    assert listing.images == [] and [reason for _, reason in listing.unreadable] == ["permission denied"]
    with pytest.raises(UserError, match="no such file"):
        listed(open_folder / "b.tar")


# -- damage


def test_every_way_to_cut_an_archive_keeps_the_members_before_the_cut(tmp_path):
    whole = write_tar(tmp_path / "whole.tar", IMAGES)
    content, members = whole.read_bytes(), listed(whole).images
    ends = [member.offset + member.length for member in members if isinstance(member, ShardMember)]
    end_of_data = -(-ends[-1] // 512) * 512
    steps = [*range(1, end_of_data, 211), *ends, *(end - 1 for end in ends)]
    for cut in steps:
        (tmp_path / "cut.tar").write_bytes(content[:cut])
        listing = listed(tmp_path / "cut.tar")
        usable = sum(end <= cut for end in ends)
        assert contents(listing) == dict(list(IMAGES.items())[:usable]), cut
        assert len(listing.unreadable) == 1, cut
        assert ("cut off" if usable else "not a tar archive") in listing.unreadable[0][1], cut


def test_a_damaged_header_costs_its_member_only(tmp_path):
    shard = write_tar(tmp_path / "a.tar", IMAGES)
    members = listed(shard).images
    content = bytearray(shard.read_bytes())
    for index in (0, 3):
        member = members[index]
        assert isinstance(member, ShardMember)
        content[member.offset - 400] ^= 0xFF
    shard.write_bytes(content)
    listing = listed(shard)
    assert list(contents(listing)) == ["0001.jpg", "0002.jpg", "0004.jpg", "0005.jpg"]
    assert [reason.split(";")[0] for _, reason in listing.unreadable] == ["damaged at byte 0"]


def test_archives_joined_by_cat_are_read_to_their_end(tmp_path):
    first = write_tar(tmp_path / "1.tar", dict(list(IMAGES.items())[:3])).read_bytes()
    second = write_tar(tmp_path / "2.tar", dict(list(IMAGES.items())[3:])).read_bytes()
    (tmp_path / "a.tar").write_bytes(first + second)
    listing = listed(tmp_path / "a.tar")
    assert contents(listing) == IMAGES and listing.unreadable == []


def header(name: str, size_field: bytes, kind: bytes = b"0") -> bytes:
    """A header with a size as it should not be, and a right checksum."""
    block = bytearray(512)
    block[: len(name)] = name.encode()
    block[124:136] = size_field.ljust(12, b"\0")
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "block",
    [
        header("a.jpg", b"\xff" * 12),  # size -1
        header("a.jpg", b"\xff" * 10 + struct.pack(">h", -1024)),
        header("a.jpg", b"\x80" + b"\xff" * 11),  # more than there are bytes in the world
        header("a.jpg", b"77777777777"),
        header("a", b"\x80" + b"\xff" * 11, b"x"),
        header("a", b"\xff" * 12, b"x"),
        header("a", b"77777777777", b"L"),
        header("a", b"77777777777", b"g"),
        header("a", b"5", b"x") + b"9 a=b" + bytes(507),
        header("a", b"17", b"x") + b"15 size=abc\n" + bytes(500),
        header("a", b"0", b"L") * 3000,
        header("a.jpg", b"7", b"S"),
    ],
)
def test_hostile_headers_end_and_cost_nothing_else(tmp_path, block):
    good = write_tar(tmp_path / "good.tar", IMAGES).read_bytes()
    end = good.rstrip(b"\0")
    (tmp_path / "a.tar").write_bytes(good[: -(-len(end) // 512) * 512] + block + good)
    began = time.process_time()
    listing = listed(tmp_path / "a.tar")
    assert time.process_time() - began < 10
    assert set(contents(listing)) >= set(IMAGES) and len(listing.images) <= 13


def test_random_damage_never_raises_and_members_stay_inside_the_file(tmp_path):
    content = write_tar(tmp_path / "a.tar", IMAGES, tarfile.PAX_FORMAT).read_bytes()
    generator = random.Random(0)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(generator.choice([1, 5, 50])):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        (tmp_path / "a.tar").write_bytes(damaged)
        for member in listed(tmp_path / "a.tar").images:
            assert isinstance(member, ShardMember)
            assert 0 <= member.offset <= member.offset + member.length <= len(damaged)


# -- reading


def test_members_give_the_store_that_loose_files_give(few_photos, tmp_path):
    files = list_images([few_photos]).images
    write_tar(tmp_path / "a.tar", {f"{index:03d}.jpg": f.path.read_bytes() for index, f in enumerate(files[:20])})
    write_tar(tmp_path / "b.tar", {f"{index:03d}.jpg": f.path.read_bytes() for index, f in enumerate(files[20:])})
    loose, packed = load_store(files, 24, workers=0), load_store(listed(tmp_path).images, 24, workers=2)
    np.testing.assert_array_equal(loose.pixels, packed.pixels)
    np.testing.assert_array_equal(loose.aspect, packed.aspect)
    assert loose.fingerprint() == packed.fingerprint() and packed.files[25].label == tmp_path / "b.tar" / "005.jpg"


def test_broken_members_are_rejected_by_name(tmp_path):
    shard = write_tar(tmp_path / "a.tar", {**IMAGES, "broken.jpg": b"no picture", "empty.png": b""})
    store = load_store(listed(shard).images, 16)
    assert len(store) == len(IMAGES)
    assert [(file.label, "not an image" in reason) for file, reason in store.rejected] == [
        (shard / "broken.jpg", True),
        (shard / "empty.png", True),
    ]


def test_an_archive_that_changes_after_listing_is_noticed(tmp_path, monkeypatch):
    shard = write_tar(tmp_path / "a.tar", IMAGES)
    member = listed(shard).images[0]
    assert isinstance(member, ShardMember)
    monkeypatch.setattr(tar_archives, "LARGEST_MEMBER", member.length - 1)
    with pytest.raises(ImageError, match="too large"):
        read_member(member)
    monkeypatch.undo()
    os.utime(shard, ns=(0, member.mtime_ns + 1))
    with pytest.raises(ImageError, match="changed") as raised:
        read_member(member)
    assert not raised.value.lasting
    shard.unlink()
    with pytest.raises(ImageError, match="gone"):
        read_member(member)
