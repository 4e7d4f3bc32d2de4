"""Images of a single colour: recognising them, and passing over such frames of an animation."""

from PIL import Image

FRAMES = 64  # frames of an animation that are searched for one that is not plain
PLAIN = 8  # a picture is plain if its darkest and brightest pixels differ by at most this many grey levels


def is_plain(image: Image.Image) -> bool:
    """Return whether all pixels have the same colour, within ``PLAIN`` grey levels.

    Args:
        image: The image.

    Returns:
        True if they have.
    """
    extrema = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(high - low <= PLAIN for low, high in bands)  # pyright: ignore[reportOperatorIssue, reportGeneralTypeIssues]


def first_not_plain(image: Image.Image) -> Image.Image:
    """Select the first of an animation's early frames that is not plain.

    Args:
        image: The opened animation.

    Returns:
        The same image at that frame; at its first frame if all are plain.
    """
    for number in range(min(getattr(image, "n_frames", 1), FRAMES)):
        image.seek(number)
        image.load()
        if not is_plain(image.convert("RGBA" if image.has_transparency_data else "RGB")):
            return image
    image.seek(0)
    image.load()
    return image
