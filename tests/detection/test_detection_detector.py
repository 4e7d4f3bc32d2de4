"""The detector: whose weights are in it, what it does to pixels, that it learns, and that it can be interrupted."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.detection.dataset_parts import Parts, read_parts
from simsiam_retrieval.detection.detection_batches import draws, load_sample
from simsiam_retrieval.detection.detection_settings import RECIPES, Settings
from simsiam_retrieval.detection.detector import build_detector
from simsiam_retrieval.detection.evaluate_detector import detect, measure
from simsiam_retrieval.detection.finetune import (
    Fit,
    Interrupted,
    Machine,
    _losses,
    finetune,
    new_detector,
    parameter_groups,
)
from simsiam_retrieval.detection.initialisations import Initialisation, open_initialisations
from simsiam_retrieval.detection.voc import read_voc
from simsiam_retrieval.images.normalisation import Normalisation
from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.training.run_folder import load_backbone
from tests.support.detection_sets import as_coco, voc_folder

CPU = Machine(torch.device("cpu"))
SMALL = Settings(image_size=64, batch_size=2, steps=4, warmup_steps=2, roi_size=4, rois=16, proposals=20, bn_batches=2)


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder = voc_folder(tmp_path_factory.mktemp("blobs") / "voc", {"train": 24, "test": 8})
    return read_parts([folder], None, workers=0)


def shaken(name: str = "resnet18", stem: str = "imagenet") -> Any:
    """A backbone in which every number matters: no zero scales, statistics that are not the usual."""
    torch.manual_seed(3)
    backbone = build_backbone(name, stem, Normalisation((0.1, 0.2, 0.3), (0.5, 0.4, 0.3)))
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1)
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
    return backbone.eval()


@pytest.mark.parametrize(("name", "stem"), [("resnet18", "cifar"), ("resnet50", "imagenet")])
@pytest.mark.parametrize("head", ["c4", "fpn"])
def test_features_of_the_detectors_body_are_the_backbones(name: str, stem: str, head: Any) -> None:
    backbone = shaken(name, stem)
    pixels = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = backbone(pixels)
        detector: Any = build_detector(backbone, 3, dataclasses.replace(SMALL, head=head)).eval()
        if head == "c4":
            last = detector.roi_heads.box_head[0].layer4(detector.backbone(pixels)["0"])
        else:
            last = detector.backbone.maps.body(pixels)["3"]
    torch.testing.assert_close(last.mean(dim=(2, 3)), expected)


def test_pixels_are_normalised_as_the_backbone_was_and_resized_without_aliasing() -> None:
    detector: Any = build_detector(shaken(), 3, SMALL).eval()
    grey = torch.full((3, 128, 160), 0.5)
    batch, _ = detector.transform([grey])
    expected = [(0.5 - mean) / std for mean, std in zip((0.1, 0.2, 0.3), (0.5, 0.4, 0.3), strict=True)]
    assert batch.image_sizes == [(64, 80)]
    torch.testing.assert_close(batch.tensors[0, :, 10, 10], torch.tensor(expected))
    stripes = (torch.arange(160) % 2).float().expand(3, 128, 160)  # of one pixel: half their size is plain grey
    batch, _ = detector.transform([stripes])
    torch.testing.assert_close(batch.tensors[0, :, 5:-5, 5:75], batch.tensors[0, :, 5:6, 5:6].expand(3, 54, 70))


def test_targets_are_resized_with_the_image() -> None:
    detector: Any = build_detector(shaken(), 3, SMALL).train()
    mask = torch.zeros(1, 128, 192, dtype=torch.uint8)
    mask[0, 32:64, 48:96] = 1
    target = {"boxes": torch.tensor([[48.0, 32, 96, 64]]), "labels": torch.ones(1, dtype=torch.int64), "masks": mask}
    sides = set()
    for seed in range(20):
        torch.manual_seed(seed)
        batch, (resized,) = detector.transform([torch.rand(3, 128, 192)], [target])
        height, width = batch.image_sizes[0]
        sides.add(height)
        torch.testing.assert_close(
            resized["boxes"][0] / torch.tensor([width, height] * 2), torch.tensor([0.25, 0.25, 0.5, 0.5])
        )
        found = resized["masks"][0].float().mean()
        assert abs(found - 1 / 16) < 0.01 and resized["masks"].shape[1:] == (height, width)
    assert sides <= set(SMALL.short_sides) and len(sides) > 2
    assert target["masks"].shape == (1, 128, 192)


@pytest.mark.parametrize(("head", "stem", "strides"), [("c4", "imagenet", [16]), ("fpn", "cifar", [1, 2, 4, 8])])
def test_regions_are_pooled_at_the_true_scale(head: Any, stem: str, strides: list[int]) -> None:
    detector: Any = build_detector(shaken(stem=stem), 3, dataclasses.replace(SMALL, head=head))
    pool = detector.roi_heads.box_roi_pool
    # 65 x 97 pixels are padded to 96 x 128, from which torchvision would guess twice the scale
    maps = {}
    for index, stride in enumerate(strides):
        columns = (torch.arange(128 // stride) + 0.5) * stride  # each cell holds the pixel that it lies at
        maps[str(index)] = columns.expand(1, 1, 96 // stride, 128 // stride)
    boxes = torch.tensor([[16.0, 16, 48, 48], [40.0, 20, 60, 40]])
    pooled = pool(maps, [boxes], [(65, 97)]).mean(dim=(1, 2, 3))
    # torchvision's RoIAlign takes a cell's corner for its centre: half a cell off, at any box
    offsets = pooled - (boxes[:, 0] + boxes[:, 2]) / 2
    assert ((offsets >= strides[0] / 2 - 1e-4) & (offsets <= strides[-1] / 2 + 1e-4)).all(), offsets


def test_the_papers_settings_are_its_own() -> None:
    voc, coco = RECIPES["voc"], RECIPES["coco"]
    assert voc.short_sides == (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800) and voc.largest == 1333
    assert coco.short_sides == (640, 672, 704, 736, 768, 800)
    assert [voc.lr_factor(step) for step in (99, 17_999)] == [1, 1]
    assert [voc.lr_factor(step) for step in (18_000, 22_000)] == pytest.approx([0.1, 0.01])
    assert [coco.lr_factor(step) for step in (59_999, 60_000, 80_000)] == pytest.approx([1, 0.1, 0.01])
    assert voc.lr_factor(0) == pytest.approx(0.01)
    detector: Any = build_detector(shaken(), 20, dataclasses.replace(voc, image_size=400))
    assert detector.rpn.anchor_generator.sizes == ((16, 32, 64, 128, 256),)


def test_bn_is_not_decayed_and_everything_is_trained() -> None:
    detector: Any = build_detector(shaken(), 3, dataclasses.replace(SMALL, masks=True))
    decayed, kept = parameter_groups(detector, 0.01)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.01, 0)
    norms = [module for module in detector.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(kept["params"]) == 2 * len(norms) == 2 * 21  # 20 of ResNet-18, and one behind the fifth stage
    assert len(decayed["params"]) + len(kept["params"]) == len(list(detector.parameters()))
    assert all(parameter.requires_grad for parameter in detector.parameters())


def test_initialisations_bring_their_weights(run_dir: Path, encoder_file: Path, tmp_path: Path) -> None:
    torch.save(shaken().state_dict(), tmp_path / "theirs.pth")
    given = [str(run_dir), "default", str(tmp_path / "theirs.pth"), "random"]
    run, shipped, theirs, fresh = open_initialisations(given)
    assert [one.name for one in (run, shipped, theirs, fresh)] == ["tiny", "shipped encoder", "theirs", "random"]
    for one, expected in ((run, load_backbone(run_dir)[0]), (theirs, shaken())):
        for name, value in one.start(5).state_dict().items():
            torch.testing.assert_close(value, expected.state_dict()[name])
    a, b, again = (fresh.start(seed).state_dict()["conv1.weight"] for seed in (0, 1, 0))
    assert torch.equal(a, again) and not torch.equal(a, b)
    start: Any = run.start(0)
    with torch.no_grad():
        start.conv1.weight.zero_()
    assert run.start(0).state_dict()["conv1.weight"].abs().sum() > 0
    (exported,) = open_initialisations([str(encoder_file)])
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(exported.start(0).eval()(pixels), run.start(0).eval()(pixels), rtol=1e-3, atol=1e-4)
    (alone,) = open_initialisations(["random"], "resnet34")
    assert alone.network == "resnet34"
    # solo-learn's layout, whose 3x3 convolution pads by 2 pixels
    padded = {f"backbone.{name}": value for name, value in build_backbone("resnet18", "cifar").state_dict().items()}
    torch.save({"state_dict": {**padded, "projector.0.weight": torch.rand(4, 512)}}, tmp_path / "padded.pth")
    (tmp_path / "broken.pth").write_bytes(b"PK nothing")
    for bad, said in (
        ([str(tmp_path / "padded.pth")], "with another stem"),
        ([str(run_dir), str(run_dir / "checkpoint.pt")], "the same weights twice"),
        ([str(tmp_path / "broken.pth")], "damaged"),
        ([str(tmp_path / "none.pth")], "no such"),
    ):
        with pytest.raises(UserError, match=said):
            open_initialisations(bad)


def test_the_heads_of_a_seed_begin_alike(blobs: Parts, tmp_path: Path, run_dir: Path) -> None:
    ones = open_initialisations([str(run_dir), "random"])
    first, second = (new_detector(Fit(one, 0.1, 4, tmp_path), blobs.train, SMALL, CPU).state_dict() for one in ones)
    own = {name for name in first if not torch.equal(first[name], second[name])}
    assert own and all(name.startswith(("backbone.", "roi_heads.box_head.0.layer4.")) for name in own)


@pytest.fixture(scope="module")
def start() -> Initialisation:
    return open_initialisations(["random"], "resnet18")[0]


def test_a_detector_learns_discs_and_squares(blobs: Parts, tmp_path: Path) -> None:
    """From the shipped weights, which lack a fourth stage: the head's own begins at random."""
    settings = dataclasses.replace(
        SMALL, steps=90, warmup_steps=10, batch_size=4, smallest=1.0, decay=(0.8, 0.95), bn_batches=4
    )
    fit = Fit(open_initialisations(["default"])[0], 0.05, 0, tmp_path)
    detector: Any = finetune(fit, blobs.train, settings, CPU)
    assert detector is not None
    trained = measure(detector, blobs.test, CPU)["box"]
    assert trained["AP50"] > 0.4, trained
    untrained = new_detector(fit, blobs.train, settings, CPU)
    assert (measure(untrained, blobs.test, CPU)["box"]["AP50"] or 0) < 0.1
    # boxes come back in the stored image's pixels, whatever it was resized to
    for found in detect(detector, blobs.test, CPU):
        assert (found.boxes >= 0).all() and (found.boxes <= np.array([96, 64, 96, 64]) + 1e-3).all()
        assert set(found.labels) <= {1, 2}


