"""Errors of Ray, in one line for the user."""

import contextlib
from collections.abc import Iterator

from ..core.errors import UserError
from ..core.version import __version__


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn Ray's exceptions inside the ``with`` block into one line; exceptions of this package are not changed.

    Yields:
        Nothing.

    Raises:
        UserError: The cluster is lost, or a machine of it lacks a package.
    """
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, ModuleNotFoundError):
            missing = f"a machine of the cluster lacks {error.cause.name}"
            raise UserError(f"{missing}; install simsiam-retrieval[distributed] {__version__} there") from None
        raise
    except RayError as error:
        raise UserError(f"the cluster failed ({_one_line(error)}); run it again to go on") from None


def cause(error: BaseException | None) -> str:
    """Find why a cluster cannot be joined; Ray's own exception does not say it.

    Args:
        error: The exception.

    Returns:
        The reason.
    """
    said = _one_line(error) if error else ""
    while error is not None:
        if "InvalidAuthToken" in str(error):
            return "it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
        error = error.__cause__
    return said


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
