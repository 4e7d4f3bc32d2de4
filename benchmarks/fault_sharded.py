"""Faults of sharded collections: builds that are killed, and damaged shards, catalogs, indexes and manifests."""

import random
import shutil
from pathlib import Path
from typing import Any

from fault_place import LABELS, Place, Tally, apart, damage, page_range

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.index.build_shard_index import build
from simsiam_retrieval.collection.storage.shard_file import ShardRow, shard_file, shard_name
from simsiam_retrieval.collection.storage.shard_manifest import prepare
from simsiam_retrieval.collection.storage.shard_writer import write_shard

SHARDS = 3
Rows = list[list[ShardRow]]  # of each shard
_made: dict[Path, tuple[Path, Path, Rows, Any]] = {}  # folder of the place -> unbuilt, built, rows, what it shows


def rows_of(place: Place) -> Rows:
    """The images of the plain collection, shard by shard; one row of each has no vector."""
    found: Rows = []
    with Collection.open(place.original) as plain:
        items = plain.items()
        for number in range(SHARDS):
            rows = [ShardRow(f"/gone/{number}.jpg", 10, 5, reason="damaged: made so")]
            for item in items[number::SHARDS]:
                [record], vectors = plain.records(item.id - 1, item.id)
                rows.append(
                    ShardRow(str(item.path), item.size, item.mtime_ns, record.digest, item.width, item.height,
                             item.format, None, vectors[0], plain.thumbnail(item.id))
                )  # fmt: skip
            found.append(rows)
    return found


def write_shards(folder: Path, rows: Rows, numbers: range = range(SHARDS)) -> None:
    """Embed anew, as far as a collection can tell: the same rows give the same bytes."""
    manifest = prepare(folder, folder / "encoder.onnx", [])
    for number in numbers:
        name = shard_name(manifest.encoder, [{"path": str(number)}])
        if not shard_file(folder, name).exists():
            write_shard(
                folder, name, rows[number], encoder=manifest.encoder, dim=manifest.dim, extra={"source": "/made"}
            )


def sharded(place: Place) -> tuple[Path, Path, Rows, Any]:
    """A folder with shards alone, a built and labelled one, the rows, and what the second shows."""
    if place.folder not in _made:
        embedded, built = place.folder / "embedded", place.folder / "built"

        def make() -> Rows:
            rows = rows_of(place)
            prepare(embedded, place.encoder, ["/made"])
            write_shards(embedded, rows)
            shutil.copytree(embedded, built)
            build(built, recall=1.0)
            with Collection.open(built) as made:
                ids = [item.id for item in made]
                made.set_labels({ids[number]: label for number, label in enumerate(LABELS)})
            return rows

        made = apart(make)
        assert not made.broke and not made.refused, made
        seen = apart(lambda: look(place, built))
        assert seen.value, seen
        _made[place.folder] = embedded, built, made.value, seen.value
    return _made[place.folder]


def look(place: Place, folder: Path) -> Any:
    """What a person sees: hits, labels, thumbnails, the vectors of all."""
    with Collection.open(folder) as opened:
        state = place.state(opened)
        thumbnails = {item.path.name: opened.thumbnail(item.id) for item in opened}
    return place.search(folder), *state, thumbnails


def copied(place: Place, which: int = 1) -> Path:
    target = place.folder / "sharded copy"
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(str(sharded(place)[which]), target))


def recovered(place: Place, folder: Path) -> Any:
    """What is there after ``--verify``, embedding again what that called damaged, and a build."""
    rows = sharded(place)[2]
    for _ in range(2):
        try:
            Collection.mend(folder)
            with Collection.open(folder) as opened:
                found = opened.verify()
            for finding in found:
                if finding.subject.suffix == ".parquet":
                    finding.subject.unlink(missing_ok=True)
        except UserError as error:
            if "build it again" not in str(error) and "not built yet" not in str(error):
                raise
        write_shards(folder, rows)
        build(folder)
    with Collection.open(folder) as opened:
        assert opened.verify() == []
    return look(place, folder)


