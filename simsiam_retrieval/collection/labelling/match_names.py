"""From names of images in files of other programs to the images of a collection."""

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from ...core.text import one_spelling, printable
from ..types import Item

_WITH_ID = re.compile(r"(\d+)-(.+)")  # as ``numbered_name`` writes it
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")  # as Label Studio renames uploaded files


def numbered_name(item: Item) -> str:
    """Name an image so that no two of a collection are called alike, with or without their suffix.

    Args:
        item: The image.

    Returns:
        Its id and the name of its file, such as "12-cat.jpg"; a page of a file has the page's number in it.
    """
    from ...images.page_paths import page_of

    file, page = page_of(item.path)
    return f"{item.id}-{printable(file.name if page == 1 else f'page {page} of {file.name}')}"


class ImageNames:
    """The names of a collection's images."""

    def __init__(self, items: Iterable[Item], beside: Path | None = None) -> None:
        """Take the images in.

        Args:
            items: All images.
            beside: Folder that relative paths are looked up in first.
        """
        self._items = {item.id: item for item in items}
        self._paths = {_spelled(os.fspath(item.path)): item.id for item in self._items.values()}
        self._beside = beside
        self._named: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        for item in self._items.values():
            parts = PurePosixPath(_spelled(item.path.as_posix())).parts
            self._named.setdefault(parts[-1], []).append((parts, item.id))

    def find(self, name: str) -> int | None:
        """Find the image of a name: an absolute path, the last parts of one, or what ``numbered_name`` gives.

        Args:
            name: A path or an address, also one of Label Studio's (/data/local-files/?d=..., /data/upload/...).

        Returns:
            The id; None if there is no such image, or several.
        """
        name = _path_in(name)
        whole = _spelled(name)
        if whole in self._paths:
            return self._paths[whole]
        if self._beside is not None:
            near = _spelled(os.path.normpath(self._beside / Path(name).expanduser()))
            if near in self._paths:
                return self._paths[near]
        parts = PurePosixPath(whole.replace("\\", "/")).parts
        if not parts:
            return None
        for last in _spellings(parts[-1]):
            numbered = _WITH_ID.fullmatch(last)
            item = self._items.get(int(numbered[1])) if numbered and len(numbered[1]) < 19 else None
            if item is not None and last == _spelled(numbered_name(item)):
                return item.id
        for last in _spellings(parts[-1]):
            held = self._named.get(last, ())
            for start in range(len(parts)):  # fewer and fewer folders: another program may have put its own before
                wanted = (*parts[start:-1], last)
                found = [id_ for of, id_ in held if of[-len(wanted) :] == wanted]
                if found:
                    return found[0] if len(found) == 1 else None
        return None


def _path_in(name: str) -> str:
    """The path that an address holds."""
    if not name.startswith(("/data/", "http://", "https://", "file:", "s3:", "gs:")):
        return name
    parts = urlsplit(name)
    if parts.path.endswith("/local-files/"):
        return parse_qs(parts.query).get("d", [""])[0]
    return name if name.startswith("/data/") and Path(name).exists() else unquote(parts.path)


def _spellings(last: str) -> list[str]:
    uploaded = _UPLOADED.fullmatch(last)
    return [last, uploaded[1]] if uploaded else [last]


def _spelled(text: str) -> str:
    return one_spelling(printable(text))
