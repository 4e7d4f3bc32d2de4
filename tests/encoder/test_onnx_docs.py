"""The code of docs/onnx.md and of model cards: it sees in every kind of file what the package sees."""

import inspect
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval import load_encoder
from simsiam_retrieval.encoder.find_encoder import default_encoder_file
from simsiam_retrieval.images.decode import decode
from simsiam_retrieval.publishing.load_rgb import load_rgb
from tests.support.image_files import asymmetrical, wide_profile, with_orientation
from tests.support.small_encoder import paint, small_encoder

PAGE = Path(__file__).parents[2] / "docs/onnx.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()


def picture(mode: str) -> Image.Image:
    return Image.fromarray(asymmetrical()).convert(mode)


def with_alpha() -> Image.Image:
    image = picture("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def grey(kind: type, low: float, high: float) -> Image.Image:
    return Image.fromarray(np.linspace(low, high, 48 * 80).reshape(48, 80).astype(kind))


def keyed() -> bytes:
    image = picture("RGB").quantize(8)
    return saved(image, "PNG", transparency=0)


FILES: dict[str, bytes] = {
    **{f"orientation {turn}": with_orientation(asymmetrical(), turn, "JPEG", quality=95) for turn in (3, 5, 6, 8)},
    "PNG with alpha": saved(with_alpha(), "PNG"),
    "WebP with alpha": saved(with_alpha(), "WEBP", lossless=True),
    "grey with alpha": saved(with_alpha().convert("LA"), "PNG"),
    "palette": saved(picture("P"), "PNG"),
    "palette with a transparent colour": keyed(),
    "animation": saved(picture("P"), "GIF", save_all=True, append_images=[Image.new("P", (80, 48))]),
    "16-bit grey PNG": saved(grey(np.uint16, 0, 65535), "PNG"),
    "16-bit grey TIFF": saved(grey(np.uint16, 300, 40000), "TIFF"),
    "float TIFF": saved(grey(np.float32, -3.5, 12.25), "TIFF"),
    "32-bit TIFF": saved(grey(np.int32, -70_000, 900_000), "TIFF"),
    "black and white": saved(picture("1"), "PNG"),
    "CMYK": saved(picture("CMYK"), "JPEG", quality=95),
    "colour profile": saved(picture("RGB"), "PNG", icc_profile=wide_profile()),
    "colour profile and alpha": saved(with_alpha(), "PNG", icc_profile=wide_profile()),
    "bitmap": saved(picture("RGB"), "BMP"),
}


def test_the_page_and_the_cards_have_one_function() -> None:
    assert inspect.getsource(load_rgb).strip() in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", FILES)
def test_a_file_looks_the_same_to_both(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_bytes(FILES[kind])
    scope: dict[str, Any] = {}
    exec(BLOCKS[0], scope)
    ours, theirs = np.asarray(decode(FILES[kind]), int), scope["load_rgb"](tmp_path / "file")
    assert theirs.dtype == np.uint8
    np.testing.assert_allclose(theirs, ours, atol=1)
    plain = np.asarray(Image.open(io.BytesIO(FILES[kind])).convert("RGB"), int)
    if kind not in ("palette", "animation", "black and white", "CMYK", "bitmap"):  # else the test would show nothing
        assert plain.shape != ours.shape or np.abs(plain - ours).max() > 10


def test_the_page_runs_and_gives_the_vectors_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image through the shipped encoder; two of different sizes as one batch."""
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "a.jpg", 1, (120, 90))
    (tmp_path / "b.png").write_bytes(FILES["PNG with alpha"])
    (tmp_path / "encoder.onnx").symlink_to(default_encoder_file())
    scope: dict[str, Any] = {}
    for block in BLOCKS:
        exec(block, scope)
    expected = load_encoder(device="cpu").embed(["a.jpg", "b.png"])
    assert scope["vector"] @ expected[0] > 0.9999
    assert ((scope["vectors"] * expected).sum(axis=1) > 0.9999).all()


@pytest.mark.parametrize("size", [(120, 90), (250, 100), (251, 100), (40, 300)])
def test_a_batch_through_an_encoder_of_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    """Photos and long pictures."""
    monkeypatch.chdir(tmp_path)
    small_encoder(tmp_path / "encoder.onnx")
    paint(tmp_path / "a.jpg", 1, size)
    (tmp_path / "b.png").write_bytes(FILES["colour profile and alpha"])
    scope: dict[str, Any] = {}
    for block in (BLOCKS[0], *(block.replace("vector = ", "# ") for block in BLOCKS[1:])):
        exec(block, scope)
    expected = load_encoder(tmp_path / "encoder.onnx", device="cpu").embed(["a.jpg", "b.png"])
    assert ((scope["vectors"] * expected).sum(axis=1) > 0.9999).all()
