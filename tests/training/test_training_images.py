"""Where training images come from: tar archives, the cache, files that are known to be bad."""

import hashlib
import io
import json
import os
import shutil
import signal
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.training import decode_squares, pixel_store
from simsiam_retrieval.training.pixel_store import load_store
from simsiam_retrieval.training.run_files import read_metrics
from simsiam_retrieval.training.run_folder import Run
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.trainer import pretrain
from tests.support.small_runs import FAST, FAST_OPTIONS, refused, same, state, stop_in_step

pytestmark = pytest.mark.usefixtures("rows_by_epoch")


def pack(folder: Path, shard: Path) -> Path:
    """The images of a folder in a tar, in the order in which the folder lists, beside a label each."""
    with tarfile.open(shard, "w") as tar:
        for index, image in enumerate(list_images([folder]).images):
            for suffix, content in ((image.path.suffix, image.path.read_bytes()), (".cls", b"7")):
                info = tarfile.TarInfo(f"{index:06d}{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return shard


def rows_without_speed(run: Path) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row if key != "images_per_second"} for row in read_metrics(run)]


def test_shards_and_a_cache_give_the_run_that_loose_files_give(command, few_photos, tmp_path, finished):
    shard = pack(few_photos, tmp_path / "a.tar")
    options = ["--device", "cpu", "--workers", "0", "--cache", tmp_path / "cache", *FAST_OPTIONS]
    for name in ("filling", "filled"):
        outcome = command(shard, "--out", tmp_path / name, *options)
        assert outcome.code == 0, outcome.err
        assert same(state(tmp_path / name), state(finished))
        assert rows_without_speed(tmp_path / name) == rows_without_speed(finished.path)
        facts, expected = Run(tmp_path / name).read()["data"], finished.read()["data"]
        assert (facts["fingerprint"], facts["images"]) == (expected["fingerprint"], 38)
        assert facts["cache"] == str(tmp_path / "cache") and expected["cache"] is None
    seeded = command(shard, "--out", tmp_path / "seed", *options, "--seed", "1")
    assert seeded.code == 0 and not same(state(tmp_path / "seed")["model"], state(finished)["model"])


def test_a_resumed_run_finds_its_cache_and_opens_no_image(few_photos, tmp_path, monkeypatch, finished):
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(few_photos, data)
    (data / "broken.jpg").write_bytes(b"no picture")
    with monkeypatch.context() as patch:
        stop_in_step(patch, signal.SIGINT, 3)
        pretrain(FAST, [data], Options(out=out, cache=tmp_path / "cache", device="cpu", workers=0))
    for image in list_images([data]).images:
        image.path.write_bytes(b"\0" * image.size)
        os.utime(image.path, ns=(0, image.mtime_ns))
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert same(state(out), state(finished))


def test_files_that_were_rejected_are_not_tried_again_by_resume(few_photos, tmp_path, monkeypatch, capsys, finished):
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(few_photos, data)
    (data / "broken.jpg").write_bytes(b"no picture")
    (data / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"no picture either")
    with monkeypatch.context() as patch:
        stop_in_step(patch, signal.SIGINT, 3)
        pretrain(FAST, [data], Options(out=out, device="cpu", workers=0))
    lines = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert [os.fsencode(Path(line["path"]).name) for line in lines] == [b"broken.jpg", b"caf\xe9.jpg"]
    assert all("not an image" in line["reason"] and line["size"] > 0 and line["mtime_ns"] > 0 for line in lines)
    tried: list[str] = []
    read = decode_squares.read_image
    monkeypatch.setattr(
        decode_squares, "read_image", lambda path, *options: tried.append(path.name) or read(path, *options)
    )
    capsys.readouterr()
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert len(tried) == 38 and "broken.jpg" not in tried
    assert "2 files left out" in capsys.readouterr().err
    assert same(state(out), state(finished))
    os.utime(data / "broken.jpg", ns=(0, 0))
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert tried.count("broken.jpg") == 1
    (out / "rejected.jsonl").write_text('{"path": 3}\n[1]\n{"reason"\n')
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert tried.count("broken.jpg") == 2
    assert len((out / "rejected.jsonl").read_text().splitlines()) == 2


def test_a_run_without_rejected_files_has_no_list_of_them(finished):
    assert not finished.rejected_file.exists() and finished.read_rejected() == {}


def test_runs_of_the_first_version_resume(few_photos, tmp_path, monkeypatch, finished):
    """Their fingerprints are of all pixels, and they know nothing of caches."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_in_step(patch, signal.SIGINT, 3)
        pretrain(FAST, [few_photos], Options(out=out, device="cpu", workers=0))
    store = load_store(list_images([few_photos]).images, FAST.store_side, workers=0)
    pixels = hashlib.sha256(str((38, 3, 20, 20)).encode() + store.take(np.arange(38)).tobytes()).hexdigest()[:16]
    described = json.loads((out / "config.json").read_text())
    del described["data"]["cache"]
    for fingerprint in (pixels[::-1], None):
        described["data"]["fingerprint"] = fingerprint
        (out / "config.json").write_text(json.dumps(described))
        with pytest.raises(UserError, match="have changed"):
            pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    described["data"]["fingerprint"] = pixels
    (out / "config.json").write_text(json.dumps(described))
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert same(state(out), state(finished))


def test_what_does_not_fit_into_memory_is_kept_in_the_user_s_data_directory(
    command, few_photos, tmp_path, monkeypatch, home_dir, finished
):
    monkeypatch.setattr(pixel_store, "free_memory", lambda: 0)
    outcome = command(few_photos, "--out", tmp_path / "run", "--device", "cpu", "--workers", "0", *FAST_OPTIONS)
    assert outcome.code == 0 and str(home_dir / "cache") in outcome.err
    assert (home_dir / "cache" / "side-20-v1" / "pixels.bin").stat().st_size == 38 * 3 * 20 * 20
    assert same(state(tmp_path / "run"), state(finished))


def test_odd_archives_are_named_and_left_out(command, few_photos, tmp_path, finished):
    data = tmp_path / "data"
    data.mkdir()
    shard = pack(few_photos, data / "a.tar")
    shard.write_bytes(shard.read_bytes().rstrip(b"\0"))  # its end marker is gone, and the last label's padding
    (data / "b.tar.gz").write_bytes(b"x")
    (data / "c.tar").write_bytes(b"words")
    outcome = command(data, "--out", tmp_path / "run", "--device", "cpu", "--workers", "0", *FAST_OPTIONS)
    assert outcome.code == 0 and same(state(tmp_path / "run"), state(finished))
    assert "3 files left out" in outcome.err
    for line in ("a.tar: cut off", "b.tar.gz: a compressed archive; decompress it first", "c.tar: not a tar archive"):
        assert line in outcome.err
    shard.unlink()
    refused(command(data, "--out", "new", "--workers", "0"), "no image files", "b.tar.gz", "decompress it first")
    refused(command(data / "b.tar.gz", "--out", "new", "--workers", "0"), "b.tar.gz", "decompress it first")
    assert list(Path.cwd().iterdir()) == []


def test_a_cache_in_an_impossible_place(command, few_photos, tmp_path):
    (tmp_path / "file").write_text("thesis")
    refused(command(few_photos, "--cache", tmp_path / "file", "--workers", "0"), str(tmp_path / "file"), "--cache")
    assert list(Path.cwd().iterdir()) == []
