"""Faults of what leaves a collection: handing it over, publishing an encoder; and of what came with the package."""

import hashlib
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from fault_place import Place, Tally, apart, damage

from simsiam_retrieval import Collection

ROOT = Path(__file__).parents[1]
SPAN = 5  # ids in a tile, so that a handful of images makes several


def _hand_over(place: Place, kind: str, target: Path) -> None:
    from simsiam_retrieval.vector_databases import parquet, qdrant
    from simsiam_retrieval.vector_databases import target as targets
    from simsiam_retrieval.vector_databases.handing_over import hand_over

    targets.Table.span = qdrant.Qdrant.span = parquet.Parquet.span = SPAN
    with Collection.open(place.original) as opened:
        hand_over(opened, kind, str(target), replace=True)


def _rows(kind: str, target: Path) -> dict[str, tuple[str, bytes]]:
    """Path -> label and vector, read by the target's own library."""
    if kind == "parquet":
        import pyarrow.dataset as ds

        rows = ds.dataset(str(target)).to_table(["path", "label", "vector"]).to_pylist()
    else:
        import lancedb

        rows = lancedb.connect(str(target)).open_table("images").to_arrow().to_pylist()
    import numpy as np

    return {Path(row["path"]).name: (row["label"], np.array(row["vector"], np.float32).tobytes()) for row in rows}


def _expected(place: Place) -> dict[str, tuple[str, bytes]]:
    return {name: (place.labels.get(name, ""), vector) for name, vector in place.vectors.items()}


def _again(place: Place, kind: str, target: Path, seed: int, tally: Tally) -> None:
    def again() -> dict[str, tuple[str, bytes]]:
        _hand_over(place, kind, target)
        return _rows(kind, target)

    ended = apart(again)
    if ended.broke or ended.refused:
        tally.note("broke" if ended.broke else "lost", seed, ended.broke or ended.refused)
    elif ended.value != _expected(place):
        tally.note("silent", seed, f"{len(ended.value)} rows, or others")


def _target(place: Place, kind: str) -> Path:
    target = place.folder / f"target-{kind}"
    shutil.rmtree(target, ignore_errors=True)
    return target


