"""What a cluster embeds: files, archives and tables, local or on object storage; how they are cut, read and named."""

import io
import os
import random
import tarfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from PIL import Image

from simsiam_retrieval.collection.storage import shard_file, shard_parquet_reader, shard_writer
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.distributed import image_bytes as contents_module
from simsiam_retrieval.distributed.actor import Embedder, packed
from simsiam_retrieval.distributed.cluster import OWNER_FILE, remove_leftovers
from simsiam_retrieval.distributed.embed_piece import PieceEmbedder
from simsiam_retrieval.distributed.image_bytes import contents
from simsiam_retrieval.distributed.list_sources import Pieces, cut, find_images, look_into_table
from simsiam_retrieval.distributed.locations import StoredFile, exact, located
from simsiam_retrieval.distributed.pieces import Member, Piece, cut_archive, cut_files, cut_table
from simsiam_retrieval.encoder.embed_files import Embedders, Source
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.images.decode import Decoded, ImageError
from simsiam_retrieval.images.files import ImageFile
from simsiam_retrieval.images.tar_archives import ShardMember, read_member
from tests.support.small_encoder import expected_vector, paint, small_encoder

IMAGES = {f"{number:02d}.jpg": os.urandom(50 + number) for number in range(10)}  # nothing here is decoded


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def struct_table(values: Sequence[bytes | None]) -> pa.Table:
    """As Hugging Face's data sets have images, beside a column that is none."""
    type_ = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([None if value is None else {"bytes": value, "path": "x.jpg"} for value in values], type_)
    return pa.table({"label": pa.array(range(len(values))), "image": images})


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with loose files, an archive and a table, of the same images, and other files."""
    folder = tmp_path / "mixed"
    (folder / "loose").mkdir(parents=True)
    for name, content in IMAGES.items():
        (folder / "loose" / name).write_bytes(content)
    write_tar(folder / "a.tar", [("./x/" + name, content) for name, content in IMAGES.items()] + [("x/0.txt", b"0")])
    pq.write_table(struct_table(list(IMAGES.values())), folder / "t.parquet", row_group_size=4)
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.jpg").write_bytes(b"x")
    return folder


def found(source: str, most: int = 4) -> Pieces:
    return cut(source, find_images(source), most=most)


def content_of(source: Source) -> bytes:
    if isinstance(source, ShardMember):
        return read_member(source)
    if isinstance(source, ImageFile):
        return source.path.read_bytes()
    assert isinstance(source, bytes), source
    return source


def read(pieces: Sequence[Piece]) -> dict[str, bytes]:
    """Label -> bytes of all images; sizes are those bytes'."""
    everything = {}
    for piece in pieces:
        given = list(contents(piece))
        assert len(given) == len(piece) == len(piece.labels)
        for label, (source, size) in zip(piece.labels, given, strict=True):
            assert label not in everything
            everything[label] = content_of(source)
            assert size == len(everything[label])
    return everything


def expected(root: str) -> dict[str, bytes]:
    values = list(IMAGES.values())
    return {
        **{f"{root}/loose/{name}": content for name, content in IMAGES.items()},
        **{f"{root}/a.tar/x/{name}": content for name, content in IMAGES.items()},
        **{f"{root}/t.parquet#{row}": value for row, value in enumerate(values)},
    }


@pytest.fixture
def memory(mixed: Path) -> Iterator[str]:
    """The same on a file system that no path leads to."""
    files = fsspec.filesystem("memory")
    files.put(str(mixed), "/bucket/mixed", recursive=True)
    yield "memory://bucket/mixed"
    files.rm("/bucket", recursive=True)


@pytest.mark.parametrize("where", ["path", "file://", "local://", "memory://"])
def test_files_archives_and_tables_give_their_bytes_wherever_they_lie(mixed, memory, where):
    given = {"path": str(mixed), "file://": f"file://{mixed}/", "local://": f"local://{mixed}", "memory://": memory}
    root = str(mixed) if where == "file://" else given[where]
    source = located(given[where])
    assert source == root
    pieces = found(source)
    assert max(map(len, pieces.pieces)) <= 4
    assert read(pieces.pieces) == expected(root)
    assert (pieces.other, pieces.unreadable) == (2, [])  # notes.txt and 0.txt


