"""The demo runs the main job with the shipped encoder, and the shipped encoder finds what it should."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from simsiam_retrieval import Collection, load_encoder
from simsiam_retrieval.encoder.find_encoder import default_encoder_file


def test_demo_indexes_searches_and_draws(run_command, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    done = run_command("demo", "--no-app", "--sheet", sheet, SIMSIAM_RETRIEVAL_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("126 photos in")
    assert Image.open(sheet).size[0] > 1000
    with Collection.open(tmp_path / "home" / "collections" / "demo") as collection:
        assert len(collection) == 126
    # the demo's collection must not become the one that `index` and `search` work on
    assert not (tmp_path / "home" / "last.json").exists()


def test_shipped_encoder_finds_the_near_duplicates_first(tmp_path: Path, photos: Path) -> None:
    """Three photos come with a copy: cropped, scaled down, and turned with an EXIF flag."""
    encoder = load_encoder()
    files = sorted(photos.glob("**/*.jpg"))
    vectors = encoder.embed(files)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    copies = [index for index, file in enumerate(files) if "near-duplicate" in file.name]
    assert len(copies) == 3
    for index in copies:
        original = files[index].name.partition("-near-duplicate")[0]
        assert files[similarity[index].argmax()].stem == original


def test_shipped_encoder_finds_kinds_of_photos(photos: Path) -> None:
    """The share of photos whose nearest other photo is of the same folder is far above chance (7 % here)."""
    files = [file for file in sorted(photos.glob("**/*.jpg")) if "near-duplicate" not in file.name]
    vectors = load_encoder().embed(files)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    same = [files[i].parent == files[j].parent for i, j in enumerate(similarity.argmax(axis=1))]
    assert np.mean(same) > 0.25


def test_shipped_encoder_and_its_card_belong_together() -> None:
    encoder = load_encoder()
    facts = json.loads(default_encoder_file().with_suffix(".json").read_text())
    card = default_encoder_file().with_name("CARD.md").read_text()
    assert encoder.identity in card
    assert facts["image_size"] == encoder.image_size
    assert default_encoder_file().stat().st_size < 25_000_000
