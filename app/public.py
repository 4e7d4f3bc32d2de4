"""Where visitors find the page, when a proxy stands in front of it."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from simsiam_retrieval.core.errors import UserError

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Public:
    """An address such as https://photos.example.org/album, in its parts."""

    scheme: str  # http or https
    host: str  # without a port
    port: int
    base: str  # "" or "/album"

    @property
    def origin(self) -> str:
        """As browsers write it: without the scheme's own port."""
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{port}"

    @property
    def url(self) -> str:
        """The address as people type it."""
        return f"{self.origin}{self.base}/"


def read_public(url: str | None, base: str | None = None) -> Public | None:
    """Read the address that ``--public-url`` and ``--base-path`` name together.

    Args:
        url: Value of ``--public-url``.
        base: Value of ``--base-path``.

    Returns:
        The address; None without ``url``.

    Raises:
        UserError: It is no address of a page.
    """
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise UserError(f"--public-url {url}: give the address of the page, such as https://photos.example.org/album")
    path = read_base(parts.path)
    if base is not None and path and path != read_base(base):
        raise UserError(f"--public-url {url} and --base-path {base} name two paths; give one of them")
    return Public(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme], path or read_base(base or ""))


def read_base(path: str) -> str:
    """Read ``--base-path``.

    Args:
        path: The value.

    Returns:
        The path without a slash at its end.

    Raises:
        UserError: It is no path.
    """
    names = [name for name in path.split("/") if name]
    if not path.isascii() or any(name in (".", "..") or not name.replace("-", "").replace("_", "").isalnum()
                                 for name in names):  # fmt: skip
        raise UserError(f"--base-path {path}: letters, digits, - and _ between slashes, such as /album")
    return "".join(f"/{name}" for name in names)
