"""Drives at, above and below an indexed folder that are not mounted: their images are kept."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simsiam_retrieval import Collection
from simsiam_retrieval.images import mounts as mounts_module
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.images.mounts import mount_above, mount_table, share_of
from tests.support.small_encoder import names, paint, set_meta, small_encoder, summary


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """A function that mounts an empty disk; all are gone in the end."""
    places: list[Path] = []

    def mount(place: Path) -> None:
        place.mkdir(exist_ok=True, parents=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tests", place]
        if os.getuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
            pytest.skip("no right to mount a disk")
        places.append(place)

    yield mount
    for place in places:
        subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


def unmount(place: Path) -> None:
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))


def test_a_drive_below_an_indexed_folder(collection, folder, mount, run):
    """Its images are kept while it is away, whatever else lies in its place; other files are forgotten as ever."""
    nas = folder / "nas"
    mount(nas)
    pictures = [paint(nas / "deep" / f"{number}.jpg", 50 + number) for number in range(3)]
    assert summary(collection.update([folder], workers=0)) == (8, 0, 0, 8)
    pictures[0].unlink()
    assert summary(collection.update([folder], workers=0)) == (0, 0, 1, 7)  # mounted: gone is gone
    unmount(nas)
    (folder / "a.jpg").unlink()
    update = collection.update([folder], workers=0)
    assert (summary(update), update.held) == ((0, 0, 1, 6), [(nas, 2)])
    paint(nas / "saved here by mistake.jpg", 60)
    assert collection.preview().held == [(nas, 2)]
    update = collection.update(workers=0)
    assert (summary(update), update.held) == ((1, 0, 0, 7), [(nas, 2)])
    done = run("index", "--collection", collection.folder)
    assert done.stderr.startswith(f"{nas}: ") and "not mounted" in done.stderr and "2 images are kept" in done.stderr
    mount(nas)
    paint(nas / "back.jpg", 70)
    assert summary(collection.update([folder], workers=0)) == (1, 0, 3, 5)


def test_pruning_ends_it(collection, folder, mount):
    nas = folder / "nas"
    mount(nas)
    paint(nas / "x.jpg", 50)
    collection.update([folder], workers=0)
    unmount(nas)
    assert summary(collection.update([folder], prune=True)) == (0, 0, 1, 5)
    paint(nas / "y.jpg", 51)
    collection.update([folder], workers=0)
    (nas / "y.jpg").unlink()
    assert summary(collection.update([folder])) == (0, 0, 1, 5)  # an ordinary folder from now on


def test_a_mounted_drive_without_images_below_a_folder_with_images(collection, folder, mount):
    nas = folder / "nas"
    mount(nas)
    paint(nas / "x.jpg", 50)
    collection.update([folder], workers=0)
    (nas / "x.jpg").unlink()
    update = collection.update([folder])
    assert (summary(update), update.held) == ((0, 0, 1, 5), [])


def test_a_drive_above_the_indexed_folder(collection, tmp_path, mount):
    """Something of the same name in its place does not count as the drive."""
    drive = tmp_path / "drive"
    mount(drive)
    paint(drive / "photos" / "x.jpg", 50)
    collection.update([drive / "photos"], workers=0)
    unmount(drive)
    paint(drive / "photos" / "y.jpg", 51)
    update = collection.update([drive / "photos"], workers=0)
    assert (summary(update), update.held) == ((1, 0, 0, 2), [(drive, 1)])
    assert names(collection) == ["x.jpg", "y.jpg"]


def test_a_drive_that_comes_while_files_are_listed(collection, folder, mount):
    nas = folder / "nas"
    mount(nas)
    paint(nas / "x.jpg", 50)
    collection.update([folder], workers=0)
    unmount(nas)
    listing = list_images([folder])
    mount(nas)
    update = collection.update_listed([folder], listing, workers=0)
    assert (summary(update), update.held) == ((0, 0, 0, 6), [(nas, 1)])


def test_a_damaged_list_of_mount_points(collection, folder, run):
    set_meta(collection.folder, "mounts", "7")
    done = run("index", folder, "--collection", collection.folder)
    assert done.returncode == 2 and "damaged" in done.stderr


def test_only_mount_points_with_images_are_noted(collection, folder, mount):
    mount(folder / "empty")
    collection.update([folder], workers=0)
    database = sqlite3.connect(collection.folder / "catalog.sqlite")
    noted = dict(database.execute("SELECT key, value FROM meta")).get("mounts", "[]")
    database.close()
    assert str(folder / "empty") not in json.loads(noted)


# -- what the system says of its mounts


def test_mounts_of_this_system(tmp_path, mount):
    place = tmp_path / "with space"
    before = mount_above(place)
    mount(place)
    assert mount_above(place / "deep" / "er") == mount_above(place) == place
    assert mount_table()[place] == "tmpfs"
    unmount(place)
    assert mount_above(place) == before
    assert place not in mount_table()


def test_shares(tmp_path, monkeypatch):
    table = tmp_path / "mountinfo"
    table.write_bytes(
        b"21 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        b"40 21 0:50 / /home/me/a\\040b rw,nosuid shared:9 master:3 - nfs4 host:/photos rw,vers=4.2\n"
        b"41 21 0:51 /sub /mnt/\xff rw - fuse.sshfs me@host: rw\n"
    )
    monkeypatch.setattr(mounts_module, "MOUNT_TABLE", table)
    mounts = mount_table()
    assert mounts == {
        Path("/"): "ext4",
        Path("/home/me/a b"): "nfs4",
        Path(os.fsdecode(b"/mnt/\xff")): "fuse.sshfs",
    }
    assert share_of(Path("/home/me/a b/2019"), mounts) == "nfs4"
    assert share_of(Path("/home/me"), mounts) == "nfs4"  # below it
    assert share_of(Path("/home/you"), mounts) is None
    monkeypatch.setattr(mounts_module, "MOUNT_TABLE", tmp_path / "none")
    assert mount_table() == {}
    assert share_of(Path("/home"), {}) is None
