"""The sheet of views that a run leaves for people."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.training.augmentation import apply
from simsiam_retrieval.training.batches import Batches
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.data_split import make_plan
from simsiam_retrieval.training.loop import augmentation_of
from simsiam_retrieval.training.pixel_store import load_store
from simsiam_retrieval.training.run_files import VIEWS, stored_config
from simsiam_retrieval.training.run_folder import Run
from simsiam_retrieval.training.view_sheet import IMAGES, write_views


def test_the_views_are_those_of_the_first_step(few_photos: Path, tmp_path: Path) -> None:
    config = Config(image_size=48, batch_size=16, mean=(0.4, 0.5, 0.6), std=(0.3, 0.2, 0.1))
    store = load_store(list_images([few_photos]).images, config.store_side, workers=0)
    plan, settings = make_plan(config, len(store)), augmentation_of(config)
    write_views(Run(tmp_path), settings, store, plan)
    sheet = np.asarray(Image.open(tmp_path / "views.jpg"), np.float32) / 255
    assert sheet.shape == (IMAGES * 48, (1 + VIEWS) * 48, 3)

    batch = next(iter(Batches(store, plan, [settings] * 2, torch.device("cpu")).after(0)))
    mean, std = (torch.tensor(values)[:, None, None] for values in config.normalisation)
    for column, drawn in enumerate(batch.views, 1):
        trained_on = (apply(settings, batch.pixels, drawn) * std + mean)[:IMAGES].permute(0, 2, 3, 1).numpy()
        shown = sheet[:, column * 48 : (column + 1) * 48].reshape(IMAGES, 48, 48, 3)
        assert np.abs(trained_on - shown).mean() < 0.02  # JPEG
        others = np.abs(np.roll(trained_on, 1, axis=0) - shown).mean()
        assert others > 0.1
    views = sheet.reshape(IMAGES, 48, 1 + VIEWS, 48, 3)
    assert all(np.abs(views[:, :, 1] - views[:, :, other]).mean() > 0.03 for other in range(2, 1 + VIEWS))


def test_a_run_has_its_sheet(run_dir: Path) -> None:
    side = stored_config(run_dir).image_size
    with Image.open(run_dir / "views.jpg") as sheet:
        assert sheet.size == ((1 + VIEWS) * side, IMAGES * side)
