"""The regions of a picture: squares inside it that leave nothing of it out."""

import numpy as np
import pytest

from simsiam_retrieval.collection.regions.region_boxes import SCALES, own_box, region_boxes


@pytest.mark.parametrize(("size", "count"), [((100, 100), 10), ((400, 300), 12), ((300, 400), 12), ((1500, 1000), 12)])
def test_about_ten_regions(size: tuple[int, int], count: int) -> None:
    assert len(region_boxes(*size)) == count


@pytest.mark.parametrize("size", [(100, 100), (400, 300), (200, 300), (160, 90), (1000, 130), (50, 5000), (1, 1)])
def test_squares_that_cover_the_picture(size: tuple[int, int]) -> None:
    width, height = size
    boxes = region_boxes(width, height)
    left, top, across, down = boxes.T
    assert (boxes >= 0).all()
    assert (left + across <= 1 + 1e-6).all()
    assert (top + down <= 1 + 1e-6).all()
    assert across * width == pytest.approx(down * height, rel=1e-4)
    assert set(np.round(across * width / min(size), 3).astype(float).round(3)) == {round(scale, 3) for scale in SCALES}
    centres = np.abs(boxes[:, :2] + boxes[:, 2:] / 2 - 0.5).max(1)
    assert (centres < 1e-6).sum() == len(SCALES)  # one of each scale is in the middle
    if max(size) < 20 * min(size):
        at = (np.arange(200) + 0.5) / 200
        x, y = np.meshgrid(at, at)
        boxes = np.vstack([boxes, own_box(width, height)])
        seen = [(x >= box[0]) & (x <= box[0] + box[2]) & (y >= box[1]) & (y <= box[1] + box[3]) for box in boxes]
        assert np.any(seen, 0).mean() > 0.98


def test_own_box_is_what_the_encoder_sees() -> None:
    assert own_box(400, 300) == pytest.approx((1 / 8, 0, 3 / 4, 1))
    assert own_box(300, 400) == pytest.approx((0, 1 / 8, 1, 3 / 4))
    assert own_box(1000, 100) == (0, 0, 1, 1)  # a long picture is squeezed
