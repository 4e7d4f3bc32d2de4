"""Folders that cannot be read or written, and disks that are full: said in one line, and nothing is lost."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval import Collection
from tests.support.commands import refused
from tests.support.small_collections import index_arguments, indexed, painted
from tests.support.small_encoder import expected_vector, paint, small_encoder


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return small_encoder(tmp_path / "small.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return painted(tmp_path / "pictures", 3)


@pytest.fixture
def made(folder: Path, tmp_path: Path) -> Path:
    """The folder of a collection of ``folder``."""
    return indexed(folder, tmp_path / "made")


@pytest.fixture(scope="module")
def plain() -> list[str]:
    """What to put before a command so that file permissions count for it, also where the tests run as root."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv to run as less")
    caps = "-dac_override,-dac_read_search"
    prefix = ["setpriv", "--bounding-set", caps, "--inh-caps", caps]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no right to give up rights")
    return prefix


def run_plain(plain: list[str], command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    program = [*plain, sys.executable, "-m", f"simsiam_retrieval.{command}", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=100)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder with nothing in it, and no permission to write there."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    yield folder
    folder.chmod(0o755)


def test_no_permission_to_make_a_collection(plain, folder, encoder, locked):
    for target in (locked, locked / "collection"):
        refused(run_plain(plain, "index", *index_arguments(folder, encoder, target)), "locked")
    assert list(locked.iterdir()) == []


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_no_permission_to_read_the_folder(plain, folder, encoder, tmp_path, mode):
    folder.chmod(mode)
    done = run_plain(plain, "index", *index_arguments(folder, encoder, tmp_path / "collection"))
    folder.chmod(0o755)
    refused(done, "pictures")
    assert not (tmp_path / "collection").exists()


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_no_permission_to_read_a_subfolder(plain, folder, encoder, tmp_path, mode):
    paint(folder / "sub" / "x.jpg", 50)
    target = tmp_path / "collection"
    assert run_plain(plain, "index", *index_arguments(folder, encoder, target)).returncode == 0
    (folder / "sub").chmod(mode)
    (folder / "0.jpg").unlink()
    done = run_plain(plain, "index", *index_arguments(folder, None, target))
    (folder / "sub").chmod(0o755)
    assert (done.returncode, done.stdout) == (0, f"3 images in {target} (0 new, 0 changed, 1 gone, 1 unusable)\n")
    assert done.stderr.startswith(f"left out: {folder}/sub")
    with Collection.open(target) as collection:
        assert [item.path.name for item in collection] == ["1.jpg", "2.jpg", "x.jpg"]


def test_no_permission_to_read_a_file(plain, folder, encoder, tmp_path):
    (folder / "0.jpg").chmod(0o000)
    target = tmp_path / "collection"
    done = run_plain(plain, "index", *index_arguments(folder, encoder, target))
    assert done.stdout == f"2 images in {target} (2 new, 0 changed, 0 gone, 1 unusable)\n"
    assert "permission" in done.stderr
    with Collection.open(target) as collection:
        generation = collection.generation
        assert run_plain(plain, "index", "--collection", target).stdout == done.stdout.replace("2 new", "0 new")
        assert collection.generation == generation
        (folder / "0.jpg").chmod(0o644)  # neither its time nor its size changes
        done = run_plain(plain, "index", "--collection", target)
        assert done.stdout == f"3 images in {target} (0 new, 1 changed, 0 gone)\n"
        assert collection.failures() == []


def test_a_collection_that_may_only_be_read(plain, made, folder):
    for path in (*made.iterdir(), made):
        path.chmod(path.stat().st_mode & ~0o222)
    done = run_plain(plain, "search", folder / "1.jpg", "--collection", made, "-k", 1)
    paint(folder / "new.jpg", 50)
    update = run_plain(plain, "index", folder, "--collection", made)
    made.chmod(0o755)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder}/1.jpg\n   1   1.000  {folder}/1.jpg\n"
    refused(update, "permission")


READER = """
import sys
from simsiam_retrieval import Collection
collection = Collection.open(sys.argv[1])
print(len(collection), flush=True)
sys.stdin.readline()
print(len(collection), len(collection.search(sys.argv[2], k=1000)))
"""


def test_a_reader_without_permission_to_write_beside_an_update(plain, made, folder):
    for path in (*made.iterdir(), made):
        path.chmod(path.stat().st_mode & ~0o222)
    reader = subprocess.Popen(
        [*plain, sys.executable, "-c", READER, made, folder / "0.jpg"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "3\n"
    for path in (made, *made.iterdir()):
        path.chmod(path.stat().st_mode | 0o200)
    for number in range(100, 150):
        paint(folder / f"{number}.jpg", number)
    with Collection.open(made) as collection:
        assert collection.update([folder], workers=0).images == 53
    output, errors = reader.communicate("\n", timeout=60)
    assert "damaged" not in errors
    assert output in ("3 3\n", "53 53\n")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted disk that ``resize`` can make larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tests", disk]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("no right to mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """40 pictures with 15 to 20 KB of thumbnail each."""
    (tmp_path / "large").mkdir()
    for number in range(40):
        noise = np.random.default_rng(number).integers(0, 256, (200, 200, 3), np.uint8)
        noise[:, :, number % 3] = 255
        Image.fromarray(noise).save(tmp_path / "large" / f"{number}.jpg", quality=95)
    return tmp_path / "large"


@pytest.mark.parametrize("size", ["4k", "64k", "200k", "500k", "700k"])
def test_a_full_disk(run, large, encoder, small_disk, size):
    resize(small_disk, size)
    target = small_disk / "collection"
    refused(run("index", *index_arguments(large, encoder, target)), str(target))
    resize(small_disk, "30m")
    done = run("index", *index_arguments(large, encoder, target))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"40 images in {target} (")
    with Collection.open(target) as collection:
        assert len(collection) == 40
        for item in collection.items()[::8]:
            hit = collection.search(expected_vector(item.path), k=1)[0]
            assert hit.item == item
            assert hit.score == pytest.approx(1, abs=1e-5)
            assert collection.thumbnail(item.id) is not None


def test_a_disk_that_fills_up_in_an_update(run, large, encoder, made, small_disk, folder, tmp_path):
    resize(small_disk, "700k")
    target = Path(shutil.copytree(made, small_disk / "collection"))
    refused(run("index", *index_arguments(large, encoder, target)), "full")
    done = run("search", folder / "1.jpg", "--collection", target, "-k", 1)
    assert done.stdout.splitlines()[1:] == [f"   1   1.000  {folder}/1.jpg"], done.stderr
    resize(small_disk, "30m")
    assert run("index", large, "--collection", target).stdout.startswith(f"43 images in {target} (")


def test_a_disk_too_small_for_the_encoder(run, folder, encoder_file, small_disk):
    resize(small_disk, "6m")
    refused(run("index", *index_arguments(folder, encoder_file, small_disk / "collection")), "space")
    assert list(small_disk.iterdir()) == []
