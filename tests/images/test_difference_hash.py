"""The difference hash: its bits, and what changes them."""

import numpy as np
from PIL import Image, ImageDraw

from simsiam_retrieval.images.difference_hash import difference_hash


def test_the_hash_is_that_of_rising_brightness() -> None:
    slope = np.tile(np.arange(0, 144, 2, dtype=np.uint8)[None, :, None], (72, 1, 3))
    bits = np.unpackbits(difference_hash(Image.fromarray(slope)))
    assert bits[:64].all() and not bits[64:].any()
    assert not np.unpackbits(difference_hash(Image.fromarray(slope[:, ::-1]))).any()


def test_a_text_changes_few_bits(photos) -> None:
    image = Image.open(photos / "castles/neuschwanstein-castle.jpg").convert("RGB")
    edited = image.copy()
    ImageDraw.Draw(edited).text((10, 100), "Greetings!", fill="white", font_size=image.height // 6)
    other = Image.open(photos / "windmills/kinderdijk-windmills.jpg")
    hashes = [difference_hash(one) for one in (image, image.convert("L"), edited, other)]
    apart = [int(np.unpackbits(hashes[0] ^ one).sum()) for one in hashes]
    assert apart[0] == apart[1] == 0 and 0 < apart[2] <= 24 < apart[3]
