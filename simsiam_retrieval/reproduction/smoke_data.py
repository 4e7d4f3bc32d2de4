"""The labelled folders of the smoke scale: reduced example photos."""

from pathlib import Path

from ..core.example_photos import example_photos
from ..images.decode import decode

TRAIN, TEST = 4, 1  # photos per class
SIDE = 64  # short side in pixels


def smoke_photos(folder: Path) -> tuple[Path, Path]:
    """Create ``train`` and ``val`` in a folder, unless they exist. Photos, names and bytes are always the same.

    Args:
        folder: The folder.

    Returns:
        The two folders.
    """
    kinds = sorted(path for path in example_photos().iterdir() if path.is_dir())
    kinds_and_photos = [(kind, sorted(kind.glob("*.jpg"))) for kind in kinds]
    for kind, photos in kinds_and_photos:
        if len(photos) < TRAIN + TEST:
            continue
        for number, photo in enumerate(photos[: TRAIN + TEST]):
            target = folder / ("train" if number < TRAIN else "val") / kind.name / photo.name
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            image = decode(photo, short_side=SIDE)
            scale = SIDE / min(image.size)
            small = image.resize((round(image.width * scale), round(image.height * scale)))
            temporary = target.with_suffix(".tmp")
            small.save(temporary, "JPEG", quality=90)
            temporary.replace(target)  # in one step, so that no incomplete picture has this name
    return folder / "train", folder / "val"
