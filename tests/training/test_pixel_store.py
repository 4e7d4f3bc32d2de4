"""From folders to pixels in memory: listing files, working on them in other processes, the store."""

import hashlib
import itertools
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.images import worker_pool
from simsiam_retrieval.images.files import ImageFile, list_images
from simsiam_retrieval.images.worker_pool import Workers, available_cpus, map_chunks
from simsiam_retrieval.training import decode_squares, pixel_store
from simsiam_retrieval.training.pixel_store import fits_in_memory, load_store

# Worker processes import this module: nothing heavy at its top, functions for them at module level.


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# -- images/files.py


def test_listing_takes_images_by_suffix_sorted_with_size_and_time(tmp_path):
    names = ["b.JPG", "a.jpeg", "sub/deep/c.png", "sub/d.WebP", "z.heic", "e.tif", "f.avif", "g.gif", "h.bmp"]
    files = [touch(tmp_path / name, b"x" * (index + 1)) for index, name in enumerate(names)]
    others = ["notes.txt", "movie.mp4", "no-suffix", "jpg", "x.jpg.bak", "page.svg", "doc.pdf", "raw.ps"]
    for name in others:
        touch(tmp_path / name)
    listing = list_images([tmp_path])
    assert [image.path for image in listing.images] == sorted(files)
    assert listing.other == len(others) and listing.unreadable == []
    for image in listing.images:
        status = image.path.stat()
        assert (image.size, image.mtime_ns) == (status.st_size, status.st_mtime_ns)
        assert image.path.is_absolute()


def test_hidden_files_and_folders_are_left_out(tmp_path):
    shown = touch(tmp_path / "shown.jpg")
    for name in [".hidden.jpg", "._resource-fork.jpg", ".thumbnails/t.jpg", "sub/.trash/deep/t.jpg"]:
        touch(tmp_path / name)
    listing = list_images([tmp_path])
    assert [image.path for image in listing.images] == [shown]
    assert listing.other == 0


def test_a_hidden_root_is_meant_when_it_is_named(tmp_path):
    file = touch(tmp_path / ".photos" / "a.jpg")
    assert [image.path for image in list_images([tmp_path / ".photos"]).images] == [file]


