"""The location of the example photos that are installed with the package."""

from importlib import resources
from pathlib import Path

from .errors import UserError


def example_photos() -> Path:
    """Return the folder of example photos, in a checkout or in an installed wheel.

    Returns:
        The folder.

    Raises:
        UserError: The photos are missing from this installation.
    """
    try:
        folder = Path(str(resources.files("simsiam_retrieval.examples").joinpath("photos")))
    except ModuleNotFoundError:  # a checkout on the path without being installed
        folder = Path(__file__).parents[2] / "examples" / "photos"
    if not folder.is_dir():
        raise UserError("the example photos are missing from this installation; install the package again")
    return folder