def check(place: Place, tally: Tally, folder: Path, seed: int, *, labelled: bool = True) -> None:
    ended = apart(lambda: recovered(place, folder))
    expected = sharded(place)[3]
    if ended.broke or ended.refused:
        tally.note("broke" if ended.broke else "lost", seed, ended.broke or ended.refused)
    elif ended.value[2:] != expected[2:] or (labelled and ended.value[1] != expected[1]):
        tally.note("lost", seed, f"labels {ended.value[1]}, {len(ended.value[2])} images")
    elif ended.value[0] != expected[0]:
        tally.note("silent", seed, f"after mending: {ended.value[0]}")


def damaged(place: Place, tally: Tally, folder: Path, seed: int) -> None:
    expected = sharded(place)[3]
    ended = apart(lambda: look(place, folder))
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    elif ended.refused:
        tally.refused += 1
    else:
        hits, labels, vectors, thumbnails = ended.value
        # a picture that is left out is seen to be missing
        pictures = {name: jpeg for name, jpeg in thumbnails.items() if jpeg is not None}
        if (hits, labels, vectors) != expected[:3] or not pictures.items() <= expected[3].items():
            tally.note("silent", seed, f"{hits}, {labels}")
    check(place, tally, folder, seed)


def kill_build(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """A build killed at any moment: a first one, or of a collection that a shard was taken from or added to."""
    folder = copied(place, 0 if seed % 3 == 0 else 1)
    if seed % 3 == 1:
        apart(lambda: _without_one(folder))
    elif seed % 3 == 2:
        for file in (folder / "parts").glob("part-*"):
            file.unlink()
    apart(lambda: build(folder, anew=seed % 3 == 2), kill_after=draw.uniform(0, 0.5))
    check(place, tally, folder, seed, labelled=seed % 3 != 0)


def _without_one(folder: Path) -> None:
    next((folder / "shards").glob("*.parquet")).unlink()
    build(folder)
    write_shards(folder, _made[folder.parent][2])


def full_disk_build(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """A build whose files cannot grow beyond a random size."""
    folder = copied(place, 0)
    ended = apart(lambda: build(folder), file_bytes=draw.randrange(500, 120_000))
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    tally.refused += bool(ended.refused)
    check(place, tally, folder, seed, labelled=False)


def shard_files(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Bits, bytes and the end of a shard, or all of it."""
    folder = copied(place)
    file = draw.choice(sorted((folder / "shards").glob("*.parquet")))
    how = ("flip", "bytes", "cut", "gone")[seed % 4]
    if how == "gone":
        file.unlink()
    else:
        damage(file, draw, how)
    damaged(place, tally, folder, seed)


def shard_catalog(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Bits, bytes, pages and the end of the catalog; every other time of rows of images and shards."""
    folder = copied(place)
    file = folder / "catalog.sqlite"
    if seed % 2:
        names = ("items", "row_groups", "shards", "row_seals", "list_seals", "meta", "labels")
        damage(file, draw, draw.choice(("flip", "bytes")), page_range(file, draw.choice(names), draw))
    else:
        damage(file, draw, ("flip", "bytes", "page", "cut")[seed // 2 % 4])
    damaged(place, tally, folder, seed)


def shard_index(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Both files of the index, and what a build left for the next."""
    folder = copied(place)
    kind = ("index-*.faiss", "index-*.ivfdata", "parts/*")[seed % 3]
    damage(draw.choice(sorted(folder.glob(kind))), draw, ("flip", "bytes", "cut")[draw.randrange(3)])
    damaged(place, tally, folder, seed)


def manifest(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """``shards.json``."""
    folder = copied(place)
    damage(folder / "shards.json", draw, ("flip", "bytes", "cut")[seed % 3])
    damaged(place, tally, folder, seed)
