"""Opening and creating collections, and what they say of themselves."""

from pathlib import Path

import pytest

import simsiam_retrieval
from simsiam_retrieval import Collection, UserError
from tests.support.small_encoder import (
    paint,
    small_encoder,
)


def test_open_and_exists(collection, tmp_path):
    assert Collection.exists(collection.folder)
    (tmp_path / "nothing").mkdir()
    for other in (tmp_path / "nothing", tmp_path / "missing", tmp_path / "small.onnx"):
        assert not Collection.exists(other)
        with pytest.raises(UserError, match="not a collection"):
            Collection.open(other)


def test_create_leaves_what_is_there_alone(collection, tmp_path):
    encoder = tmp_path / "small.onnx"
    (tmp_path / "in use").mkdir()
    (tmp_path / "in use" / "thesis.tex").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for used in (tmp_path / "in use", tmp_path / "file", collection.folder):
        with pytest.raises(UserError, match="another --collection"):
            Collection.create(used, encoder)
    assert (tmp_path / "in use" / "thesis.tex").read_text() == (tmp_path / "file").read_text() == "precious"
    assert len(collection) == 5


def test_create_with_a_broken_encoder_leaves_nothing(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"broken\.onnx"):
        Collection.create(tmp_path / "collection", tmp_path / "broken.onnx")
    assert not (tmp_path / "collection").exists()


def test_the_encoder_is_the_collections_own_copy(collection, folder, tmp_path):
    (tmp_path / "small.onnx").unlink()
    with Collection.open(collection.folder) as again:
        assert again.encoder.file.parent == collection.folder
        assert again.encoder.dim == again.dim == 192
        assert again.search(folder / "a.jpg", k=1)[0].path == folder / "a.jpg"


def test_another_encoder_is_refused(collection, folder):
    small_encoder(collection.folder / "encoder.onnx", grey=100)
    with Collection.open(collection.folder) as again:
        with pytest.raises(UserError, match="not the encoder"):
            again.search(folder / "a.jpg")
        paint(folder / "new.jpg", 100)
        with pytest.raises(UserError, match="not the encoder"):
            again.update([folder])
        assert len(again.search(next(iter(again)))) == 4  # needs no encoder


def test_what_objects_say_of_themselves(tmp_path: Path) -> None:
    paint(tmp_path / "p" / "<b>&.png", 1)
    paint(tmp_path / "p" / "other.png", 2)
    collection = Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))
    collection.update([tmp_path / "p"], workers=0)
    assert repr(collection) == f"<Collection '{tmp_path / 'made'}': 2 images, encoder {collection.encoder_identity}>"
    shown = repr(collection.encoder)
    assert collection.encoder_identity in shown and "8 px -> 192 numbers" in shown
    hits = collection.search(tmp_path / "p" / "<b>&.png")
    page = hits._repr_html_()
    assert page.count('<img src="data:image/jpeg;base64,') == page.count("<figcaption") == 2
    assert "<b>&.png" not in page and "&lt;b&gt;&amp;.png" in page
    assert isinstance(hits, list) and hits == list(hits) and hits[0].rank == 1
    collection.close()
    assert repr(collection) == f"<Collection '{tmp_path / 'made'}', not open>"
    assert simsiam_retrieval.Filter(names=("other*",))