def test_what_was_interrupted_repeats_what_was_not(blobs: Parts, start: Initialisation, tmp_path: Path) -> None:
    whole: Any = finetune(Fit(start, 0.02, 1, tmp_path / "whole"), blobs.train, SMALL, CPU)
    stopping = Machine(torch.device("cpu"), workers=1)

    def stop(at: int) -> Machine:
        stopping.stopped = threading.Event()
        return dataclasses.replace(stopping, on_step=lambda step, row: stopping.stopped.set() if step == at else None)

    fit = Fit(start, 0.02, 1, tmp_path / "halves")
    for at in (1, 3, 4):  # the last while BN's statistics are measured
        with pytest.raises(Interrupted):
            finetune(fit, blobs.train, SMALL, stop(at))
    halves: Any = finetune(fit, blobs.train, SMALL, CPU)
    assert whole is not None and halves is not None
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(halves.state_dict()[name], value, rtol=0, atol=0, msg=name)
    again: Any = finetune(fit, blobs.train, SMALL, CPU)  # done: nothing is trained
    assert again is not None and torch.equal(again.rpn.head.cls_logits.weight, whole.rpn.head.cls_logits.weight)
    with pytest.raises(UserError, match="begun from other weights"):
        finetune(dataclasses.replace(fit, seed=2), blobs.train, SMALL, CPU)
    (fit.folder / "checkpoint.pt").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"checkpoint.pt: damaged"):
        finetune(fit, blobs.train, SMALL, CPU)