def kill_handing_over(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Handing over to Parquet or Lance, killed at any moment; the same command again."""
    kind = ("parquet", "lance")[seed % 2]
    target = _target(place, kind)
    apart(lambda: _hand_over(place, kind, target), kill_after=draw.uniform(0.1, 0.5 if seed % 2 == 0 else 2.0))
    _again(place, kind, target, seed, tally)


def full_disk_handing_over(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Handing over where files cannot grow beyond a random size."""
    kind = ("parquet", "lance")[seed % 2]
    target = _target(place, kind)
    ended = apart(lambda: _hand_over(place, kind, target), file_bytes=draw.randrange(200, 12_000))
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    tally.refused += bool(ended.refused)
    _again(place, kind, target, seed, tally)


def damaged_target(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Bytes of a Parquet file that was handed over; the same command again."""
    whole, target = place.folder / "handed over", _target(place, "parquet")
    if not whole.exists():
        made = apart(lambda: _hand_over(place, "parquet", whole))
        assert not made.broke and not made.refused, made
    shutil.copytree(whole, target)
    damage(draw.choice(sorted(target.glob("*.parquet"))), draw, ("flip", "bytes", "cut")[seed % 3])
    _again(place, "parquet", target, seed, tally)


# -- publishing


def _model(place: Place) -> Path:
    """What ``publish`` writes, with the small encoder in a network's place."""
    folder = place.folder / "model"
    if not folder.exists():
        (folder / "onnx").mkdir(parents=True)
        shutil.copyfile(place.encoder, folder / "onnx/model.onnx")
        digest = hashlib.sha256(place.encoder.read_bytes()).hexdigest()
        from simsiam_retrieval.encoder.hub import FORMAT, SECTION

        section = {"format": FORMAT, "default": "onnx/model.onnx", "files": {"onnx/model.onnx": digest}}
        (folder / "config.json").write_text(json.dumps({SECTION: section}))
        (folder / "README.md").write_text("a card")
    return folder


def _upload(folder: Path, endpoint: str, cache: Path) -> str:
    os.environ |= {"HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_right", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(cache)}
    from simsiam_retrieval.publishing.repository_folder import list_folder
    from simsiam_retrieval.publishing.upload import upload

    return upload(folder, list_folder(folder), "acme/birds", replace=True).what


def kill_publishing(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """An upload killed, cut off or refused at any moment, onto a repository that has a model or not; then again."""
    sys.path.insert(0, str(ROOT))
    from tests.support.fake_hub import CUT, LOST, serving

    folder, cache = _model(place), place.folder / "hub"
    before = b"an earlier card"
    with serving() as hub:
        if seed % 2:
            hub.put("acme/birds", "README.md", before)
        if seed % 3 == 0:
            apart(lambda: _upload(folder, hub.endpoint, cache), kill_after=draw.uniform(0.3, 1.3))
        else:
            hub.fail(draw.choice(("GET", "POST", "PUT")), ".", draw.choice((CUT, LOST, 403, 429, 503)),
                     times=draw.randrange(1, 4), after=draw.randrange(6))  # fmt: skip
            ended = apart(lambda: _upload(folder, hub.endpoint, cache))
            if ended.broke:
                tally.note("broke", seed, ended.broke)
            tally.refused += bool(ended.refused)
        hub.faults.clear()
        names = ["README.md", "config.json", "onnx/model.onnx"]
        if "acme/birds" in hub.repositories and hub.repositories["acme/birds"].refs:
            now = {name: hub.content("acme/birds", name) for name in names if name in hub.paths("acme/birds")}
            whole = {name: (folder / name).read_bytes() for name in names}
            if now not in ({}, whole, {"README.md": before}):
                tally.note("silent", seed, f"half a model: {sorted(now)}")
        ended = apart(lambda: _upload(folder, hub.endpoint, cache))
        if ended.broke or ended.refused:
            tally.note("broke" if ended.broke else "lost", seed, ended.broke or ended.refused)
        elif any(hub.content("acme/birds", name) != (folder / name).read_bytes() for name in names):
            tally.note("lost", seed, "another model")


def repository_names(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Names of repositories, to publish to and to load from."""
    from simsiam_retrieval.encoder.find_encoder import find_encoder
    from simsiam_retrieval.publishing.upload import check_name

    pieces = ("..", ".", "a", "b", "/", "//", "\\", "@", "%2e", "%2f", "?", "#", "\0", "\n", " ", "--", "ü", "‮", "~")
    name = "".join(draw.choices(pieces, k=draw.randrange(1, 7)))
    if draw.random() < 0.2:
        name = "a" * draw.randrange(90, 300) + "/b"
    os.environ["HF_HUB_OFFLINE"] = "1"
    for act in (lambda: check_name(name), lambda: find_encoder(f"hf://{name}")):
        ended = apart(lambda act=act: act() and "taken")
        if ended.broke:
            tally.note("broke", seed, f"{name!r}: {ended.broke}")
        tally.refused += bool(ended.refused)
    odd = set(name) & set("\\@%?#\0\n \u202e~ü") or ".." in name or name.count("/") != 1
    if odd and not apart(lambda: check_name(name)).refused:
        tally.note("silent", seed, f"{name!r} is taken for a repository")


# -- what came with the package


def shipped(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """The shipped encoder and the files beside it, changed, cut off or gone."""
    from simsiam_retrieval.encoder import find_encoder, onnx_encoder

    folder = place.folder / "shipped"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(find_encoder.default_encoder_file().parent, folder)
    names = ("encoder.onnx", "encoder.onnx", "encoder.json", "CARD.md")
    file = folder / names[seed % 4]
    how = draw.choice(("flip", "bytes", "cut", "gone"))
    if how == "gone":
        file.unlink()
    else:
        damage(file, draw, how)

    def look() -> Any:
        find_encoder.default_encoder_file = lambda: folder / "encoder.onnx"
        return onnx_encoder.load_encoder(device="cpu").identity

    ended = apart(look)
    if ended.broke:
        tally.note("broke", seed, f"{how} {file.name}: {ended.broke}")
    elif ended.value is not None and file.name == "encoder.onnx":
        tally.note("silent", seed, f"{how}: another encoder is taken for the shipped one")
    elif ended.refused and file.name == "CARD.md":
        tally.note("lost", seed, ended.refused)
    tally.refused += bool(ended.refused)


def example_photos(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """A damaged example photo: the demo's own steps tell it, and do the rest."""
    from simsiam_retrieval.collection.update.index_folders import index_folders

    folder = place.folder / "photos"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place.pictures, folder)
    file = draw.choice(sorted(folder.iterdir()))
    how = ("cut", "gone", "bytes")[seed % 3]
    if how == "gone":
        file.unlink()
    else:
        damage(file, draw, how)
    collection = place.folder / "demo"
    shutil.rmtree(collection, ignore_errors=True)

    def look() -> tuple[int, list[str]]:
        update = index_folders([folder], collection, str(place.encoder), workers=0)
        return update.images, [path.name for path, _ in update.failed]

    ended = apart(look)
    if ended.broke or ended.refused:
        tally.note("broke" if ended.broke else "lost", seed, ended.broke or ended.refused)
    elif ended.value[0] + len(ended.value[1]) != len(place.vectors) - (how == "gone"):
        tally.note("silent", seed, f"{ended.value}")