def test_a_single_archive_or_table_is_a_source(mixed):
    assert len(read(found(str(mixed / "a.tar")).pieces)) == len(read(found(f"local://{mixed}/t.parquet").pieces)) == 10
    with pytest.raises(UserError, match="no such file or folder there"):
        find_images("memory://nowhere/at all")
    with pytest.raises(UserError, match="unheard"):
        find_images("unheard://of/x")


def test_the_last_member_of_a_name_counts_as_when_unpacked(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("x.jpg", b"old"), ("y.jpg", b"y"), ("x.jpg", b"new")])
    assert read(found(str(path)).pieces) == {f"{path}/y.jpg": b"y", f"{path}/x.jpg": b"new"}


def test_what_cannot_be_looked_into_is_named(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"x")
    (tmp_path / "b.tar").write_bytes(b"no archive" * 100)
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no table PAR1")
    pq.write_table(pa.table({"text": ["a"], "number": [1]}), tmp_path / "d.parquet")
    pq.write_table(pa.table({"front": [b"x"], "back": [b"y"]}), tmp_path / "e.parquet")
    whole = write_tar(tmp_path / "f.tar", list(IMAGES.items()))
    whole.write_bytes(whole.read_bytes()[:9000])
    for root in (str(tmp_path), f"local://{tmp_path}"):
        pieces = found(root)
        problems = {path.name: reason for path, reason in pieces.unreadable}
        assert {name: any(word in problems[name] for word in words) for name, words in {
            "a.tar.gz": ["decompress it first"],
            "b.tar": ["not a tar archive"],
            "c.parquet": ["not a Parquet file"],
            "d.parquet": ["no column of images: none of bytes"],
            "e.parquet": ["(front, back); choose with --image-column"],
            "f.tar": ["cut off; the members that can be read are used"],
        }.items()} == dict.fromkeys(problems, True)  # fmt: skip
        assert 0 < len(read(pieces.pieces)) < len(IMAGES)


@pytest.mark.parametrize("column", [None, "image", "front"])
def test_the_column_of_images_is_the_likely_or_the_named_one(tmp_path, column):
    table = struct_table([b"a", b"b"]).append_column("front", pa.array([b"c", b"d"], pa.large_binary()))
    pq.write_table(table, tmp_path / "t.parquet")
    file = StoredFile(str(tmp_path / "t.parquet"), 0, 0)
    inside = look_into_table(file, column)
    pieces = list(cut_table("s", file, inside.groups, inside.column))
    assert list(read(pieces).values()) == ([b"c", b"d"] if column == "front" else [b"a", b"b"])
    assert "no column 'label'" in look_into_table(file, "label").problem


def test_a_shard_of_a_collection_is_no_input(tmp_path):
    row = shard_file.ShardRow("a.jpg", 1, 1, reason="x", thumbnail=b"jpeg")
    with (tmp_path / "s.parquet").open("wb") as sink:
        shard_writer.write_table(shard_writer.to_table([row], 3), sink, encoder="e", dim=3)
    pieces = found(str(tmp_path))
    assert (pieces.pieces, pieces.other, pieces.unreadable) == ([], 1, [])


# -- cutting and names


def stored(names: Sequence[str]) -> list[StoredFile]:
    return [StoredFile(f"/data/{name}.jpg", 10, 20) for name in sorted(names)]


def test_an_added_file_changes_the_shards_around_it_only():
    draw = random.Random(0)
    names = [f"{draw.randrange(10**9):09d}" for _ in range(1000)]
    before = list(cut_files("/data", stored(names), 64))
    assert [file for piece in before for file in piece.files] == stored(names)
    assert max(map(len, before)) <= 64 and len(before) < 1000 / 24
    known = {piece.name("e") for piece in before}
    for change in range(0, 400, 20):
        fewer = [*names[:change], *names[change + 1 :]]
        after = {piece.name("e") for piece in cut_files("/data", stored(fewer), 64)}
        assert len(after - known) <= 6  # of about 25


