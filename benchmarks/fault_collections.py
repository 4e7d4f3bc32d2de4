"""Faults of collections: kills, full disks, and bytes of their files that change."""

import os
import random
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
from fault_place import IMAGES, Place, Tally, apart, damage, in_child, page_range

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.explore import projection
from simsiam_retrieval.collection.update.index_folders import index_folders


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
    damage(
        file, draw, "flip" if seed % 2 else "bytes", page_range(file, draw.choice(("meta", "labels", "roots")), draw)
    )
    _damaged(place, tally, seed, folder)


def catalog_rows(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Bits of the pages that hold what is known of the images; every fourth time of the column that hides a row."""
    folder = place.copy()
    file = folder / "catalog.sqlite"
    if seed % 4 == 0:
        hide_row(file, draw)
    else:
        damage(file, draw, "flip" if seed % 2 else "bytes", page_range(file, "items", draw))
    _damaged(place, tally, seed, folder)


def rows_before_update(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """The same, and one image to be found again; an update comes before any search, and lists all after it."""
    folder = place.copy()
    file = folder / "catalog.sqlite"
    apart(lambda: _forget_one(folder))
    if seed % 4 == 0:
        hide_row(file, draw)
    else:
        damage(file, draw, "flip" if seed % 2 else "bytes", page_range(file, "items", draw))

    def update() -> bool:
        with Collection.open(folder) as opened:
            return bool(opened.update([place.pictures], workers=0).damaged)

    def listed() -> tuple[dict[str, str], dict[str, bytes]]:
        with Collection.open(folder) as opened:
            return place.state(opened)

    for ended in (apart(update), apart(listed)):
        if ended.broke:
            tally.note("broke", seed, ended.broke)
        elif ended.refused or ended.value is True:
            tally.refused += 1
        elif isinstance(ended.value, tuple) and ended.value != (place.labels, place.vectors):
            tally.note("silent", seed, f"{ended.value}")
    place.check(tally, folder, seed)


def _forget_one(folder: Path) -> None:
    with Collection.open(folder) as opened:
        opened.remove([opened.items()[0].path])


def hide_row(file: Path, draw: random.Random) -> None:
    """Change a row's generation or error as one bit on the disk would, so that readers pass the row over."""
    change = draw.choice(("generation = generation | 4", "generation = generation | 64", "error = 0", "error = ''"))
    database = sqlite3.connect(file)
    with database:
        database.execute(f"UPDATE items SET {change} WHERE id = ?", [draw.randrange(1, IMAGES + 1)])
    database.close()


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


def reads_during_updates(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Searches while another process forgets and finds images again: each is of one state."""
    folder = place.copy()

    def churn() -> None:
        for _ in range(20):
            _forget_half(folder)
            _update(place, folder)

    child = os.fork()
    if child == 0:
        in_child(churn, os.open(os.devnull, os.O_WRONLY), None)
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