def test_bn_statistics_are_those_of_the_weights_at_the_end(blobs: Parts, start: Initialisation, tmp_path: Path) -> None:
    settings = dataclasses.replace(SMALL, steps=1, warmup_steps=0, bn_batches=1)
    detector: Any = finetune(Fit(start, 1e-9, 0, tmp_path), blobs.train, settings, CPU)  # weights stay what they are
    assert detector is not None
    seen: list[torch.Tensor] = []
    first = detector.backbone.maps.conv1  # type: ignore[union-attr]
    norm = detector.backbone.maps.bn1
    hook = first.register_forward_hook(lambda module, x, y: seen.append(y.detach()))
    drawn = draws(len(blobs.train.pictures), settings.batch_size, 0, 1)  # the batch after the last step
    samples = [load_sample(blobs.train.pictures[index], flip=flip) for index, flip in drawn]
    mean = norm.running_mean.clone()
    _losses(detector.train(), samples, 0, 1, CPU.device)
    hook.remove()
    torch.testing.assert_close(mean, seen[0].mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_no_number_ends_it(blobs: Parts, start: Initialisation, tmp_path: Path) -> None:
    settings = dataclasses.replace(SMALL, steps=30, warmup_steps=0)
    fit = Fit(start, 1e9, 0, tmp_path)
    assert finetune(fit, blobs.train, settings, CPU) is None
    assert finetune(fit, blobs.train, settings, CPU) is None  # and is not tried again


@pytest.mark.parametrize("head", ["c4", "fpn"])
def test_mask_rcnn_trains_and_is_measured(head: str, blobs: Parts, start: Initialisation, tmp_path: Path) -> None:
    voc = blobs.train.pictures[0].file.parents[1]
    coco = as_coco({split: read_voc(voc, split) for split in ("train", "test")}, tmp_path / "coco", masks=True)
    parts = read_parts([coco], None, masks=True, workers=0)
    parts.test.pictures = parts.test.pictures[:2]
    parts.train.pictures[0].crowd[:] = True  # an image without objects to train on
    settings = dataclasses.replace(SMALL, head=head, masks=True, steps=3, bn_batches=1)  # type: ignore[arg-type]
    fit = Fit(start, 0.02, 0, tmp_path / "fit")
    detector: Any = finetune(fit, parts.train, settings, CPU)
    assert detector is not None and '"loss_mask"' in (fit.folder / "metrics.jsonl").read_text()
    detector.roi_heads.score_thresh = 0.0  # so short a training is sure of nothing
    found = detect(detector, parts.test, CPU, masks=True)
    assert len(found[0].boxes) and found[0].masks is not None
    assert found[0].masks[0]["size"] == [64, 96] and len(found[0].masks) == len(found[0].boxes)
    measured = measure(detector, parts.test, CPU, masks=True)
    assert 0 <= measured["mask"]["AP"] <= 1
