"""COCO's metrics on cases whose values can be worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from simsiam_retrieval.detection.annotations import DetectionSet, Picture
from simsiam_retrieval.detection.coco_metrics import Detections, average_precision
from simsiam_retrieval.detection.segmentations import mask_of, run_lengths

SQUARE = (100, 100, 200, 200)
ONE = pytest.approx(1)  # pycocotools adds a rounding error to the number of detections


def truth(*objects: tuple, segmentations: list | None = None) -> Picture:
    """Objects (box, label, "difficult" or "crowd" or nothing) on an image of 400 x 300 pixels."""
    boxes = np.array([one[0] for one in objects], np.float32).reshape(-1, 4)
    return Picture(
        file=Path("none"),
        width=400,
        height=300,
        boxes=boxes,
        labels=np.array([one[1] for one in objects], np.int64),
        difficult=np.array(["difficult" in one for one in objects], bool),
        crowd=np.array(["crowd" in one for one in objects], bool),
        areas=((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).astype(float),
        segmentations=segmentations or [None] * len(objects),
    )


def found(*rows: tuple, masks: list | None = None) -> Detections:
    """Detections (box, label, score)."""
    boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
    return Detections(
        boxes, np.array([row[1] for row in rows], np.int64), np.array([row[2] for row in rows], np.float32), masks
    )


def measured(pictures: list[Picture], detections: list[Detections], classes: int = 1) -> dict:
    names = tuple("abcdef"[:classes])
    return average_precision(DetectionSet("set", names, pictures), detections)["box"]


def moved(box: tuple[int, ...], right: int) -> tuple[int, ...]:
    return (box[0] + right, box[1], box[2] + right, box[3])


def test_a_wrong_detection_between_two_right_ones() -> None:
    other = moved(SQUARE, 150)
    picture = truth((SQUARE, 1), (other, 1))
    detections = found((SQUARE, 1, 0.9), ((0, 0, 20, 20), 1, 0.8), (other, 1, 0.7))
    # recall .5 at precision 1, recall 1 at 2/3; 51 and 50 of the 101 points of recall
    expected = (51 + 50 * 2 / 3) / 101
    result = measured([picture], [detections])
    for name in ("AP", "AP50", "AP75"):
        assert result[name] == pytest.approx(expected)


@pytest.mark.parametrize(("right", "thresholds"), [(20, 4), (10, 7), (40, 0), (0, 10)])
def test_overlap_counts_up_to_its_threshold(right: int, thresholds: int) -> None:
    # two squares of 100 pixels, moved: IoU (100 - right) / (100 + right) = .667, .818, .429, 1
    result = measured([truth((SQUARE, 1))], [found((moved(SQUARE, right), 1, 0.9))])
    assert result["AP"] == pytest.approx(thresholds / 10)
    assert result["AP50"] == pytest.approx(float(thresholds > 0)) and result["AP75"] == pytest.approx(
        float(thresholds > 5)
    )


def test_classes_count_alike_and_those_without_objects_not() -> None:
    pictures = [truth((SQUARE, 1), (moved(SQUARE, 150), 1)), truth((SQUARE, 2))]
    detections = [found((SQUARE, 1, 0.9)), found((SQUARE, 1, 0.5), (SQUARE, 3, 0.9))]
    result = measured(pictures, detections, classes=3)
    assert result["classes"]["a"] == pytest.approx(51 / 101)  # half of them are found, the wrong one comes after
    assert result["classes"]["b"] == 0 and result["classes"]["c"] is None
    assert result["AP"] == pytest.approx(51 / 101 / 2)


def test_difficult_objects_and_crowds_are_neither_right_nor_wrong() -> None:
    far = (300, 200, 400, 300)
    for kind in ("difficult", "crowd"):
        picture = truth((SQUARE, 1), (far, 1, kind))
        assert measured([picture], [found((SQUARE, 1, 0.5))])["AP"] == ONE  # missing it costs nothing
        both = found((far, 1, 0.9), (SQUARE, 1, 0.5))
        assert measured([picture], [both])["AP"] == ONE  # nor does finding it
    # many detections inside a crowd: all are ignored; a second one on a difficult object is wrong
    inside = found(((300, 200, 340, 260), 1, 0.9), ((350, 220, 390, 290), 1, 0.8), (SQUARE, 1, 0.5))
    assert measured([truth((SQUARE, 1), (far, 1, "crowd"))], [inside])["AP"] == ONE
    assert measured([truth((SQUARE, 1), (far, 1, "difficult"))], [inside])["AP"] == pytest.approx(1 / 3)


def test_nothing_found_is_zero_and_sizes_are_in_stored_pixels() -> None:
    small = (10, 10, 30, 30)
    result = measured([truth((SQUARE, 1), (small, 1))], [found()])
    assert (result["AP"], result["APs"], result["APl"]) == (0, 0, 0) and result["APm"] is None
    result = measured([truth((SQUARE, 1), (small, 1))], [found((small, 1, 0.9))])
    assert (result["APs"], result["APl"]) == (ONE, 0)


def test_masks_are_compared_as_masks(capsys: pytest.CaptureFixture[str]) -> None:
    triangle = [[100, 100, 200, 100, 100, 200]]
    picture = truth((SQUARE, 1), segmentations=[triangle])
    part = DetectionSet("set", ("a",), [picture])
    whole = run_lengths([[100, 100, 200, 100, 200, 200, 100, 200]], 400, 300)
    same = run_lengths(triangle, 400, 300)
    for masks, ap in ((whole, (0.0, 0.1)), (same, (1.0, 1.0))):  # half of the square: IoU .5, or a pixel less
        result = average_precision(part, [found((SQUARE, 1, 0.9), masks=[masks])], masks=True)
        assert result["box"]["AP"] == ONE and ap[0] - 1e-9 <= result["mask"]["AP"] <= ap[1]
    assert capsys.readouterr().out == ""  # where results go


def test_segmentations_in_all_three_forms() -> None:
    box = np.zeros((300, 400), np.uint8)
    box[100:200, 100:200] = 1
    columns = np.flatnonzero(np.diff(np.concatenate([[0], box.T.ravel(), [0]]))).tolist()
    counts = np.diff([0, *columns, box.size]).tolist()
    forms = [
        [[100, 100, 200, 100, 200, 200, 100, 200]],
        {"size": [300, 400], "counts": counts},
        run_lengths({"size": [300, 400], "counts": counts}, 400, 300),
    ]
    for form in forms:
        np.testing.assert_array_equal(mask_of(truth((SQUARE, 1), segmentations=[form]), 0), box)
    for damaged in ([[1, 2, 3]], {"size": [4, 4], "counts": [16]}, {"counts": [3]}, "mask", 7):
        with pytest.raises(ValueError):
            run_lengths(damaged, 400, 300)
