"""Images that PCA is fitted to: equally many of several folders."""

import random
from pathlib import Path

from simsiam_retrieval.images.files import list_images

FITTED = 4096  # images at most


def mixed(folders: list[Path], into: Path) -> Path:
    """Link equally many images of each folder, drawn at random, into one folder.

    Args:
        folders: Folders of images.
        into: An empty folder.

    Returns:
        ``into``.
    """
    generator = random.Random(0)
    for number, folder in enumerate(folders):
        files = [image.path for image in list_images([folder]).images]
        for file in generator.sample(files, min(len(files), FITTED // len(folders))):
            (into / f"{number}-{file.parent.name}-{file.name}").symlink_to(file.resolve())
    return into
