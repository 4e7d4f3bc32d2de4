"""What faults happen in, and how they are counted: processes that are killed or have a full disk, and damaged bytes."""

import os
import pickle
import random
import resource
import shutil
import signal
import sqlite3
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fault_inputs import small_encoder
from PIL import Image

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.explore import projection
from simsiam_retrieval.collection.update.index_folders import index_folders

IMAGES = 24
LABELS = ("cat", "dög", 'a "b", c', "' OR 1=1 --", "<script>", "日本", "x" * 200)
COLUMNS = ("tried", "refused", "lost", "silent", "broke")  # the second: told in one line
SECONDS = 300.0  # for one attempt, on a busy machine; more counts as a traceback
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
        in_child(function, writer, file_bytes)
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


def in_child(function: Callable[[], Any], writer: int, file_bytes: int | None) -> None:
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


def page_range(file: Path, table: str, draw: random.Random) -> tuple[int, int]:
    """Where one byte in use of a table's first page lies in a catalog, as :func:`damage` takes it."""
    database = sqlite3.connect(file)
    (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    (size,) = database.execute("PRAGMA page_size").fetchone()
    database.close()
    content = file.read_bytes()
    at = draw.choice([at for at in range((page - 1) * size, page * size) if content[at]])
    return at, at + 1
