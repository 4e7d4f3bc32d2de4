"""Data sets with boxes: what is read from VOC's and COCO's layouts, and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.detection.annotations import DetectionSet, classes_of, prepared
from simsiam_retrieval.detection.check_images import read_sizes
from simsiam_retrieval.detection.coco_metrics import Detections, average_precision
from simsiam_retrieval.detection.dataset_parts import Parts, read_parts
from simsiam_retrieval.detection.detection_batches import draws, load_sample
from simsiam_retrieval.detection.voc import read_voc
from tests.support.detection_sets import as_coco, draw, voc_folder, write_split, write_xml


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return voc_folder(tmp_path / "voc", {"train": 4, "val": 2, "test": 3})


def read(folder: Path, **options) -> Parts:
    return read_parts([folder], None, workers=0, **options)


def refusal(folder: Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_voc_pixels_become_corners(tmp_path: Path) -> None:
    draw(tmp_path / "JPEGImages" / "a.jpg", [("disc", (10, 20, 40, 50))], 0)
    objects = [("disc", 10, 20, 40, 50), ("square", -3, 60, 30, 64), ("square", 70, 5, 70, 30), ("disc", 0, 0, 96, 64)]
    write_xml(tmp_path / "Annotations" / "a.xml", objects, difficult=[3])
    write_split(tmp_path, "train", ["a  1"])  # lists of single classes have a second column
    part = read_voc(tmp_path, "train")
    found = prepared(part, [(96, 64)], classes_of([part]))
    picture = found.pictures[0]
    assert picture.boxes.tolist() == [[10, 20, 40, 50], [0, 60, 30, 64], [0, 0, 96, 64]]
    assert picture.labels.tolist() == [1, 2, 1] and found.classes == ("disc", "square")
    assert picture.difficult.tolist() == [False, False, True]
    assert picture.areas.tolist() == [900, 120, 96 * 64]
    said = " ".join(found.remarks)
    assert "1 of the boxes cut at the image's border" in said and "1 of the boxes left out: no area" in said


def test_both_layouts_give_equal_sets_and_metrics(voc: Path, tmp_path: Path) -> None:
    write_xml(voc / "Annotations" / "blobs006.xml", [("disc", 5, 5, 30, 30), ("square", 50, 20, 80, 44)], difficult=[1])
    sets = {split: read_voc(voc, split) for split in ("train", "val", "test")}
    coco = as_coco(sets, tmp_path / "coco")
    ours, theirs = read(voc, choosing=True), read(coco, choosing=True)
    assert ours.val is not None and theirs.val is not None
    for one, other in ((ours.train, theirs.train), (ours.val, theirs.val), (ours.test, theirs.test)):
        assert one.classes == other.classes and one.fingerprint() == other.fingerprint()
        for a, b in zip(one.pictures, other.pictures, strict=True):
            for name in ("boxes", "labels", "difficult", "crowd", "areas"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
            assert (a.width, a.height, a.file.read_bytes()) == (b.width, b.height, b.file.read_bytes())
    random = np.random.default_rng(0)
    found = [
        Detections(
            p.boxes + random.normal(0, 2, p.boxes.shape).astype(np.float32),
            p.labels,
            random.random(len(p.boxes), np.float32),
        )
        for p in ours.test.pictures
    ]
    measured = average_precision(ours.test, found)
    assert measured == average_precision(theirs.test, found)
    assert 0.2 < measured["box"]["AP"] < 1


def test_other_segmentations_are_other_data(voc: Path, tmp_path: Path) -> None:
    sets = {split: read_voc(voc, split) for split in ("train", "val", "test")}
    coco = as_coco(sets, tmp_path / "coco", masks=True)
    before = read(coco).train.fingerprint()
    assert read(coco).train.fingerprint() == before
    file = coco / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"][0][0] += 1
    file.write_text(json.dumps(content))
    assert read(coco).train.fingerprint() != before


def test_coco_crowds_names_and_places(voc: Path, tmp_path: Path) -> None:
    coco = as_coco({"train2017": read_voc(voc, "train"), "val2017": read_voc(voc, "val")}, tmp_path)
    file = coco / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["iscrowd"] = 1
    content["images"][0]["width"] = 0  # not known
    file.write_text(json.dumps(content))
    (coco / "train2017").rename(coco / "images")
    parts = read(coco)  # "train" and, for want of a test part, "val"
    assert len(parts.train.pictures) == 4 and len(parts.test.pictures) == 2
    first = parts.train.pictures[0]
    assert first.crowd.tolist()[:2] == [True, *[False] * (len(first.crowd) - 1)][:2]
    assert len(load_sample(first).target["boxes"]) == len(first.boxes) - 1


def test_samples_are_mirrored_with_their_boxes(tmp_path: Path, voc: Path) -> None:
    part = read_voc(voc, "test")
    coco = as_coco({"test": part, "train": read_voc(voc, "train")}, tmp_path / "coco", masks=True)
    picture = read(coco, masks=True).test.pictures[0]
    plain, mirrored = (load_sample(picture, flip=flip, masks=True) for flip in (False, True))
    assert plain.image.shape == (3, 64, 96) and plain.image.dtype.is_floating_point and plain.image.max() <= 1
    assert mirrored.image.flip(2).equal(plain.image)
    for sample in (plain, mirrored):
        for box, mask in zip(sample.target["boxes"].int().tolist(), sample.target["masks"], strict=True):
            rows, columns = mask.nonzero(as_tuple=True)
            assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == box
    left, right = plain.target["boxes"][:, 0], mirrored.target["boxes"][:, 2]
    assert right.equal(96 - left)


def test_every_epoch_sees_every_image_once() -> None:
    seen = [index for step in range(10) for index, _ in draws(8, 4, 3, step)]
    assert all(sorted(seen[start : start + 8]) == list(range(8)) for start in range(0, 40, 8))
    assert seen[:8] != seen[8:16]
    flips = [flip for step in range(100) for _, flip in draws(8, 4, 3, step)]
    assert 150 < sum(flips) < 250
    assert draws(8, 4, 3, 7) == draws(8, 4, 3, 7) != draws(8, 4, 4, 7)


def test_sizes_are_those_of_the_upright_image(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg", [], 0)
    with Image.open(tmp_path / "a.jpg") as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(tmp_path / "b.jpg", exif=exif)
    (tmp_path / "c.jpg").write_bytes(b"no image")
    sizes = read_sizes([tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")])
    assert sizes == [(96, 64), (64, 96), "not an image, or a format that is not supported"]


def test_voc_that_cannot_be_used_is_one_line(voc: Path) -> None:
    image, note = voc / "JPEGImages" / "blobs001.jpg", voc / "Annotations" / "blobs001.xml"
    whole, written = image.read_bytes(), note.read_text()
    assert "no such image set; there are: test, train, val" in refusal(voc, train_split="trainval")
    image.unlink()
    assert "no image of blobs001" in refusal(voc)
    image.write_bytes(whole[:200])
    assert "blobs001.jpg: " in refusal(voc)
    image.write_bytes(whole)
    for text, said in (
        (written[:-30], "damaged, not XML"),
        (written.replace("<width>96", "<width>64").replace("<height>64", "<height>96"), "turned by EXIF?"),
        (written.replace("<xmin>", "<xmin>left", 1), "not a number"),
        (written.replace("xmax>", "xmux>"), "lacks its xmax"),
        (written.replace("<name>", "<nom>").replace("</name>", "</nom>"), "without a name"),
        (re.sub(r"<xmin>\d+", "<xmin>nan", written, count=1), "not made of numbers"),
    ):
        note.write_text(text)
        assert said in refusal(voc), said
    note.unlink()
    assert "no annotation of blobs001.jpg" in refusal(voc)
    note.write_text(written)
    (voc / "Annotations" / "blobs007.xml").write_text(written.replace("disc", "dics").replace("square", "dics"))
    assert "class dics is not among those with objects to train on (disc, square)" in refusal(voc)
    write_split(voc, "test", ["blobs000"])
    assert "blobs000.jpg: in " in refusal(voc)
    write_split(voc, "test", [])
    assert "names no images" in refusal(voc)
    (voc / "ImageSets" / "Main" / "test.txt").unlink()
    (voc / "ImageSets" / "Main" / "val.txt").unlink()
    assert "choose with --test-split from: train" in refusal(voc)
    assert "several --lr need a validation part" in refusal(voc, test_split="train", choosing=True)
    assert "neither VOC's layout" in refusal(voc / "JPEGImages")
    assert "no such folder" in refusal(voc / "nowhere")


def test_a_set_without_objects_is_refused_or_remarked_on(voc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_xml(voc / "Annotations" / "blobs006.xml", [])
    assert isinstance(read(voc).test, DetectionSet)
    assert "1 images without objects; they count as background" in capsys.readouterr().err
    for name in ("blobs007", "blobs008"):
        write_xml(voc / "Annotations" / f"{name}.xml", [])
    assert "there is nothing to measure" in refusal(voc)
    for number in range(4):
        write_xml(voc / "Annotations" / f"blobs{number:03}.xml", [])
    assert "no objects in it to train on" in refusal(voc)


def test_coco_that_cannot_be_used_is_one_line(voc: Path, tmp_path: Path) -> None:
    coco = as_coco({split: read_voc(voc, split) for split in ("train", "test")}, tmp_path / "coco")
    file = coco / "annotations" / "instances_train.json"
    written = file.read_text()

    def changed(change) -> str:
        content = json.loads(written)
        change(content)
        file.write_text(json.dumps(content))
        return refusal(coco)

    assert "it lacks annotations" in changed(lambda content: content.pop("annotations"))
    assert "lacks its bbox" in changed(lambda content: content["annotations"][1].pop("bbox"))
    assert "not both are there" in changed(lambda content: content["annotations"][1].update(category_id=4))
    assert "not both are there" in changed(lambda content: content["annotations"][1].update(image_id=4))
    assert "not a file of instances" in changed(lambda content: content["annotations"][1].update(bbox=[1, 2]))
    assert "two images with the same id" in changed(lambda content: content["images"][1].update(id=500))
    assert "same name" in changed(lambda content: content["categories"][1].update(name="square"))
    assert "lies outside the folder" in changed(lambda content: content["images"][1].update(file_name="../x.jpg"))
    assert "no image x.jpg" in changed(lambda content: content["images"][1].update(file_name="x.jpg"))
    file.write_text(written[:100])
    assert "damaged, not JSON" in refusal(coco)
    file.write_text(written)
    assert "has no segmentation" in refusal(coco, masks=True)
    content = json.loads(written)
    for annotation in content["annotations"]:
        annotation["segmentation"] = [[1, 2, 3]]
    file.write_text(json.dumps(content))
    as_coco({"test": read_voc(voc, "test")}, coco, masks=True)
    assert "an object's segmentation is damaged: a polygon needs three points" in refusal(coco, masks=True)
    assert "no instances of val in it; there are: test, train" in refusal(coco, test_split="val")
