"""mkdocs hooks: links that lead out of docs/ are checked and become plain paths; pictures among them are copied.

On GitHub such a link leads to the file. The site has only docs/, so it names the path instead.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

DOCS = Path(__file__).parent
ROOT = DOCS.parent
_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):(<code>)[~.]*")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Replace the links of a page that lead out of docs/."""
    folder = Path(page.file.abs_src_path).parent

    def replaced(found: re.Match[str]) -> str:
        picture, text, link = found[1], found[2], found[3]
        target = (folder / link).resolve()
        if target.is_relative_to(DOCS):
            return found[0]
        if not target.exists() or not target.is_relative_to(ROOT):
            raise PluginError(f"{page.file.src_uri}: {link}: no such file in the repository")
        path = target.relative_to(ROOT).as_posix()
        if picture:
            if files.get_file_from_path(f"images/{target.name}") is None:
                files.append(File.generated(config, f"images/{target.name}", abs_src_path=str(target)))
            return f"![{text}]({'../' * page.file.src_uri.count('/')}images/{target.name})"
        shown = text if text.strip("`") in (path, target.name) else f"{text} (`{path}`)"
        return shown if "`" in shown else f"`{shown}`"

    return _LINK.sub(replaced, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Docstrings mark names as Sphinx does, :class:`Name`; the site shows them as code."""
    return _ROLE.sub(r"\1", html)