def test_a_name_is_of_the_encoder_and_of_all_that_was_read():
    file, member = StoredFile("/a.tar", 10, 20), Member("x.jpg", 512, 3)
    [piece] = cut_archive("/", file, [member])
    [first, second] = cut_table("/", file, [2, 2], "image", most=2)
    names = {
        piece.name("e"),
        piece.name("f"),
        first.name("e"),
        second.name("e"),
        next(cut_table("/", file, [2], "front")).name("e"),
        *(next(cut_archive("/", other, [member])).name("e") for other in (
            StoredFile("/b.tar", 10, 20), StoredFile("/a.tar", 11, 20), StoredFile("/a.tar", 10, 21),
            StoredFile("/a.tar", 10, 20, "etag"),
        )),
    }  # fmt: skip
    assert len(names) == 9 and all(len(name) == 64 for name in names)
    assert piece.name("e") == next(cut_archive("/", file, [member])).name("e")


@pytest.mark.parametrize("seed", range(5))
def test_tables_are_cut_into_whole_row_groups_where_these_are_small(seed):
    draw = random.Random(seed)
    groups = [draw.choice([1, 3, 10, 25, 0]) for _ in range(30)]
    parts = [piece.part for piece in cut_table("s", StoredFile("t", 1, 1), groups, "image", most=10)]
    covered = [row for part in parts if part for row in range(part.first, part.stop)]
    assert covered == list(range(sum(groups)))
    assert all(part and 0 < part.stop - part.first <= 10 for part in parts)
    whole = next(iter(cut_table("s", StoredFile("t", 1, 1), [3, 3, 3, 3], "image", most=10))).part
    assert whole is not None and whole.stop == 9


def test_names_that_are_not_utf8_keep_their_bytes():
    assert exact("/a/ü.jpg") == ("/a/ü.jpg", None)
    assert exact(os.fsdecode(b"/a/\xff.jpg")) == ("/a/\ufffd.jpg", b"/a/\xff.jpg")


# -- what goes wrong while reading


def problems(piece: Piece) -> list[str]:
    return [str(source) if isinstance(source, ImageError) else "" for source, _ in contents(piece)]


def test_rows_without_bytes_and_damaged_tables_are_rows_with_a_reason(tmp_path):
    path = tmp_path / "t.parquet"
    values = [b"a", None, *IMAGES.values()]
    pq.write_table(struct_table(values), path, row_group_size=6)
    [piece] = found(str(path), most=100).pieces
    assert problems(piece) == ["", "its row has no bytes", *[""] * 10]
    column = pq.read_metadata(path).row_group(1).column(1)
    assert column.path_in_schema == "image.bytes"
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + 30] = b"\xff" * 30
    path.write_bytes(content)
    assert problems(piece)[:6] == ["", "its row has no bytes", "", "", "", ""]
    assert ["its table is damaged" in said for said in problems(piece)[6:]] == [True] * 6
    pq.write_table(struct_table(values[:5]), path)
    assert problems(piece) == ["its table has changed since it was listed"] * 12
    path.unlink()
    assert all("no such file" in one.lower() for one in problems(piece))


def test_remote_files_that_are_gone_or_changed_are_rows_to_try_again(memory, monkeypatch):
    files = fsspec.filesystem("memory")
    piece = found(f"{memory}/loose", most=100).pieces[0]
    files.rm("/bucket/mixed/loose/00.jpg")
    files.pipe("/bucket/mixed/loose/01.jpg", b"short")
    monkeypatch.setattr(contents_module, "LARGEST_MEMBER", 58)
    given = [source for source, _ in contents(piece)]
    assert str(given[0]) == "the file is gone" and "changed" in str(given[1]) and "too large" in str(given[9])
    assert [source.lasting for source in given if isinstance(source, ImageError)] == [False, False, True]
    assert given[2:9] == list(IMAGES.values())[2:9]


# -- embedding a piece


def deadly(content: bytes, decoded: Decoded) -> dict:
    if content.endswith(b"deadly"):
        os._exit(3)
    return {}


