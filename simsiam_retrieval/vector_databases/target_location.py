"""The location of a target: a path on this machine, or an address."""

import importlib
import os
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..core.errors import UserError
from ..core.paths import absolute
from ..core.text import printable


def is_address(place: str) -> bool:
    """Return whether a place is an address.

    Args:
        place: A path or an address.

    Returns:
        True for an address.
    """
    return "://" in place


def without_file(place: str) -> str:
    """Convert a ``file://`` address to a path.

    Args:
        place: A path or an address.

    Returns:
        The path; any other place unchanged.
    """
    parts = urlsplit(place) if place.startswith("file://") else None
    return place if parts is None else url2pathname(parts.path)


def check_address(address: str, schemes: tuple[str, ...], variable: str) -> str:
    """Check an address.

    Args:
        address: The address.
        schemes: Allowed schemes.
        variable: Environment variable for the password, for the message.

    Returns:
        The address.

    Raises:
        UserError: It has another scheme, no host, or contains a password: other users can read command lines.
    """
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UserError(f"{address}: not an address") from None
    if parts.scheme not in schemes or not host:
        raise UserError(f"{address}: not an address; it begins with {' or '.join(f'{name}://' for name in schemes)}")
    if parts.username or parts.password:
        shown = address.replace(parts.netloc, parts.netloc.rpartition("@")[2])
        raise UserError(f"{shown}: has a name or password in front; put it into the environment, {variable}")
    return address


def local_folder(place: str, *, make: bool = True) -> Path:
    """Check that a folder can be written.

    Args:
        place: The folder.
        make: Whether to create it.

    Returns:
        Its absolute path.

    Raises:
        UserError: It is a file, or cannot be written.
    """
    folder = absolute(place)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file; name a folder")
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir():
        raise UserError(f"{folder}: cannot be made, {above} is a file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: no permission to write there")
    if make:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be made ({error.strerror})") from None
    return folder


def installed(module: str, target: str, remedy: str | None = None) -> ModuleType:
    """Import the library of a target.

    Args:
        module: Name of the library.
        target: Name of the extra that installs it.
        remedy: How to install it; None for the extra.

    Returns:
        The imported library.

    Raises:
        UserError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        remedy = remedy or f"pip install 'simsiam-retrieval[{target}]'"
        raise UserError(f"--to {target}: {module} is not installed; {remedy}") from None


def one_line(error: BaseException) -> str:
    """Shorten a library's error message to one line of 200 characters.

    Args:
        error: The error.

    Returns:
        The message.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = printable(lines[0]) if lines else type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
