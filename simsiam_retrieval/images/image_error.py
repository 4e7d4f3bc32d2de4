"""The exception for a file that cannot be decoded, and the reasons that it gives."""

import contextlib
from collections.abc import Iterator

from PIL import UnidentifiedImageError


class ImageError(Exception):
    """A file that cannot be used. The message is the reason; reports show it.

    Args:
        reason: The reason.
        lasting: False if the same bytes may be decoded at another attempt.
    """

    def __init__(self, reason: str, *, lasting: bool = True) -> None:
        super().__init__(reason)
        self.lasting = lasting


@contextlib.contextmanager
def as_image_errors() -> Iterator[None]:
    """Turn every exception of a decoder inside the ``with`` block into an ``ImageError``.

    Yields:
        Nothing.

    Raises:
        ImageError: A decoder failed.
    """
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("not an image, or a format that is not supported") from None
    except FileNotFoundError:
        raise ImageError("the file is gone", lasting=False) from None
    except PermissionError:
        raise ImageError("no permission to read it", lasting=False) from None
    except OSError as error:
        # errors of the operating system have a number, Pillow's own do not
        if error.errno and error.strerror:
            raise ImageError(error.strerror.lower(), lasting=False) from None
        raise ImageError(f"damaged: {_one_line(error)}") from None
    except MemoryError:
        raise ImageError("not enough memory to decode it", lasting=False) from None
    # on damaged input Pillow's decoders can raise almost any exception, for example struct.error and IndexError
    except Exception as error:  # noqa: BLE001
        raise ImageError(f"damaged: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
