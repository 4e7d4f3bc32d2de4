"""The cache of decoded images: nothing decoded twice, whatever is killed, full, damaged, or shared."""

import contextlib
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.images.files import ImageFile, list_images
from simsiam_retrieval.training import decode_squares, pixel_cache, pixel_cache_rows
from simsiam_retrieval.training.pixel_store import ImageStore, OrderedRows, load_store, open_store

SIDE = 16
ROW = 3 * SIDE * SIDE


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty small pictures of several shapes, and two broken files among them."""
    folder = tmp_path / "data"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(40):
        shape = (20 + index % 5, 24 - index % 7, 3)
        Image.fromarray(generator.integers(0, 256, shape, np.uint8)).save(folder / f"{index:02d}.png")
    (folder / "07-broken.jpg").write_bytes(b"no picture")
    (folder / "33-empty.png").write_bytes(b"")
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that this process decodes, as they come."""
    seen: list[str] = []
    read = decode_squares.read_image

    def noting(source, *options):
        seen.append(source.name)
        return read(source, *options)

    monkeypatch.setattr(decode_squares, "read_image", noting)
    return seen


def files_of(folder: Path) -> list[ImageFile]:
    return list_images([folder]).images


def load(folder: Path, cache: Path | None, **options) -> ImageStore:
    return load_store(files_of(folder), SIDE, cache=cache, workers=0, **options)


def inner(cache: Path, side: int = SIDE) -> Path:
    return cache / f"side-{side}-v{pixel_cache.FORMAT}"


def images_of(store: ImageStore) -> np.ndarray:
    return store.take(np.arange(len(store)))


def assert_same(a: ImageStore, b: ImageStore) -> None:
    np.testing.assert_array_equal(images_of(a), images_of(b))
    np.testing.assert_array_equal(a.aspect, b.aspect)
    np.testing.assert_array_equal(a.digests, b.digests)
    assert (a.files, a.rejected, a.fingerprint()) == (b.files, b.rejected, b.fingerprint())
    assert a.fingerprint_1() == b.fingerprint_1() and a.aspect.dtype == b.aspect.dtype


