"""The kind of made pairs: edits, crops with their box, and different photos, which are no copies."""

import io
import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from simsiam_retrieval.collection.duplicates.pixels.agreement import agreement
from simsiam_retrieval.collection.duplicates.pixels.alignment import by_features, clear_matches, over_the_frame
from simsiam_retrieval.collection.duplicates.pixels.blurring import blurred_like, softness
from simsiam_retrieval.collection.duplicates.pixels.cells import best_rectangle
from simsiam_retrieval.collection.duplicates.pixels.compression import blockiness, compressed_like
from simsiam_retrieval.collection.duplicates.pixels.copy_rules import is_copy
from simsiam_retrieval.collection.duplicates.pixels.kinds import BURST, COPIES, CROP, EDITED, LOOK_ALIKE, RESIZED
from simsiam_retrieval.collection.duplicates.pixels.picture import Picture
from simsiam_retrieval.collection.duplicates.pixels.verdict import verdict

PHOTOS = ("windmills/kinderdijk-windmills.jpg", "castles/neuschwanstein-castle.jpg")


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def text(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).text((10, image.height // 3), "Greetings!", fill="yellow", font_size=image.height // 5)
    return jpeg(image, 85)


def screenshot(image: Image.Image) -> Image.Image:
    """The left top quarter, enlarged by a half, in a window with a bar."""
    part = image.crop((0, 0, image.width // 2, image.height // 2))
    part = part.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.BICUBIC)
    window = Image.new("RGB", (image.width, image.height), "#e8e8e8")
    window.paste((60, 60, 70), (0, 0, image.width, image.height // 12))
    window.paste(part, (image.width // 8, image.height // 8))
    return window


@pytest.fixture(scope="module", params=PHOTOS)
def photo(request, photos: Path) -> Image.Image:
    return Image.open(photos / request.param).convert("RGB")


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> Image.Image:
    return photo.resize((160, round(160 * photo.height / photo.width)), Image.Resampling.LANCZOS)


@pytest.mark.parametrize(
    ("edit", "kind", "detail"),
    [
        (lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS), RESIZED, ""),
        (lambda image: jpeg(image, 30), RESIZED, ""),
        (lambda image: jpeg(image, 8), RESIZED, ""),
        (lambda image: image.filter(ImageFilter.GaussianBlur(2)), RESIZED, ""),
        (ImageOps.mirror, EDITED, "mirrored"),
        (lambda image: image.rotate(90, expand=True), EDITED, "turned by 270°"),
        (lambda image: image.rotate(180), EDITED, "turned by 180°"),
        (lambda image: image.rotate(-5, Image.Resampling.BICUBIC), EDITED, "turned by 5°"),
        (lambda image: Image.merge("RGB", image.split()[::-1]), EDITED, "colours"),
        (lambda image: ImageOps.expand(image, image.width // 10, "white"), EDITED, "border"),
        (text, EDITED, "parts changed"),
    ],
)
def test_edits_have_their_kind(photo: Image.Image, edit, kind: str, detail: str) -> None:
    found = verdict(Picture(photo), Picture(edit(photo)))
    assert (found.kind, found.detail, found.part, found.box) == (kind, detail, "", None)


@pytest.mark.parametrize("quality", [3, 6, 10])
@pytest.mark.parametrize("resaved", [False, True])
@pytest.mark.parametrize("factor", [0.5, 1, 1.7])
def test_a_small_picture_after_hard_compression(small: Image.Image, quality: int, resaved: bool, factor: float) -> None:
    size = (round(small.width * factor), round(small.height * factor))
    hard = jpeg(small.resize(size, Image.Resampling.BICUBIC), quality)
    hard = jpeg(hard, 90) if resaved else hard
    for one, other in ((small, hard), (hard, small)):
        found = verdict(Picture(one), Picture(other))
        assert (found.kind, found.detail) == (RESIZED, "")


@pytest.mark.parametrize("place", [0.05, 0.4, 0.75])
def test_a_text_across_a_small_picture(small: Image.Image, place: float) -> None:
    """A sixth of the height and nearly all of the width; the rest is as it was."""
    edited = small.copy()
    where = (small.width // 20, round(place * small.height))
    ImageDraw.Draw(edited).text(where, "SUMMER 2026", fill="white", font_size=small.height // 6, stroke_width=1)
    for quality in (90, 50):
        found = verdict(Picture(small), Picture(jpeg(edited, quality)))
        assert (found.kind, found.detail) == (EDITED, "parts changed")


def test_two_texts_on_one_picture(small: Image.Image) -> None:
    """As in jokes with the same photo: a line at the top, and another one at the bottom."""
    pictures = []
    for words in ("ONE DOES", "I SAID SO"):
        edited = small.copy()
        draw = ImageDraw.Draw(edited)
        for place in (2, round(0.84 * small.height)):
            draw.text((5, place), words, fill="white", font_size=small.height // 8, stroke_width=1)
        pictures.append(Picture(jpeg(edited, 85)))
    assert verdict(*pictures).kind == EDITED


def test_different_pictures_in_one_frame_are_no_copies(photos: Path) -> None:
    """A white border with a thin line, and a black ground, as in a maker's catalogue: half of the cells are equal."""
    framed = []
    for name in ("planets/neptune.jpg", "pets/tabby-cat.jpg", *PHOTOS):
        sheet = Image.new("RGB", (170, 128), "white")
        ImageDraw.Draw(sheet).rectangle((20, 16, 149, 111), fill=(8, 8, 10), outline=(120, 120, 120))
        sheet.paste(Image.open(photos / name).convert("RGB").resize((84, 56)), (43, 36))
        framed.append(Picture(jpeg(sheet, 90)))
    for one, other in itertools.combinations(framed, 2):
        assert verdict(one, other).kind not in COPIES


def test_two_shots_of_one_scene_are_no_copies(photo: Image.Image) -> None:
    """The hand moved the camera a little, and what is in the middle moved as well."""
    left, top, width, height = (
        round(side * share) for side, share in zip(photo.size * 2, (0.3, 0.25, 0.4, 0.5), strict=True)
    )
    middle = photo.crop((left, top, left + width, top + height))
    moved = (1, 0.12, -9, 0.1, 1, -7)
    other = photo.copy()
    other.paste(middle.transform(middle.size, Image.Transform.AFFINE, moved, Image.Resampling.BICUBIC), (left, top))
    other = other.rotate(0.6, Image.Resampling.BICUBIC).crop((6, 6, photo.width - 6, photo.height - 6))
    other = other.point([min(255, round(value * 1.02 + 2)) for value in range(256)] * 3)
    for quality in (60, 90):
        assert verdict(Picture(photo), Picture(jpeg(other, quality))).kind not in COPIES


def test_what_changed_tells_shots_and_series_from_copies(photo: Image.Image) -> None:
    first, second = Picture(photo), Picture(photo.crop((0, 0, photo.width * 3 // 4, photo.height * 3 // 4)))
    alignment = next(by_features(first, second))
    found = agreement(first, second, alignment)
    assert found is not None and is_copy(alignment, found)
    assert not is_copy(alignment, replace(found, changed=0.12, correlation=0.981))  # somebody smiles now
    assert is_copy(alignment, replace(found, changed=0.12, correlation=0.992))
    angle = np.radians(0.8)  # a hand holds the camera; the light is another one
    tilted = replace(alignment, matrix=np.array([[1, -angle, 0], [angle, 1, 0]]))
    assert is_copy(tilted, found)
    assert not is_copy(tilted, replace(found, untouched=replace(found.untouched, light=4.5)))
    series = replace(found.untouched, correlation=0.955)  # the lines around two products are equal
    assert not is_copy(alignment, replace(found, changed=0.08, correlation=0.999, untouched=series))
    assert is_copy(alignment, replace(found, changed=0.04, correlation=0.999, untouched=series))


def test_different_pictures_that_were_compressed_hard_are_no_copies(photos: Path) -> None:
    names = ["planets/neptune.jpg", "planets/uranus.jpg", PHOTOS[0]]
    opened = [Image.open(photos / name).convert("RGB").resize((160, 120)) for name in names]
    for one, other in itertools.permutations(opened, 2):
        assert verdict(Picture(one), Picture(jpeg(other, 5))).kind not in COPIES
        assert verdict(Picture(jpeg(one, 5)), Picture(jpeg(other, 5))).kind not in COPIES


def test_compression_is_found_and_undone(small: Image.Image) -> None:
    hard = Picture(jpeg(small, 7))
    assert blockiness(Picture(small)) < 1.3 < blockiness(hard)
    same = compressed_like(Picture(small), hard)
    assert same.after < 0.5 < 5 < same.before  # the same quality: only the two programs' rounding differs
    mirror = compressed_like(Picture(ImageOps.mirror(small)), hard)
    assert mirror.after > 0.8 * mirror.before


def test_shots_with_other_times_stay_shots_after_compression(small: Image.Image) -> None:
    noon = datetime(2024, 5, 1, 12)
    one, other = Picture(small), Picture(jpeg(small, 4))
    assert verdict(one, other, (noon, noon)).kind == RESIZED
    assert verdict(one, other, (noon, noon + timedelta(seconds=2))).kind == BURST


def test_the_middle_of_a_panorama_is_a_part_of_it(photos: Path) -> None:
    """Six times as wide as high, of three photos; the part has the shape of one of them."""
    names = ("castles/neuschwanstein-castle.jpg", "windmills/kinderdijk-windmills.jpg", "pets/tabby-cat.jpg")
    panorama = Image.new("RGB", (1440, 240))
    for place, name in enumerate(names):
        panorama.paste(Image.open(photos / name).convert("RGB").resize((480, 240)), (480 * place, 0))
    middle = jpeg(panorama.crop((560, 0, 880, 240)), 85)
    found = verdict(Picture(panorama), Picture(middle))
    assert (found.kind, found.part) == (CROP, "second")
    assert found.box == pytest.approx((560 / 1440, 0, 320 / 1440, 1), abs=0.02)


@pytest.mark.parametrize("area", [0.8, 0.5, 0.25])
def test_a_crop_has_its_place(photo: Image.Image, area: float) -> None:
    side = area**0.5
    width, height = round(photo.width * side), round(photo.height * side)
    left, top = (photo.width - width) // 3, (photo.height - height) // 2
    part = jpeg(photo.crop((left, top, left + width, top + height)), 80)
    box = (left / photo.width, top / photo.height, width / photo.width, height / photo.height)
    found = verdict(Picture(photo), Picture(part))
    assert (found.kind, found.part) == (CROP, "second")
    assert found.box == pytest.approx(box, abs=0.02)
    other_way = verdict(Picture(part), Picture(photo))
    assert (other_way.kind, other_way.part) == (CROP, "first")
    assert other_way.box == pytest.approx(box, abs=0.02)


def test_a_mirrored_crop_has_its_place(photo: Image.Image) -> None:
    box = (0, 0, photo.width // 2, photo.height)
    found = verdict(Picture(photo), Picture(ImageOps.mirror(photo.crop(box))))
    assert (found.kind, found.part, found.detail) == (CROP, "second", "mirrored")
    assert found.box == pytest.approx((0, 0, 0.5, 1), abs=0.02)


def test_a_picture_in_a_collage_is_a_part_of_it(photo: Image.Image, photos: Path) -> None:
    collage = Image.new("RGB", (photo.width * 2, photo.height))
    other = Image.open(photos / "pets/tabby-cat.jpg").convert("RGB").resize(photo.size)
    collage.paste(photo, (0, 0))
    collage.paste(other, (photo.width, 0))
    found = verdict(Picture(photo), Picture(collage))
    assert (found.kind, found.part) == (CROP, "first")
    assert found.box == pytest.approx((0, 0, 0.5, 1), abs=0.02)


def test_a_screenshot_of_a_part(photo: Image.Image) -> None:
    found = verdict(Picture(photo), Picture(screenshot(photo)))
    assert (found.kind, found.part, found.detail) == (CROP, "second", "in a frame")
    assert found.box == pytest.approx((0, 0, 0.5, 0.5), abs=0.1)  # found by cells of a twelfth


def test_different_photos_are_no_copies(photos: Path) -> None:
    """Among them two planets, whose outlines are equal, and views of the same kind of thing."""
    names = ["planets/neptune.jpg", "planets/uranus.jpg", *PHOTOS, "pets/tabby-cat.jpg"]
    pictures = [Picture(Image.open(photos / name)) for name in names]
    for place, one in enumerate(pictures):
        for other in pictures[:place]:
            assert verdict(one, other).kind not in COPIES


def test_screens_of_one_program_are_no_copies(photo: Image.Image, photos: Path) -> None:
    """They share a bar at the side, which is a fifth of each."""
    tabby, bar = (Image.open(photos / name).convert("RGB") for name in ("pets/tabby-cat.jpg", "planets/neptune.jpg"))
    screens = []
    for image in (photo, tabby):
        screen = image.resize((400, 300))
        screen.paste(bar.resize((80, 300)), (0, 0))
        screens.append(Picture(screen))
    assert verdict(*screens).kind == LOOK_ALIKE


def test_times_tell_shots_from_copies(photo: Image.Image) -> None:
    """Pixels that a copy could have, but taken two seconds later: a burst; a copy keeps its time or loses it."""
    noon = datetime(2024, 5, 1, 12)
    one, other = Picture(photo), Picture(text(photo))
    assert verdict(one, other, (noon, noon)).kind == EDITED
    assert verdict(one, other, (noon, None)).kind == EDITED
    assert verdict(one, other, (noon, noon + timedelta(seconds=2))).kind == BURST
    assert verdict(one, other, (noon, noon + timedelta(days=2))).kind == LOOK_ALIKE
    assert verdict(one, Picture(photo), (noon, noon + timedelta(days=2))).kind == RESIZED  # the date was changed


def test_pictures_without_details_are_no_copies() -> None:
    slope = np.linspace(0, 255, 200).astype(np.uint8)
    rows = slope, np.sqrt(slope / 255) * 200, np.full(200, 90)
    skies = [np.tile(row.astype(np.uint8)[:, None, None], (1, 300, 3)) for row in rows]
    sky, evening, plain = (Picture(Image.fromarray(pixels)) for pixels in skies)
    for one, other in ((sky, evening), (sky, plain), (plain, plain)):
        assert verdict(one, other).kind == LOOK_ALIKE


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (9, 7)])
def test_tiny_pictures_are_compared_without_a_fault(photo: Image.Image, size: tuple[int, int]) -> None:
    assert verdict(Picture(photo), Picture(photo.resize(size))).kind == LOOK_ALIKE
    assert verdict(Picture(photo.resize(size)), Picture(photo)).kind == LOOK_ALIKE


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_the_frame_is_found_in_all_orientations(photo: Image.Image, quarters: int, mirrored: bool) -> None:
    """A point of the second picture lands where the same detail is in the first one."""
    turned = np.rot90(np.asarray(photo), quarters)  # anticlockwise
    turned = turned[:, ::-1] if mirrored else turned
    one, other = Picture(photo), Picture(Image.fromarray(np.ascontiguousarray(turned)))
    alignment = over_the_frame(one, other)[0]
    assert alignment.mirrored == mirrored
    shown = other.rgb[:, ::-1] if mirrored else other.rgb
    for x, y in ((3, 5), (40, 100)):
        column, row = np.round(alignment.matrix @ [x, y, 1]).astype(int)
        assert (one.rgb[row, column] == shown[y, x]).all()


def test_features_find_a_known_similarity(photo: Image.Image) -> None:
    part = photo.crop((40, 30, 240, 180)).resize((300, 225), Image.Resampling.BICUBIC)
    alignment = next(by_features(Picture(photo), Picture(part)))
    assert alignment.scale == pytest.approx(200 / 300, abs=0.005)
    assert alignment.matrix @ [149.5, 112, 1] == pytest.approx([139.5, 104.5], abs=1)
    assert alignment.inliers >= 8


def test_clear_matches_are_those_of_the_ratio_test() -> None:
    """Against the test written out; among the columns are places beside each other."""
    draw = np.random.default_rng(1)
    places = draw.uniform(0, 40, (60, 2)).astype(np.float32)
    columns = np.abs(draw.normal(size=(60, 16)))
    rows = np.abs(columns[draw.integers(0, 60, 50)] + draw.normal(0, 0.3, (50, 16)))
    cosine = (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ (
        columns / np.linalg.norm(columns, axis=1, keepdims=True)
    ).T
    nearest, clear = clear_matches(cosine.astype(np.float32), places)
    for row in range(50):
        best = max(range(60), key=lambda column: cosine[row, column])
        elsewhere = [c for c in range(60) if np.hypot(*(places[c] - places[best])) >= 6]
        second = max(cosine[row, column] for column in elsewhere)
        assert nearest[row] == best
        assert clear[row] == (np.sqrt(2 - 2 * cosine[row, best]) < 0.8 * np.sqrt(2 - 2 * second))
    assert 0 < clear.sum() < 50


def test_the_best_rectangle_is_the_best_of_all() -> None:
    weights = np.random.default_rng(0).normal(-0.2, 1, (6, 7))

    def total(part: tuple[int, int, int, int]) -> float:
        top, left, bottom, right = part
        return weights[top:bottom, left:right].sum()

    every = [(t, l, b, r) for t in range(6) for b in range(t + 1, 7) for l in range(7) for r in range(l + 1, 8)]
    found = best_rectangle(weights)
    assert found is not None and total(found) == pytest.approx(max(map(total, every)))
    assert best_rectangle(-np.ones((3, 3))) is None


def shirt(words: str, shade: int, seed: int) -> Image.Image:
    """A garment on a cloth, as product photos of one series are: all but its print is where the others have it."""
    generator = np.random.default_rng(seed)
    grain = generator.normal(0, 4, (213, 160, 3))
    image = Image.new("RGB", (160, 213), (110, 15, 50))
    draw = ImageDraw.Draw(image)
    outline = np.array([(40, 40), (62, 32), (98, 32), (120, 40), (140, 70), (122, 82), (118, 180), (42, 180), (38, 82)])
    outline = outline + generator.uniform(-4, 4, outline.shape)
    draw.polygon([tuple(point) for point in outline], fill=(shade, shade, shade))
    draw.multiline_text((55, 70), words, fill=(60, 60, 70), font_size=20, spacing=6)
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def test_products_of_one_series_are_look_alikes() -> None:
    pictures = [Picture(shirt(*one)) for one in (("BIKE\nCLUB", 225, 1), ("SEA\n1984", 215, 2), ("o\nNAVY", 230, 3))]
    kinds = {verdict(first, second).kind for first, second in itertools.combinations(pictures, 2)}
    assert kinds == {LOOK_ALIKE}
    assert verdict(pictures[0], Picture(jpeg(shirt("BIKE\nCLUB", 225, 1), 30))).kind == RESIZED


@pytest.mark.parametrize("radius", [1.0, 2.5])
@pytest.mark.parametrize("factor", [0.6, 1])
def test_a_small_picture_after_blur(small: Image.Image, radius: float, factor: float) -> None:
    size = (round(small.width * factor), round(small.height * factor))
    soft = jpeg(small.resize(size, Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(radius)), 90)
    for one, other in ((small, soft), (soft, small)):
        assert verdict(Picture(one), Picture(other)).kind == RESIZED


def test_blur_is_found_and_undone(small: Image.Image, photos: Path) -> None:
    soft = Picture(small.filter(ImageFilter.GaussianBlur(2)))
    assert softness(Picture(small), soft) < 0.5 and softness(soft, Picture(small)) > 2
    same = blurred_like(Picture(small), soft)
    assert same.after < 0.2 * same.before
    other = Picture(Image.open(photos / "pets/tabby-cat.jpg").resize(small.size))
    made = blurred_like(other, soft)
    assert made.after > 0.6 * made.before
    assert verdict(other, soft).kind not in COPIES


def test_mirrored_features_are_those_of_the_mirrored_picture(photo: Image.Image) -> None:
    """Computed without the mirror image; the few that OpenCV gives another direction differ."""
    mirrored = Picture(photo).mirrored_features
    computed = Picture(ImageOps.mirror(photo)).features
    apart = np.hypot(*(mirrored[0][:, None] - computed[0][None]).transpose(2, 0, 1))
    near = apart.min(axis=1) < 0.5
    assert near.mean() > 0.85
    moved = mirrored[0][near] - computed[0][apart.argmin(axis=1)][near]
    assert np.median(moved, axis=0) == pytest.approx([0, 0], abs=0.05)
    cosine = (mirrored[1] * computed[1][apart.argmin(axis=1)]).sum(axis=1)[near]
    assert np.median(cosine) > 0.999
