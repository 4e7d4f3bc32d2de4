"""Faults thrown at the package, and what became of them: lost, wrong in silence, or a traceback.

    python benchmarks/faults.py [--rounds 60] [--seed 0] [--out benchmarks/results/faults]

Each fault happens in a process of its own (forked, so that a thousand take minutes): it is killed at a random moment,
its disk is full, or bytes of its files are changed. Afterwards the collection must still hold every label and every
image, with the same vectors, at the latest after ``index --verify`` and an update; whatever was shown must be right.
Linux only; pictures are drawn, and the encoder is a small one, so nothing is needed but the package.
"""

import argparse
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fault_inputs import hostile_encoder, small_encoder
from PIL import Image

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.explore import projection
from simsiam_retrieval.collection.index.vector_index import VectorIndex
from simsiam_retrieval.collection.update.index_folders import index_folders

IMAGES = 24
LABELS = ("cat", "dög", 'a "b", c', "' OR 1=1 --", "<script>", "日本", "x" * 200)
COLUMNS = ("tried", "refused", "lost", "silent", "broke")  # the second: told in one line
SECONDS = 60.0  # for one attempt; more counts as a traceback
DIM = 192


@dataclass
class Ended:
    """How a forked process ended."""

    value: Any = None  # what it returned
    refused: str = ""  # the line of a UserError
    broke: str = ""  # a traceback, or the signal that was not ours
    killed: bool = False


def apart(function: Callable[[], Any], *, kill_after: float | None = None, file_bytes: int | None = None) -> Ended:
    """Run ``function`` in a forked process, killed after so many seconds, with files of so many bytes at most."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _in_child(function, writer, file_bytes)
    os.close(writer)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    content = b""
    deadline = time.monotonic() + SECONDS
    with os.fdopen(reader, "rb") as stream:
        while block := stream.read(2**16):
            content += block
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        ours = kill_after is not None and os.WTERMSIG(status) == signal.SIGKILL
        return Ended(killed=True, value=content) if ours else Ended(broke=f"signal {os.WTERMSIG(status)}")
    return pickle.loads(content)  # of our own process


def _in_child(function: Callable[[], Any], writer: int, file_bytes: int | None) -> None:
    ended = Ended()
    try:
        signal.alarm(int(SECONDS))
        if file_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        ended.value = function()
    except UserError as error:
        ended.refused = str(error)
    except OSError as error:  # commands say these in one line, too
        ended.refused = str(error)
    except BaseException:  # noqa: BLE001
        ended.broke = traceback.format_exc()
    with os.fdopen(writer, "wb") as stream:
        stream.write(pickle.dumps(ended))
    os._exit(0)


@dataclass
class Tally:
    """What became of the faults of one kind."""

    tried: int = 0
    lost: int = 0
    silent: int = 0
    broke: int = 0
    refused: int = 0  # told in one line
    notes: list[str] = field(default_factory=list)

    def note(self, what: str, seed: object, text: str) -> None:
        setattr(self, what, getattr(self, what) + 1)
        self.notes.append(f"{what}, seed {seed}: {text.strip()[-400:]}")


class Place:
    """A folder of pictures, a labelled collection of them, and what both hold."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pictures = folder, folder / "pictures"
        self.encoder = small_encoder(folder / "small.onnx")
        draw_pictures(self.pictures, range(IMAGES))
        self.original = folder / "original"
        made = apart(self._make)
        assert not made.broke and not made.refused, made
        self.labels, self.vectors = made.value
        self.query = np.random.default_rng(0).normal(size=DIM).astype(np.float32)
        self.nearest = apart(lambda: self.search(self.original)).value

    def _make(self) -> tuple[dict[str, str], dict[str, bytes]]:
        index_folders([self.pictures], self.original, str(self.encoder), workers=0)
        with Collection.open(self.original) as made:
            ids = [item.id for item in made]
            made.set_labels({ids[number]: label for number, label in enumerate(LABELS)})
            ids_, vectors = made.vectors()
            projection.save(self.original, made.generation, made.encoder_identity,
                            projection.Projection(ids_, vectors[:, :2] / np.abs(vectors[:, :2]).max()))  # fmt: skip
            return self.state(made)

    @staticmethod
    def state(made: Collection) -> tuple[dict[str, str], dict[str, bytes]]:
        """Label and vector of each image, by name."""
        labels, items = made.labels(), made.items()
        ids, vectors = made.vectors()
        row = {id_: number for number, id_ in enumerate(ids.tolist())}
        return (
            {item.path.name: labels[item.id] for item in items if item.id in labels},
            {item.path.name: vectors[row[item.id]].tobytes() for item in items},
        )

    def copy(self) -> Path:
        """A fresh copy of the collection."""
        target = self.folder / "copy"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.original, target)
        return target

    def search(self, folder: Path) -> list[tuple[str, float]]:
        with Collection.open(folder) as opened:
            return [(hit.path.name, round(hit.score, 5)) for hit in opened.search(self.query, 8)]

    def look(self, folder: Path) -> tuple[list[tuple[str, float]], dict[str, str]]:
        """What a person sees before anything is mended."""
        with Collection.open(folder) as opened:
            labels = opened.labels()
            named = {item.path.name: labels[item.id] for item in opened if item.id in labels}
        return self.search(folder), named

    def recovered(self, folder: Path) -> tuple[dict[str, str], dict[str, bytes]]:
        """What is there after ``index --verify`` and an update."""
        Collection.mend(folder)
        with Collection.open(folder) as opened:
            opened.verify()
        index_folders([self.pictures], folder, str(self.encoder), workers=0)
        with Collection.open(folder) as opened:
            assert opened.verify() == []
            return self.state(opened)

    def check(self, tally: Tally, folder: Path, seed: object) -> None:
        """Count what is lost or broken of ``folder`` once it was mended."""
        ended = apart(lambda: self.recovered(folder))
        if ended.broke or ended.refused:
            tally.note("broke" if ended.broke else "lost", seed, ended.broke or ended.refused)
        elif ended.value != (self.labels, self.vectors):
            labels, vectors = ended.value
            missing = {name: label for name, label in self.labels.items() if labels.get(name) != label}
            tally.note("lost", seed, f"labels {missing}, {len(self.vectors) - len(vectors)} images")


