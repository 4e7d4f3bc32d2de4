"""A picture in the run folder that shows what the network sees of the user's images."""

import torch
from PIL import Image

from ..core.atomic_files import replacing
from ..core.randomness import generator
from ..images.tiff_samples import as_colours
from .augmentation import Augmentation, apply, centre, draw
from .data_split import Plan
from .pixel_store import ImageStore
from .run_files import VIEWS, VIEWS_FILE
from .run_folder import Run

IMAGES = 6  # images, one row each


def write_views(run: Run, settings: Augmentation, store: ImageStore, plan: Plan, bands: tuple[int, ...] = ()) -> None:
    """Write ``views.jpg``: squares of ``settings.image_size`` pixels without gaps, one row per image.

    Shows the first images of the first batch: the centre, as the encoder will see it, then ``VIEWS`` random views. The
    first ones are those that the first step trains on.

    Args:
        run: The run folder.
        settings: The augmentation.
        store: The images.
        plan: The steps of the run.
        bands: Of the channels, if they are not RGB.

    Raises:
        OSError: The file cannot be written.
    """
    rows = plan.order(0)[: plan.batch_size]
    aspect = torch.from_numpy(store.aspect)[rows]  # of the whole batch, because the draws depend on its size
    shown = slice(0, IMAGES)
    pixels = torch.from_numpy(store.take(rows[shown].numpy()))
    drawn = [draw(settings, aspect, generator(plan.seed, 0, view)) for view in range(1, VIEWS + 1)]
    columns = [
        apply(settings, pixels, type(one)(*(tensor[shown] for tensor in one))) for one in (centre(aspect), *drawn)
    ]
    mean, std = (torch.tensor(values)[:, None, None] for values in settings.normalisation)
    seen = (torch.stack(columns, dim=1) * std + mean).clamp(0, 1)  # (images, columns, channels, side, side)
    if seen.shape[2] != 3:
        seen = seen[:, :, list(as_colours(bands or tuple(range(1, seen.shape[2] + 1)), natural=False))]
    count, width, _, side, _ = seen.shape
    sheet = (seen * 255).round().byte().permute(0, 3, 1, 4, 2).reshape(count * side, width * side, 3)
    with replacing(run.path / VIEWS_FILE) as temporary:
        Image.fromarray(sheet.numpy()).save(temporary, "JPEG", quality=90)