def test_fifos_and_sockets_are_reported_and_never_listed(tmp_path, monkeypatch):
    good = touch(tmp_path / "good.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    monkeypatch.chdir(tmp_path)  # a socket's name may have 107 bytes at most
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        listing = list_images([tmp_path])
    assert [image.path for image in listing.images] == [good]
    assert {path.name for path, _ in listing.unreadable} == {"pipe.jpg", "socket.png"}


def test_a_fifo_as_root_is_not_an_image(tmp_path):
    """Opening it would block for ever."""
    os.mkfifo(tmp_path / "pipe.jpg")
    try:
        listing = list_images([tmp_path / "pipe.jpg"])
    except UserError:
        return
    assert listing.images == [] and len(listing.unreadable) == 1


def test_links_to_files_count_and_links_to_folders_do_not(tmp_path):
    original = touch(tmp_path / "photos" / "a.jpg")
    link = tmp_path / "photos" / "link.jpg"
    link.symlink_to(original)
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos")  # a circle
    (tmp_path / "photos" / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    loop = tmp_path / "photos" / "loop.jpg"
    loop.symlink_to(loop)
    listing = list_images([tmp_path / "photos"])
    assert [image.path for image in listing.images] == [original, link]
    assert {path.name for path, _ in listing.unreadable} == {"broken.jpg", "loop.jpg"}


def test_a_root_may_be_a_link_to_a_folder(tmp_path):
    touch(tmp_path / "photos" / "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    assert [image.path for image in list_images([tmp_path / "link"]).images] == [tmp_path / "link" / "a.jpg"]


@pytest.mark.parametrize("name", ["gone", "gone/deeper", "loop"])
def test_a_root_that_is_not_there(tmp_path, name):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="no such file or folder"):
        list_images([tmp_path / name])


def test_roots_named_twice_or_inside_each_other_count_once(tmp_path):
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "sub" / "b.jpg")
    roots = [tmp_path, tmp_path, tmp_path / "sub", tmp_path / "a.jpg", tmp_path / "sub" / ".." / "sub"]
    assert [image.path.name for image in list_images(roots).images] == ["a.jpg", "b.jpg"]


def test_a_root_may_be_a_file(tmp_path):
    image, text = touch(tmp_path / "a.jpg"), touch(tmp_path / "a.txt")
    assert [found.path for found in list_images([image]).images] == [image]
    listing = list_images([text])
    assert listing.images == [] and listing.other == 1


def test_relative_roots_and_tilde(tmp_path, monkeypatch):
    file = touch(tmp_path / "photos" / "a.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for root in ("photos", "./photos/", "~/photos"):
        assert [image.path for image in list_images([Path(root)]).images] == [file]


def test_names_that_are_not_utf8(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    touch(tmp_path / "café.jpg")
    listing = list_images([tmp_path])
    assert {os.fsencode(image.path.name) for image in listing.images} == {b"caf\xe9.jpg", "café.jpg".encode()}


def test_folders_without_permission_are_reported(open_folder, unprivileged):
    good = touch(open_folder / "good.jpg")
    for name, mode in (("closed", 0), ("names-only", 0o444), ("no-names", 0o111)):
        touch(open_folder / name / "a.jpg")
        (open_folder / name).chmod(mode)
    try:
        with unprivileged():
            listing = list_images([open_folder])
    finally:
        for folder in open_folder.iterdir():
            folder.chmod(0o755)
    assert [image.path for image in listing.images] == [good]
    parts = {path.relative_to(open_folder).parts[0] for path, _ in listing.unreadable}
    assert parts == {"closed", "names-only", "no-names"}
    assert all(reason for _, reason in listing.unreadable)


@pytest.mark.parametrize("below", ["", "inside", "a.jpg"])
def test_a_root_without_permission_is_the_user_s_to_mend(open_folder, unprivileged, below):
    closed = open_folder / "closed"
    touch(closed / "inside" / "a.jpg")
    touch(closed / "a.jpg")
    closed.chmod(0)
    try:
        with unprivileged(), pytest.raises(UserError, match="permission"):
            list_images([closed / below])
    finally:
        closed.chmod(0o755)


def test_a_file_that_vanishes_while_listing_is_reported(tmp_path, monkeypatch):
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "b.jpg")
    # is_file() has just said yes; the next look finds it gone
    monkeypatch.setattr(Path, "is_file", lambda self, **options: True)
    (tmp_path / "a.jpg").rename(tmp_path / "moved.txt")
    (tmp_path / "a.jpg").symlink_to("nowhere")
    listing = list_images([tmp_path])
    assert [image.path.name for image in listing.images] == ["b.jpg"]
    assert [path.name for path, _ in listing.unreadable] == ["a.jpg"]
    monkeypatch.undo()  # or the test's own folder could not be removed


# -- images/worker_pool.py


def double(numbers: list[int]) -> list[int]:
    return [2 * number for number in numbers]


def double_slowly_at_first(numbers: list[int]) -> list[int]:
    time.sleep(0.3 if 0 in numbers else 0)
    return double(numbers)


def where(numbers: list[int]) -> list[int]:
    return [os.getpid()] * len(numbers)


def die_or_hang(numbers: list[int]) -> list[int]:
    for number in numbers:
        if number in (13, 14, 30):
            os._exit(3)
        if number == 21:
            time.sleep(600)
    return double(numbers)


def refuse_17(numbers: list[int]) -> list[int]:
    if 17 in numbers:
        raise ZeroDivisionError("17")
    return double(numbers)


_started_with: str | None = None


def start(value: str) -> None:
    global _started_with
    _started_with = value


def started_with(numbers: list[int]) -> list[str | None]:
    return [_started_with] * len(numbers)


def flat(chunks) -> list:
    return list(itertools.chain.from_iterable(chunks))


def fail_if_lost(item: int, reason: str) -> Any:
    raise AssertionError(f"{item} was lost: {reason}")


def test_chunks_come_in_order():
    numbers = list(range(50))
    chunks = list(
        map_chunks(double_slowly_at_first, numbers, lost=fail_if_lost, workers=2, chunk_size=7, seconds_per_item=60)
    )
    assert [len(chunk) for chunk in chunks] == [7] * 7 + [1]
    assert flat(chunks) == [2 * number for number in numbers]


def test_few_items_go_to_one_worker(monkeypatch):
    """Whatever the decoder does to them, the caller lives on."""
    monkeypatch.setattr(worker_pool, "default_workers", lambda: 4)
    started = []
    monkeypatch.setattr(
        worker_pool, "Workers", lambda count, **options: started.append(count) or Workers(count, **options)
    )
    lost: list[int] = []
    found = flat(map_chunks(die_or_hang, [12, 13], lost=lambda item, reason: lost.append(item) or -1))
    assert (found, lost, started) == ([24, -1], [13], [1])
    assert list(map_chunks(where, [], lost=fail_if_lost)) == [] and started == [1]


@pytest.mark.parametrize("workers", [-1, 99_999_999])
def test_numbers_of_workers_that_make_no_sense(workers):
    with pytest.raises(UserError, match=f"--workers {workers}"):
        list(map_chunks(where, [1], lost=fail_if_lost, workers=workers))


def test_no_workers_means_this_process():
    chunks = list(map_chunks(where, range(100), lost=fail_if_lost, workers=0))
    assert set(flat(chunks)) == {os.getpid()}


def test_many_items_go_to_as_many_workers_as_asked_with_their_initializer():
    options = {"lost": fail_if_lost, "workers": 2, "chunk_size": 8}
    pids = set(flat(map_chunks(where, range(24), **options)))
    assert os.getpid() not in pids and 1 <= len(pids) <= 2
    values = flat(map_chunks(started_with, range(30), initializer=start, initargs=("hello",), **options))
    assert values == ["hello"] * 30
    assert _started_with is None


def test_the_initializer_runs_here_too_when_the_work_does():
    values = flat(
        map_chunks(started_with, range(3), lost=fail_if_lost, workers=0, initializer=start, initargs=("here",))
    )
    start(None)  # type: ignore[arg-type]
    assert values == ["here"] * 3


def test_dead_and_hanging_workers_lose_only_their_item():
    lost: dict[int, str] = {}

    def note(item: int, reason: str) -> int:
        lost[item] = reason
        return -item

    began = time.monotonic()
    chunks = list(map_chunks(die_or_hang, range(40), lost=note, workers=2, chunk_size=4, seconds_per_item=3))
    assert time.monotonic() - began < 120
    results = flat(chunks)
    assert results == [-number if number in (13, 14, 21, 30) else 2 * number for number in range(40)]
    assert sorted(lost) == [13, 14, 21, 30]
    assert "crashed" in lost[13] and "crashed" in lost[14] and "crashed" in lost[30]
    assert "took over" in lost[21]


@pytest.mark.parametrize("workers", [0, 2])
def test_exceptions_of_the_function_are_raised_here(workers):
    with pytest.raises(ZeroDivisionError, match="17"):
        list(map_chunks(refuse_17, range(40), lost=fail_if_lost, workers=workers, chunk_size=4))


def children() -> set[int]:
    """Process ids of this process's children, but for multiprocessing's own resource tracker."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            command = Path("/proc", pid, "cmdline").read_bytes()
            if b"resource_tracker" not in command and command:
                found.add(int(pid))
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_workers_are_gone_after_the_reader_gives_up():
    before = children()
    chunks = map_chunks(where, range(1000), lost=fail_if_lost, workers=2, chunk_size=1)
    worker = next(chunks)[0]
    assert worker in children() - before
    chunks.close()  # type: ignore[attr-defined]
    assert children() <= before


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_available_cpus_respects_affinity():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert available_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert available_cpus() == len(allowed)


# -- training/pixel_store.py


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


SIZES = [(40, 30), (30, 40), (16, 16), (200, 20), (7, 90)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures of several shapes and two broken files."""
    for index, size in enumerate(SIZES):
        picture(index, size).save(tmp_path / f"{index}.png")
    touch(tmp_path / "1-broken.jpg", b"no picture")
    touch(tmp_path / "9-empty.png", b"")
    return tmp_path


def test_pixels_are_the_whole_pictures_squashed(folder):
    store = load_store(list_images([folder]).images, 24)
    assert len(store) == 5 and store.pixels.shape == (5, 24, 24, 3) and store.pixels.dtype == np.uint8
    for index, size in enumerate(SIZES):
        expected = np.asarray(picture(index, size).resize((24, 24), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(store.pixels[index], expected)
        assert store.aspect[index] == pytest.approx(size[0] / size[1])
        assert store.files[index].path.name == f"{index}.png"


def test_rejected_files_are_listed_with_their_reasons(folder):
    store = load_store(list_images([folder]).images, 24)
    assert [file.path.name for file, _ in store.rejected] == ["1-broken.jpg", "9-empty.png"]
    assert all("not an image" in reason for _, reason in store.rejected)


def test_large_jpegs_are_close_to_their_full_decode(tmp_path):
    gradient = np.linspace(0, 255, 1200).astype(np.uint8)
    pixels = np.stack(
        [np.tile(gradient, (900, 1)), np.tile(gradient[:900, None], (1, 1200)), np.full((900, 1200), 99)], 2
    )
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    store = load_store(list_images([tmp_path]).images, 32)
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR), int)
    assert np.abs(store.pixels[0] - expected).max() <= 2
    assert store.aspect[0] == pytest.approx(4 / 3)


def test_nothing_usable_is_the_user_s_to_mend(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        touch(tmp_path / name, b"no picture")
    with pytest.raises(UserError, match=r"none of the 2 image files could be read.*a\.jpg: not an image"):
        load_store(list_images([tmp_path]).images, 16)


def test_files_that_are_gone_are_rejected(folder):
    files = list_images([folder]).images
    (folder / "2.png").unlink()
    store = load_store(files, 16)
    assert (folder / "2.png", "the file is gone") in [(file.path, reason) for file, reason in store.rejected]
    assert len(store) == 4


def test_what_fits_is_less_than_half_of_the_free_memory(monkeypatch):
    monkeypatch.setattr(pixel_store, "free_memory", lambda: 2 * 10 * 3 * 24 * 24)
    assert fits_in_memory(9, 24) and not fits_in_memory(10, 24) and not fits_in_memory(9, 26)


def test_images_are_taken_by_index_as_copies(folder):
    store = load_store(list_images([folder]).images, 24)
    before = store.pixels[np.arange(5)]
    taken = store.take(np.array([3, 0, 3]))
    np.testing.assert_array_equal(taken, before[[3, 0, 3]].transpose(0, 3, 1, 2))
    taken[:] = 0
    np.testing.assert_array_equal(store.pixels, before)


def test_the_fingerprint_is_made_of_digests_of_the_pixels(folder):
    """By its definition, from the pixels alone; and the first version's, which old run folders hold."""
    store = load_store(list_images([folder]).images, 24)
    digests = [hashlib.sha256(row.tobytes()).digest() for row in store.pixels]
    assert [row.tobytes() for row in store.digests] == digests
    expected = "2:" + hashlib.sha256(b"(5, 24, 24, 3)" + b"".join(digests)).hexdigest()[:16]
    first = hashlib.sha256(b"(5, 3, 24, 24)" + store.take(np.arange(5)).tobytes()).hexdigest()[:16]
    assert (store.fingerprint(), store.fingerprint_1()) == (expected, first)
    assert store.has_fingerprint(expected) and store.has_fingerprint(first)
    assert not any(map(store.has_fingerprint, (None, "", first[:-1], "2:" + first, "3:" + expected[2:])))


def test_what_is_known_to_be_bad_is_not_tried_until_it_changes(folder, monkeypatch):
    files = list_images([folder]).images
    bad = {file.identity: reason for file, reason in load_store(files, 16).rejected}
    assert len(bad) == 2
    tried: list[Path] = []
    read = decode_squares.read_image
    monkeypatch.setattr(
        decode_squares, "read_image", lambda source, *options: tried.append(source) or read(source, *options)
    )
    shown: list[int] = []
    again = load_store(files, 16, known_bad=bad, progress=shown.append)
    assert {file.identity: reason for file, reason in again.rejected} == bad and sum(shown) == len(files)
    assert [path.name for path in tried] == [f"{index}.png" for index in range(5)]
    picture(9, (20, 20)).save(folder / "9-empty.png")
    changed = load_store(list_images([folder]).images, 16, known_bad=bad)
    assert [file.path.name for file, _ in changed.rejected] == ["1-broken.jpg"] and len(changed) == 6


def test_workers_give_what_this_process_gives(few_photos):
    files = list_images([few_photos]).images
    shown: list[int] = []
    here, there = load_store(files, 16, workers=0), load_store(files, 16, workers=2, progress=shown.append)
    np.testing.assert_array_equal(here.pixels, there.pixels)
    np.testing.assert_array_equal(here.aspect, there.aspect)
    assert here.files == there.files == files
    assert sum(shown) == len(files)


def test_the_fingerprint_follows_content_order_and_side_but_not_names(folder, tmp_path_factory):
    files = list_images([folder]).images
    original = load_store(files, 16).fingerprint()
    assert load_store(files, 16).fingerprint() == original
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for index, size in enumerate(SIZES):
        picture(index, size).save(elsewhere / f"renamed-{index}.png")
    assert load_store(list_images([elsewhere]).images, 16).fingerprint() == original
    others = [load_store(files[::-1], 16), load_store(files, 17), load_store(files[1:], 16)]
    touched = picture(0, SIZES[0])
    touched.putpixel((20, 15), (255, 0, 255))
    touched.save(folder / "0.png")
    others.append(load_store(files, 16))
    assert len({original, *(store.fingerprint() for store in others)}) == 5


def test_image_files_are_what_was_listed(folder):
    """A store keeps the listing's facts, so that a caller can tell whether a file has changed since."""
    files = list_images([folder]).images
    kept = load_store(files, 16).files
    assert all(isinstance(file, ImageFile) for file in kept)
    assert [file for file in files if "broken" not in file.path.name and "empty" not in file.path.name] == kept