def test_what_crashes_the_decoder_costs_one_image_and_the_workers_stay(tmp_path):
    encoder = Encoder(small_encoder(tmp_path / "small.onnx"), device="cpu")
    files = [paint(tmp_path / f"{number}.png", number) for number in range(5)]
    sources: list[Source] = [file.read_bytes() for file in files]
    sources[3] = files[3].read_bytes() + b"deadly"
    sources.append(ImageError("so it is", lasting=False))
    with Embedders(encoder, facts=deadly) as embedders:
        for _ in range(2):
            outcomes = [outcome for chunk in embedders.embed(iter(sources)) for outcome in chunk]
            errors = [outcome.error for outcome in outcomes]
            assert errors == [None, None, None, "decoding it crashed the decoder", None, "so it is"]
            assert not outcomes[5].lasting
            for number in (0, 1, 2, 4):
                vector = outcomes[number].vector
                assert vector is not None
                np.testing.assert_allclose(vector, expected_vector(files[number]), atol=1e-5)
        assert list(embedders.embed([])) == []


def test_a_shard_holds_a_row_for_every_image(tmp_path):
    encoder = Encoder(small_encoder(tmp_path / "small.onnx"), device="cpu")
    folder = tmp_path / "pictures"
    files = [paint(folder / name, number) for number, name in enumerate(["a.png", "b.png", "c.png"])]
    files.append(folder / os.fsdecode(b"d\xff.png"))
    files[0].rename(files[3])
    (folder / "broken.png").write_bytes(b"x")
    exif = paint(folder / "taken.jpg", 9)
    with Image.open(exif) as image:
        tags = image.getexif()
        tags.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
        image.save(exif, exif=tags)
    [piece] = found(str(folder), most=100).pieces
    (folder / "b.png").unlink()  # between listing and reading
    with PieceEmbedder(encoder) as embedder:
        seen: list[int] = []
        content = embedder.embed(piece, seen.append)
    assert seen[-1] == 5
    name = piece.name(encoder.identity)
    file = shard_file.shard_file(tmp_path, name)
    file.parent.mkdir()
    file.write_bytes(content)
    facts = shard_parquet_reader.read_facts(file, encoder.identity, encoder.dim)
    assert {key: facts.extra[key] for key in ("source", "unusable", "retry")} == {
        "source": str(folder), "unusable": "2", "retry": "1",
    }  # fmt: skip
    rows = {row["path"]: row for group in shard_parquet_reader.read_rows(file) for row in group}
    assert list(rows) == [str(folder / "b.png"), str(folder / "broken.png"), str(folder / "c.png"),
                          os.fsencode(files[3]), str(exif)]  # fmt: skip
    assert rows[str(folder / "b.png")]["mtime_ns"] == -1 and "no such file" in rows[str(folder / "b.png")]["reason"]
    assert rows[str(folder / "broken.png")]["digest"] is None
    assert datetime.fromisoformat(rows[str(exif)]["taken"]) == datetime(2020, 1, 2, 3, 4, 5)
    [vectors] = shard_parquet_reader.read_vectors(file)
    np.testing.assert_allclose(vectors[2], expected_vector(files[2]), atol=5e-4)


def test_a_machine_that_lacks_the_version_or_does_not_see_the_images_says_so(tmp_path):
    class Copy:
        def file(self) -> Path:
            return small_encoder(tmp_path / "small.onnx")

    piece = Piece("/not/here", (StoredFile("/not/here/a.jpg", 1, 1),))
    row = {"number": 3, "piece": packed(piece)}
    other = Embedder("0.0.0", Copy(), "cpu", 1, None)(row)  # type: ignore[arg-type]
    assert "0.0.0 here; make them equal" in other["problem"] and other["number"] == 3 and not other["shard"]
    from simsiam_retrieval import __version__

    unseen = Embedder(__version__, Copy(), "cpu", 1, None)(row)  # type: ignore[arg-type]
    assert "does not see /not/here" in unseen["problem"]


def test_what_killed_clusters_left_is_removed(tmp_path: Path) -> None:
    """A process that is killed cannot remove Ray's folder; the next one does, but for those that are in use."""
    for name in ("ray-killed", "ray-running", "ray-of-others"):
        (tmp_path / name / "session").mkdir(parents=True)
    (tmp_path / "ray-killed" / OWNER_FILE).touch()
    with FileLock(tmp_path / "ray-running" / OWNER_FILE):
        remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"ray-running", "ray-of-others"}