def draw_pictures(folder: Path, numbers: range) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        blotches = np.random.default_rng(number).integers(0, 256, (3, 4, 3), np.uint8)
        Image.fromarray(blotches).resize((40, 30), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.jpg")


Kind = Callable[[Place, random.Random, int, Tally], None]


def kill_first_index(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """A first ``index`` killed at any moment; the next must make the whole collection."""
    folder = place.folder / "new"
    shutil.rmtree(folder, ignore_errors=True)
    apart(
        lambda: index_folders([place.pictures], folder, str(place.encoder), workers=0),
        kill_after=draw.uniform(0, 0.25),
    )

    def again() -> dict[str, bytes]:
        index_folders([place.pictures], folder, str(place.encoder), workers=0)
        with Collection.open(folder) as made:
            assert made.verify() == []
            return place.state(made)[1]

    ended = apart(again)
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    elif ended.value != place.vectors:
        tally.note("lost", seed, ended.refused or "images are missing")


def _update(place: Place, folder: Path) -> None:
    with Collection.open(folder) as opened:
        opened.update([place.pictures], workers=0)


def kill_update(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """An update of a catalog that lost half its images, killed."""
    folder = place.copy()
    apart(lambda: _forget_half(folder))
    apart(lambda: _update(place, folder), kill_after=draw.uniform(0, 0.2))
    place.check(tally, folder, seed)


def _forget_half(folder: Path) -> None:
    with Collection.open(folder) as opened:
        opened.remove([item.path for item in opened.items()[::2]])


def kill_labelling(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Labels given one after the other, killed; what was acknowledged must be there."""
    folder = place.copy()
    log = place.folder / "acknowledged"
    log.unlink(missing_ok=True)

    def label() -> None:
        with Collection.open(folder) as opened, log.open("a", buffering=1) as said:
            for turn in range(100):
                for item in opened.items():
                    opened.set_labels({item.id: f"{turn}"})
                    said.write(f"{item.path.name} {turn}\n")

    apart(label, kill_after=draw.uniform(0.02, 0.3))
    lines = log.read_text().splitlines() if log.exists() else []
    wanted = dict(line.split() for line in lines if len(line.split()) == 2)
    ended = apart(lambda: place.look(folder)[1])
    found = ended.value or {}
    if ended.broke or ended.refused:
        tally.note("broke" if ended.broke else "lost", seed, ended.broke or ended.refused)
    elif any(
        int(found.get(name, "-1") if found.get(name, "-1").isdecimal() else -1) < int(turn)
        for name, turn in wanted.items()
    ):
        tally.note("lost", seed, f"{wanted} became {found}")


def _turn(label: str | None) -> int:
    return int(label) if label is not None and label.isdecimal() else -1


def kill_migration(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """A catalog of schema 3 brought up to date, killed."""
    folder = place.copy()
    older(folder)
    apart(lambda: Collection.open(folder).choose_index("flat"), kill_after=draw.uniform(0, 0.05))
    place.check(tally, folder, seed)


def older(folder: Path) -> None:
    """Make the catalog one of schema 3."""
    database = sqlite3.connect(folder / "catalog.sqlite")
    with database:
        for table in ("meta", "labels"):
            database.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
        database.execute("DELETE FROM meta WHERE key LIKE '% seal' OR key = 'keys'")
        database.execute("UPDATE meta SET value = '3' WHERE key = 'schema'")
    database.close()
    (folder / "labels.jsonl").unlink()


def kill_mending(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """``index --verify`` of a catalog with broken pages, killed."""
    folder = place.copy()
    damage(folder / "catalog.sqlite", draw, "page")
    apart(lambda: Collection.mend(folder), kill_after=draw.uniform(0, 0.1))
    place.check(tally, folder, seed)


def full_disk_update(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """An update whose files cannot grow beyond a random size."""
    folder = place.copy()
    apart(lambda: _forget_half(folder))
    size = (folder / "catalog.sqlite").stat().st_size
    ended = apart(lambda: _update(place, folder), file_bytes=draw.randrange(1000, 2 * size))
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    tally.refused += bool(ended.refused)
    place.check(tally, folder, seed)


def full_disk_first_index(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """A first ``index`` whose files cannot grow beyond a random size."""
    folder = place.folder / "new"
    shutil.rmtree(folder, ignore_errors=True)
    ended = apart(
        lambda: index_folders([place.pictures], folder, str(place.encoder), workers=0),
        file_bytes=draw.randrange(500, 200_000),
    )
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    tally.refused += bool(ended.refused)
    again = apart(lambda: index_folders([place.pictures], folder, str(place.encoder), workers=0).images)
    if again.broke or again.value != IMAGES:
        tally.note("broke" if again.broke else "lost", seed, again.broke or again.refused)


def damage(file: Path, draw: random.Random, how: str, within: tuple[int, int] | None = None) -> None:
    """Change bytes of ``file``: ``flip`` one bit, ``bytes`` of a few places, a ``page``, or ``cut`` it."""
    content = bytearray(file.read_bytes())
    first, end = within or (0, len(content))
    if how == "cut":
        content = content[: draw.randrange(len(content))]
    elif how == "page":
        page = draw.randrange(len(content) // 4096)
        content[page * 4096 : page * 4096 + 600] = draw.randbytes(600)
    else:
        for _ in range(1 if how == "flip" else draw.randrange(2, 6)):
            at = draw.randrange(first, end)
            content[at] = content[at] ^ (1 << draw.randrange(8)) if how == "flip" else draw.randrange(256)
    file.write_bytes(content)


def _damaged(place: Place, tally: Tally, seed: int, folder: Path) -> None:
    ended = apart(lambda: place.look(folder))
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    elif ended.refused:
        tally.refused += 1
    elif ended.value != (place.nearest, place.labels):
        tally.note("silent", seed, f"{ended.value}")
    place.check(tally, folder, seed)


def index_file(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Bits, bytes and the end of the FAISS file."""
    folder = place.copy()
    [file] = folder.glob("index-*.faiss")
    damage(file, draw, ("flip", "bytes", "cut")[seed % 3])
    _damaged(place, tally, seed, folder)


def catalog_anywhere(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Bits, bytes, pages and the end of the catalog."""
    folder = place.copy()
    damage(folder / "catalog.sqlite", draw, ("flip", "bytes", "page", "cut")[seed % 4])
    _damaged(place, tally, seed, folder)


def catalog_aimed(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Bits of the pages that hold settings, labels and folders."""
    folder = place.copy()
    file = folder / "catalog.sqlite"
    database = sqlite3.connect(file)
    roots = database.execute("SELECT rootpage FROM sqlite_master WHERE name IN ('meta', 'labels', 'roots')").fetchall()
    database.close()
    [page] = draw.choice(roots)
    content = file.read_bytes()
    used = [at for at in range((page - 1) * 4096, page * 4096) if content[at]]
    at = draw.choice(used)
    damage(file, draw, "flip" if seed % 2 else "bytes", (at, at + 1))
    _damaged(place, tally, seed, folder)


def labels_copy(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """The copy of the labels, and a label of the catalog as well."""
    folder = place.copy()
    damage(folder / "labels.jsonl", draw, ("flip", "bytes", "cut")[seed % 3])
    _damaged(place, tally, seed, folder)


def map_file(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """The file of a map."""
    folder = place.copy()
    [file] = folder.glob("map-*.npz")
    before = projection.load(folder, apart(lambda: Collection.open(folder).encoder_identity).value)
    damage(file, draw, ("flip", "bytes", "cut")[seed % 3])
    ended = apart(lambda: projection.load(folder, Collection.open(folder).encoder_identity))
    if ended.broke or ended.refused:
        tally.note("broke", seed, ended.broke or ended.refused)
    elif ended.value is not None and before is not None:
        same = np.array_equal(ended.value.ids, before.ids) and np.array_equal(ended.value.points, before.points)
        if not same:
            tally.note("silent", seed, "another map")


def run_files(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """``config.json``, ``metrics.jsonl`` and ``rejected.jsonl`` of a training run."""
    from simsiam_retrieval.app.pages import training_runs  # pyright: ignore[reportMissingImports]

    from simsiam_retrieval.training.config import Config
    from simsiam_retrieval.training.run_folder import Run

    folder = place.folder / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run = Run(folder)
    run.write(Config(), data={"roots": ["/a"], "cache": None})
    rows = [{"step": step, "epoch": step / 4, "loss": -0.5, "std": 0.9, "lr": 0.1} for step in range(1, 9)]
    for row in rows:
        run.append_metrics(row)
    run.rejected_file.write_text('{"path": "/a", "size": 1, "mtime_ns": 1, "member": "", "offset": 0, "reason": "x"}\n')
    name = ("config.json", "metrics.jsonl", "rejected.jsonl")[seed % 3]
    if draw.random() < 0.3:
        nonsense = (
            "[]",
            "5",
            "null",
            "[" * 99_999,
            '{"config": []}',
            '{"config": {"epochs": "x"}}',
            '{"data": 5}\n5',
            "\0",
        )
        (folder / name).write_text(draw.choice(nonsense))
    else:
        damage(folder / name, draw, ("flip", "bytes", "cut")[draw.randrange(3)])

    def look() -> int:
        found = run.read_rejected(), training_runs.read_run(folder)
        run.truncate_metrics(8)
        run.config()
        return len(found[1].rows)

    ended = apart(look)
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    tally.refused += bool(ended.refused)
    if (
        name == "metrics.jsonl"
        and ended.value is not None
        and ended.value == 0
        and (folder / name).stat().st_size > 200
    ):
        tally.note("lost", seed, "all rows of metrics")


def encoder_file(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """The collection's encoder changed, or another one with the right metadata and a wrong output."""
    from simsiam_retrieval.encoder.onnx_encoder import Encoder

    folder = place.copy()
    if seed % 2:
        damage(folder / "encoder.onnx", draw, ("flip", "bytes", "cut")[draw.randrange(3)])
        ended = apart(lambda: Collection.open(folder).search(place.pictures / "000.jpg", 3) and "searched")
    else:
        file = hostile_encoder(place.folder / "hostile.onnx", draw)
        ended = apart(lambda: Encoder(file, device="cpu") and "loaded")
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    elif ended.value is not None:
        tally.note("silent", seed, f"{ended.value}")
    tally.refused += bool(ended.refused)


def hub_config(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """A repository's ``config.json``."""
    from simsiam_retrieval.encoder import hub

    file = place.folder / "config.json"
    names = ("../x.onnx", "/etc/x.onnx", "a/../../x.onnx", "C:\\x.onnx", "a\\..\\x.onnx", "x\n.onnx", "./x.onnx", "")
    section = {"format": hub.FORMAT, "files": {"onnx/model.onnx": "0" * 64}}
    if seed % 3 == 0:
        section["files"] = {draw.choice(names) + (".onnx" if draw.random() < 0.3 else ""): "0" * 64}
    elif seed % 3 == 1:
        section["default"] = draw.choice(names)
    file.write_text(json.dumps({hub.SECTION: section}))
    if seed % 3 == 2:
        if draw.random() < 0.3:
            file.write_text('{"a":' * 99_999)
        else:
            damage(file, draw, ("bytes", "cut")[draw.randrange(2)])
    ended = apart(lambda: hub._listing("hf://a/b", file))
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    elif ended.value is not None and any(
        ".." in name or name.startswith("/") for name in (*ended.value[0], ended.value[1])
    ):
        tally.note("silent", seed, f"{ended.value}")
    tally.refused += bool(ended.refused)


def addresses(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Addresses of the Search page, and labels as CSV."""
    from simsiam_retrieval.app.search.address import Address  # pyright: ignore[reportMissingImports]

    from simsiam_retrieval.evaluation.labelled import read_labels

    values = (
        "",
        "0001-01-01",
        "9999-12-31",
        "-1",
        "9" * 30,
        "\0",
        "~nobody/",
        "../..",
        "٣",
        "a,b",
        "1,1,1",
        "[",
        "*" * 300,
    )
    names = (
        "image",
        "more",
        "less",
        "page",
        "results",
        "cut",
        "folder",
        "name",
        "format",
        "label",
        "since",
        "until",
        "side",
    )
    given = {name: draw.choice(values) for name in draw.sample(names, draw.randrange(1, 6))}
    table = place.folder / "labels.csv"
    nobody = draw.choice(("~nosuchuser/", ""))
    text = f'path,label\npictures/000.jpg,"a"\n{nobody}x.jpg,b\n"pictures/001.jpg,c\npictures/002.jpg,d\n'
    table.write_bytes(text.encode())
    damage(table, draw, ("flip", "bytes", "cut")[seed % 3])

    def look() -> None:
        with Collection.open(place.original) as opened:
            address = Address.read(given)
            if address.only.count():
                opened.matching(address.only.filter())
        read_labels(table)

    ended = apart(look)
    if ended.broke:
        tally.note("broke", seed, f"{given}: {ended.broke}")
    tally.refused += bool(ended.refused)


def reads_during_updates(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Searches while another process forgets and finds images again: each is of one state."""
    folder = place.copy()

    def churn() -> None:
        for _ in range(20):
            _forget_half(folder)
            _update(place, folder)

    child = os.fork()
    if child == 0:
        _in_child(churn, os.open(os.devnull, os.O_WRONLY), None)
    kept = {item.path.name for item in _items(place.original)[1::2]}
    half = [pair for pair in _all_scores(place) if pair[0] in kept][:8]

    def look() -> list[Any]:
        with Collection.open(folder) as opened:
            return [
                [(hit.path.name, round(hit.score, 5)) for hit in opened.search(place.query, 8)]
                for _ in range(draw.randrange(3, 20))
            ]

    ended = apart(look)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if ended.broke or ended.refused:
        tally.note("broke" if ended.broke else "lost", seed, ended.broke or ended.refused)
    elif not all(found in (place.nearest, half) for found in ended.value):
        tally.note("silent", seed, f"{ended.value[:3]}")
    place.check(tally, folder, seed)


def _items(folder: Path) -> list[Any]:
    with Collection.open(folder) as opened:
        return opened.items()


def _all_scores(place: Place) -> list[tuple[str, float]]:
    with Collection.open(place.original) as opened:
        return [(hit.path.name, round(hit.score, 5)) for hit in opened.search(place.query, IMAGES)]


def passwords(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Requests without login, with made-up cookies and names of proxies, and guesses."""
    from simsiam_retrieval.app.auth import ALL_TRIES, Guard  # pyright: ignore[reportMissingImports]
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    app = Starlette(
        routes=[Route("/{path:path}", lambda request: PlainTextResponse("secret"), methods=["GET", "POST"])],
        middleware=[Middleware(Guard, password="long and secret")],
    )
    client = TestClient(app, follow_redirects=False, client=(f"10.0.0.{seed % 250}", 1))
    headers = {"x-forwarded-for": f"10.1.{seed % 256}.{draw.randrange(256)}", "cookie": f"simsiam-retrieval-80={seed}"}
    tries = 0
    for _ in range(ALL_TRIES + 20):
        guess = "".join(draw.choices("abc ", k=6))
        answer = client.post("/login", data={"password": guess}, headers=headers)
        tries += answer.status_code == 401
        if "secret" in answer.text:
            tally.note("silent", seed, answer.text)
    path = "/" + "".join(draw.choices("ab/.%?_", k=8))
    if "secret" in client.get(path, headers={**headers, "accept": "text/html"}).text or tries > 10:
        tally.note("silent", seed, f"{path}, {tries} guesses")


KINDS: dict[str, Kind] = {
    "kill: first index": kill_first_index,
    "kill: update": kill_update,
    "kill: labelling": kill_labelling,
    "kill: migration of the schema": kill_migration,
    "kill: mending": kill_mending,
    "full disk: first index": full_disk_first_index,
    "full disk: update": full_disk_update,
    "damage: index file": index_file,
    "damage: catalog, anywhere": catalog_anywhere,
    "damage: catalog, settings and labels": catalog_aimed,
    "damage: copy of the labels": labels_copy,
    "damage: map": map_file,
    "damage: training run": run_files,
    "damage: encoder": encoder_file,
    "hostile: config of the Hub": hub_config,
    "hostile: addresses and label files": addresses,
    "hostile: passwords": passwords,
    "reads during updates": reads_during_updates,
}


def measure(names: list[str], rounds: int, seed: int, place: Path) -> Iterator[tuple[str, Tally]]:
    """Throw ``rounds`` faults of each kind."""
    made = Place(place)
    for name in names:
        tally = Tally()
        for number in range(rounds):
            KINDS[name](made, random.Random(f"{name} {seed + number}"), seed + number, tally)
            tally.tried += 1
        yield name, tally


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60, help="faults of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the first fault; the others count on")
    parser.add_argument(
        "--kind", action="append", default=[], help="only kinds with this in their names; may be repeated"
    )
    parser.add_argument(
        "--out", type=Path, help="folder for faults.md and faults.json; kinds that are there already stay"
    )
    arguments = parser.parse_args()
    names = [name for name in KINDS if not arguments.kind or any(kind in name for kind in arguments.kind)]
    VectorIndex.build(np.arange(2), np.eye(2, DIM, dtype=np.float32), 0)  # FAISS is loaded before the first fork
    found: dict[str, dict[str, int]] = {}
    file = None if arguments.out is None else arguments.out / "faults.json"
    if file is not None and file.exists():
        found = json.loads(file.read_text())["kinds"]
    with tempfile.TemporaryDirectory() as folder:
        for name, tally in measure(names, arguments.rounds, arguments.seed, Path(folder)):
            found[name] = {key: getattr(tally, key) for key in COLUMNS}
            print(name, found[name], flush=True)
            for note in tally.notes[:5]:
                print(note, file=sys.stderr, flush=True)
    table = as_table({name: found[name] for name in KINDS if name in found})
    print(table)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".md").write_text(table)
        settings = {"seed": arguments.seed, "sqlite": sqlite3.sqlite_version, "python": sys.version.split()[0]}
        file.write_text(json.dumps({**settings, "kinds": found}, indent=2) + "\n")
    sys.exit(1 if any(row[key] for row in found.values() for key in COLUMNS[2:]) else 0)


def as_table(found: dict[str, dict[str, int]]) -> str:
    """Markdown, a row for each kind and one for all."""
    total = {key: sum(row[key] for row in found.values()) for key in COLUMNS}
    rows = [(name, *row.values()) for name, row in {**found, "all": total}.items()]
    head = "| kind of fault | tried | told in one line | lost | wrong in silence | tracebacks |\n"
    head += "|---|--:|--:|--:|--:|--:|\n"
    return head + "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)


if __name__ == "__main__":
    main()