def assert_consistent(cache: Path, side: int = SIDE) -> int:
    """Every row that the catalog names is whole, by an independent look; returns how many there are."""
    folder, size = inner(cache, side), 3 * side * side
    if not (folder / "catalog.sqlite").exists():
        return 0
    with contextlib.closing(sqlite3.connect(folder / "catalog.sqlite")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = db.execute("SELECT row, digest FROM images WHERE row IS NOT NULL").fetchall()
    pixels = (folder / "pixels.bin").read_bytes() if rows else b""
    for row, digest in rows:
        assert hashlib.sha256(pixels[row * size : (row + 1) * size]).digest() == digest
    assert len({row for row, _ in rows}) == len(rows)
    return len(rows)


# -- what it is for


def test_a_cache_gives_what_decoding_gives_and_the_second_time_without_the_files(data, cache, reads):
    fresh = load(data, None)
    assert_same(load(data, cache), fresh)
    assert len(reads) == 2 * 42
    for file in files_of(data):  # as they were, by all that listing sees
        file.path.write_bytes(b"\0" * file.size)
        os.utime(file.path, ns=(0, file.mtime_ns))
    shown: list[int] = []
    again = load(data, cache, progress=shown.append)
    assert_same(again, fresh)
    assert len(reads) == 2 * 42 and sum(shown) == 42
    assert_same(open_store(files_of(data), SIDE, cache), fresh)
    assert isinstance(again.pixels, np.memmap) and not again.pixels.flags.writeable
    assert assert_consistent(cache) == 40 and (inner(cache) / "pixels.bin").stat().st_size == 40 * ROW


def test_workers_fill_it_alike(data, cache):
    assert_same(load_store(files_of(data), SIDE, cache=cache, workers=2), load(data, None))
    assert_consistent(cache)


def test_parts_and_other_orders_of_what_is_there(data, cache, reads):
    load(data, cache)
    del reads[:]
    files = files_of(data)
    random.Random(1).shuffle(files)
    for part in (files, files[:9], files[9:], files[:1]):
        cached = load_store(part, SIDE, cache=cache)
        assert reads == []
        assert_same(cached, load_store(part, SIDE, workers=0))
        del reads[:]
    indices = np.array([5, 0, 5, 3])
    cached = load_store(files, SIDE, cache=cache)
    np.testing.assert_array_equal(cached.take(indices), images_of(cached)[indices])
    pixels = cached.pixels
    assert cached.in_file and isinstance(pixels, OrderedRows)  # which numpy and torch do not take for an array
    assert (pixels.shape, pixels.dtype, len(pixels)) == ((40, SIDE, SIDE, 3), np.uint8, 40)
    assert pixels.nbytes == images_of(cached).nbytes
    np.testing.assert_array_equal(pixels[3].transpose(2, 0, 1), images_of(cached)[3])
    np.testing.assert_array_equal(pixels[5:9].transpose(0, 3, 1, 2), images_of(cached)[5:9])
    cached.take(indices)[:] = 0  # a copy, and writeable
    assert_consistent(cache)


def test_a_changed_file_gets_a_new_row_and_others_are_not_read(data, cache, reads):
    before = load(data, cache)
    del reads[:]
    Image.new("RGB", (30, 10), "red").save(data / "05.png")
    Image.new("RGB", (30, 10), "blue").save(data / "99.png")
    after = load(data, cache)
    assert reads == ["05.png", "99.png"]
    assert_same(after, load(data, None))
    assert after.fingerprint() != before.fingerprint()
    assert assert_consistent(cache) == 42


def test_each_side_has_its_own_rows(data, cache):
    small, large = load(data, cache), load_store(files_of(data), 20, cache=cache, workers=0)
    assert large.pixels.shape[1:] == (20, 20, 3)
    assert_same(load(data, cache), small)


def test_names_that_are_not_utf8_and_times_past_2262(data, cache, reads):
    odd = data / os.fsdecode(b"caf\xe9.png")
    (data / "00.png").rename(odd)
    file = ImageFile(odd, odd.stat().st_size, 2**63 + 5)
    for _ in range(2):
        assert len(load_store([file], SIDE, cache=cache)) == 1
    assert len(reads) == 1


# -- bad files


def test_bad_files_are_tried_again_only_when_they_or_the_decoder_change(data, cache, reads, monkeypatch):
    first = load(data, cache)
    assert [file.path.name for file, _ in first.rejected] == ["07-broken.jpg", "33-empty.png"]
    del reads[:]
    assert load(data, cache).rejected == first.rejected and reads == []
    os.utime(data / "07-broken.jpg", ns=(0, 1))
    assert [reason for _, reason in load(data, cache).rejected] == [reason for _, reason in first.rejected]
    assert reads == ["07-broken.jpg"]
    for module in (pixel_cache, pixel_cache_rows):  # one reads it, the other writes it
        monkeypatch.setattr(module, "DECODER", "Pillow of tomorrow")
    load(data, cache)
    load(data, cache)
    assert sorted(reads[1:]) == ["07-broken.jpg", "33-empty.png"]


def test_reasons_that_may_pass_are_tried_again(data, cache, reads):
    away = data.parent / "00.png"
    files = files_of(data)
    (data / "00.png").rename(away)
    store = load_store(files, SIDE, cache=cache, workers=0)
    assert (files[0], "the file is gone") in store.rejected
    assert open_store(files, SIDE, cache).rejected == store.rejected  # what the one that filled it saw
    del reads[:]
    away.rename(data / "00.png")
    assert_same(load_store(files, SIDE, cache=cache, workers=0), load(data, None))
    assert reads[0] == "00.png" and assert_consistent(cache) == 40


def test_what_a_run_knows_to_be_bad_is_neither_decoded_nor_missed(data, cache, reads):
    """It may differ from what the cache knows: here it has not seen the files."""
    files = files_of(data)
    bad = {files[4].identity: "as before", files[0].identity: "as before"}
    store = load_store(files, SIDE, cache=cache, workers=0, known_bad=bad)
    assert len(reads) == 40 and len(store) == 38
    assert [file.path.name for file, _ in store.rejected] == ["00.png", "04.png", "07-broken.jpg", "33-empty.png"]
    assert_same(open_store(files, SIDE, cache, bad), store)
    assert_same(load_store(files, SIDE, workers=0, known_bad=bad), store)
    with pytest.raises(UserError, match="lacks 2 of 42"):
        open_store(files, SIDE, cache)


def test_nothing_usable_is_one_line(tmp_path, cache):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    for _ in range(2):
        with pytest.raises(UserError, match=r"none of the 1 image files could be read.*a\.jpg: not an image"):
            load_store(files_of(tmp_path), SIDE, cache=cache)


# -- interrupted


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images a chunk."""
    monkeypatch.setattr(decode_squares, "CHUNK_SIZE", 4)


@pytest.mark.usefixtures("small_steps")
def test_ctrl_c_keeps_what_was_decoded(data, cache, reads):
    done = 0

    def stop_in_the_middle(count: int) -> None:
        nonlocal done
        done += count
        if done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(data, cache, progress=stop_in_the_middle)
    assert len(reads) == 20 and assert_consistent(cache) == 19  # and a broken one
    with pytest.raises(UserError, match="lacks 22 of 42 images"):
        open_store(files_of(data), SIDE, cache)
    assert_same(load(data, cache), load(data, None))
    assert len(reads) == 42 + 42


CHILD = """
import sys, time
from pathlib import Path
from simsiam_retrieval.training import pixel_cache_rows, decode_squares
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.training.pixel_store import load_store
decode_squares.CHUNK_SIZE = 2
pixel_cache_rows.COMMIT_BYTES = 1  # every chunk
seconds, side, gate = float(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
read, count = decode_squares.read_image, 0
def noting(source, *options):
    global count
    count += 1
    time.sleep(seconds)
    while gate and count > 10 and not Path(gate).exists():
        time.sleep(0.01)
    return read(source, *options)
decode_squares.read_image = noting
def say(text):
    print(text, flush=True)
def progress(done):
    if done:
        say("progress")
try:
    store = load_store(list_images([Path(sys.argv[1])]).images, side, cache=Path(sys.argv[2]), workers=0,
                       progress=progress, remark=say)
    say(f"decoded {count} of {len(store)}: {store.fingerprint()}")
except Exception as error:
    say(f"{type(error).__name__} {error}")
"""


def child(
    data: Path, cache: Path, seconds: float = 0, side: int = SIDE, gate: Path | str = "", **options
) -> subprocess.Popen[str]:
    """A process that fills the cache, two images at a time; after ten it waits until the file ``gate`` is there."""
    command = [sys.executable, "-c", CHILD, *map(str, (data, cache, seconds, side, gate))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def test_a_process_killed_at_any_time_leaves_it_consistent_and_the_next_goes_on(data, cache):
    generator, counts = random.Random(0), [0]
    for attempt in range(5):
        process = child(data, cache, 0.03)
        assert process.stdout is not None
        for _ in range(1 + (attempt > 0)):  # what is there counts as progress, too
            assert "progress" in process.stdout.readline()
        time.sleep(generator.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        counts.append(assert_consistent(cache))
    assert counts == sorted(counts) and 0 < counts[1] < 40 and counts[-1] > counts[1]  # each went on
    with (inner(cache) / "pixels.bin").open("ab") as file:  # as a crash after writing and before committing
        file.write(b"half a row")
    with contextlib.closing(sqlite3.connect(inner(cache) / "catalog.sqlite")) as db:
        known = db.execute("SELECT count(*) FROM images").fetchone()[0]
    out, _ = child(data, cache).communicate(timeout=60)
    expected = load(data, None)
    assert out.splitlines()[-1] == f"decoded {42 - known} of 40: {expected.fingerprint()}"
    assert assert_consistent(cache) == 40
    assert_same(open_store(files_of(data), SIDE, cache), expected)


@pytest.mark.parametrize("rows", [15.5, 0.3], ids=["pixels", "catalog"])
def test_a_full_disk_is_one_line_and_keeps_what_fits(data, cache, rows):
    """A limit on file sizes stands for it: for so many rows; with the smaller one the catalog cannot grow either."""
    resource = pytest.importorskip("resource")
    side = 128
    limit = int(rows * 3 * side * side)
    process = child(
        data, cache, side=side, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    out, _ = process.communicate(timeout=60)
    last = out.splitlines()[-1]
    assert last.startswith("UserError ") and str(cache) in last and "full" in last and "Traceback" not in out
    kept = assert_consistent(cache, side)
    assert int(rows) - 2 < kept <= rows
    out, _ = child(data, cache, side=side).communicate(timeout=60)
    expected = load_store(files_of(data), side, workers=0)
    assert out.splitlines()[-1] == f"decoded {42 - kept - (kept > 7)} of 40: {expected.fingerprint()}"
    assert assert_consistent(cache, side) == 40


def test_a_disk_that_is_too_small_shows_before_decoding(data, cache, reads, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 41 * (ROW + pixel_cache.CATALOG_BYTES)))
    with pytest.raises(UserError, match=r"42 images at 16 px need .* MB are free; .*--cache"):
        load(data, cache)
    assert reads == []
    load_store(files_of(data)[:10], SIDE, cache=cache, workers=0)
    load(data, cache)  # only the rest needs room


# -- shared


def test_two_processes_at_once_decode_each_image_once(data, cache):
    gate = data.parent / "gate"
    first = child(data, cache, gate=gate)
    assert first.stdout is not None and "progress" in first.stdout.readline()
    second = child(data, cache)
    assert second.stdout is not None and "another process is decoding" in second.stdout.readline()
    gate.touch()
    outs = [process.communicate(timeout=120)[0] for process in (first, second)]
    fingerprint = load(data, None).fingerprint()
    assert outs[0].splitlines()[-1] == f"decoded 42 of 40: {fingerprint}"
    assert outs[1].splitlines()[-1] == f"decoded 0 of 40: {fingerprint}"
    assert "another process" not in outs[0]
    assert assert_consistent(cache) == 40


def fingerprint_of(folder: Path, cache: Path) -> str:
    return open_store(files_of(folder), SIDE, cache).fingerprint()


def test_several_processes_open_what_one_has_filled(data, cache):
    expected = load(data, cache).fingerprint()
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        opened = [pool.submit(fingerprint_of, data, cache) for _ in range(6)]
        assert {future.result(timeout=60) for future in opened} == {expected}


@pytest.mark.parametrize("name", ["a b?c#d%41", os.fsdecode(b"caf\xe9"), "line\nbreak"])
def test_odd_names_of_caches(data, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = load(data, Path(name))
    assert_same(load(data, tmp_path / name), first)
    assert_consistent(tmp_path / name)


def test_readers_of_finished_rows_do_not_wait_for_a_writer(data, cache):
    done = files_of(data)[:10]
    expected = load_store(done, SIDE, cache=cache, workers=0)
    with FileLock(inner(cache) / ".lock"):
        assert_same(open_store(done, SIDE, cache), expected)
        assert_same(load_store(done, SIDE, cache=cache), expected)


def test_reading_needs_no_permission_to_write(open_folder, unprivileged):
    data, cache = open_folder / "data", open_folder / "cache"
    data.mkdir()
    for index in range(3):
        Image.new("RGB", (20, 20), (index, 0, 0)).save(data / f"{index}.png")
    expected = load(data, cache)
    for path in (cache, inner(cache)):
        path.chmod(0o555)
    for path in inner(cache).iterdir():
        path.chmod(0o444)
    Image.new("RGB", (20, 20), "red").save(open_folder / "other.png")
    try:
        with unprivileged():
            assert_same(open_store(files_of(data), SIDE, cache), expected)
            assert_same(load(data, cache), expected)
            with pytest.raises(UserError, match=r"permission.*--cache"):
                load(open_folder, cache)
            with pytest.raises(UserError, match=r"permission.*--cache"):
                load(data, cache / "new")
    finally:
        for path in (cache, inner(cache)):
            path.chmod(0o755)


def test_opening_what_is_not_there(data, cache):
    with pytest.raises(UserError, match="no decoded images"):
        open_store(files_of(data), SIDE, cache)
    assert not cache.exists()


# -- damaged


@pytest.fixture
def filled(data: Path, cache: Path) -> Iterator[Path]:
    """The inner folder of a full cache."""
    load(data, cache)
    yield inner(cache)


@pytest.mark.parametrize("how", ["garbage", "cut", "empty", "another database", "page"])
def test_a_damaged_catalog_is_named(data, cache, filled, how):
    catalog = filled / "catalog.sqlite"
    content = catalog.read_bytes()
    if how == "garbage":
        catalog.write_bytes(os.urandom(5000))
    elif how == "cut":
        catalog.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        catalog.write_bytes(b"")
    elif how == "page":
        catalog.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    else:
        catalog.unlink()
        with contextlib.closing(sqlite3.connect(catalog)) as db:
            db.execute("CREATE TABLE meta (key, value)")
    for attempt in (lambda: load(data, cache), lambda: open_store(files_of(data), SIDE, cache)):
        with pytest.raises(UserError, match=r"catalog\.sqlite: damaged .*delete .*side-16") as raised:
            attempt()
        assert "\n" not in str(raised.value)
    shutil.rmtree(filled)  # as the line says
    assert_same(load(data, cache), load(data, None))


def test_rows_that_pixels_are_too_short_for_are_decoded_again(data, cache, filled, reads):
    os.truncate(filled / "pixels.bin", 25 * ROW + 7)
    with pytest.raises(UserError, match="lacks 15 of 42"):
        open_store(files_of(data), SIDE, cache)
    remarks: list[str] = []
    assert_same(load(data, cache, remark=remarks.append), load(data, None))
    assert len(reads) == 15 + 42
    assert len(remarks) == 1 and "pixels.bin: shorter" in remarks[0] and "15 images" in remarks[0]
    assert assert_consistent(cache) == 40


def test_lost_rows_of_other_images_do_not_come_back_as_somebody_else_s(data, cache, filled):
    """Rows that are added later must not be taken for rows that were lost."""
    os.truncate(filled / "pixels.bin", 10 * ROW)
    Image.new("RGB", (30, 10), "red").save(data / "99.png")
    load_store([file for file in files_of(data) if file.path.name == "99.png"], SIDE, cache=cache)
    assert assert_consistent(cache) == 11
    assert_same(load(data, cache), load(data, None))


@pytest.mark.parametrize("gone", ["pixels.bin", "catalog.sqlite"])
def test_one_of_the_two_files_is_gone(data, cache, filled, gone, reads):
    (filled / gone).unlink()
    assert_same(load(data, cache), load(data, None))
    assert len(reads) >= 40 + 42 and assert_consistent(cache) == 40


def test_pixels_of_another_cache_are_noticed(data, cache, filled):
    content = np.fromfile(filled / "pixels.bin", np.uint8)
    (content ^ 1).tofile(filled / "pixels.bin")
    for attempt in (lambda: load(data, cache), lambda: open_store(files_of(data), SIDE, cache)):
        with pytest.raises(UserError, match=r"pixels\.bin: damaged; delete"):
            attempt()


def test_a_folder_of_another_side_is_noticed(data, cache, filled):
    filled.rename(cache / f"side-20-v{pixel_cache.FORMAT}")
    with pytest.raises(UserError, match="damaged"):
        load_store(files_of(data), 20, cache=cache, workers=0)


def test_a_cache_that_is_a_file(data, tmp_path):
    (tmp_path / "file").write_text("thesis")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="--cache"):
            load(data, place)
    assert (tmp_path / "file").read_text() == "thesis"
