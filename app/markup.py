"""Texts on the page. Names of files are anybody's: they pass through here and show as what they are."""

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import streamlit as st
from PIL import Image

from simsiam_retrieval.core.text import printable as shown

PICTURE_HEIGHT = 23  # rem, at most


def escaped(text: str | Path) -> str:
    """Escape text for HTML.

    Args:
        text: The text.

    Returns:
        HTML that shows exactly the text.
    """
    return html.escape(shown(text))


def notice(text: str, command: str | None = None, *, kind: str = "warning") -> None:
    """Show a box that says what is wrong, and the command that mends it.

    Args:
        text: The message.
        command: The command.
        kind: "warning" or "info".
    """
    hint = f"<p><code>{escaped(command)}</code></p>" if command else ""
    role = "alert" if kind == "warning" else "status"
    st.html(f'<div class="sr-notice {kind}" role="{role}"><p>{escaped(text)}</p>{hint}</div>')


def title(text: str | Path, below: str = "") -> None:
    """Draw the heading of a page.

    Args:
        text: The heading.
        below: A fainter line below it.
    """
    line = f'<p class="sr-faint">{escaped(below)}</p>' if below else ""
    st.html(f'<h1 class="sr-title">{escaped(text)}</h1>{line}')


def section(text: str, below: str = "", *, width: Literal["stretch", "content"] = "stretch") -> None:
    """Draw the heading of a part of a page.

    Args:
        text: The heading.
        below: A fainter line below it.
        width: Whether it takes the whole width.
    """
    line = f'<p class="sr-faint">{escaped(below)}</p>' if below else ""
    st.html(f'<h2 class="sr-section">{escaped(text)}</h2>{line}', width=width)


def faint(text: str, *, width: Literal["stretch", "content"] = "stretch") -> None:
    """Draw a remark in a faint colour.

    Args:
        text: The remark.
        width: Whether it takes the whole width.
    """
    st.html(f'<p class="sr-faint">{escaped(text)}</p>', width=width)


def fold(label: str, name: str) -> None:
    """Draw the button that shows a container on a narrow screen. A wide screen always shows it.

    Args:
        label: Text of the button.
        name: The container has the key "fold NAME".
    """
    box = f'<label class="sr-fold sr-fold-{name}"><input type="checkbox">{escaped(label)}</label>'
    st.html(box, width="content")


def facts(pairs: Iterable[tuple[str, str | Path]], heading: str = "", below: str = "") -> None:
    """Draw a list of names and values.

    Args:
        pairs: Names and values.
        heading: A heading above.
        below: A remark below.
    """
    top = f'<h2 class="sr-section">{escaped(heading)}</h2>' if heading else ""
    # a long path may be broken behind its separators
    values = ((escaped(name), escaped(value).replace("/", "/<wbr>")) for name, value in pairs)
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in values)
    end = f'<p class="sr-faint">{escaped(below)}</p>' if below else ""
    st.html(f'{top}<dl class="sr-facts">{rows}</dl>{end}')


def figures(pairs: Iterable[tuple[str, str]]) -> None:
    """Draw a few numbers in a row, each below its name.

    Args:
        pairs: Names and numbers.
    """
    cells = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in pairs)
    st.html(f'<dl class="sr-figures">{cells}</dl>')


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Draw a small table. The first column names the row.

    Args:
        head: Names of the columns.
        rows: The cells.
    """
    top = "".join(f'<th scope="col">{escaped(cell)}</th>' for cell in head)
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td>{escaped(cell)}</td>" for cell in rest)
        body += f'<tr><th scope="row">{escaped(first)}</th>{cells}</tr>'
    inner = f'<table class="sr-table"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
    st.html(f'<div class="sr-wide" tabindex="0">{inner}</div>')


def wide_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Draw a table that scrolls sideways if it is too wide.

    Args:
        head: Names of the columns.
        rows: Cells that are HTML already.
    """
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in rest)
        body += f'<tr><th scope="row">{first}</th>{cells}</tr>'
    inner = f'<table class="sr-table"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
    st.html(f'<div class="sr-wide" tabindex="0">{inner}</div>')


def picture(jpeg: bytes, name: str) -> None:
    """Draw a picture as large as its place allows; small ones are enlarged.

    Args:
        jpeg: JPEG.
        name: Alternative text.
    """
    width, height = Image.open(io.BytesIO(jpeg)).size
    wide = f"width: min(100%, {PICTURE_HEIGHT * width / height:.2f}rem)"
    st.html(f'<img class="sr-picture" style="{wide}" src="{jpeg_address(jpeg)}" alt="{escaped(name)}">')


def jpeg_address(jpeg: bytes) -> str:
    """Return a ``data:`` address of a picture.

    Args:
        jpeg: JPEG.

    Returns:
        The address.
    """
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def plain(text: str | Path) -> str:
    """Escape text for a label that Streamlit reads as Markdown.

    Args:
        text: The text.

    Returns:
        Markdown that shows exactly the text.
    """
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()<>#+-.!|~:$&" else letter for letter in shown(text))


def not_labelled(count: int) -> str:
    """Return what to say about images that cannot have a label.

    Args:
        count: Number of such images.

    Returns:
        The sentence.
    """
    return (
        f"{count:,} image{' was' if count == 1 else 's were'} not labelled: the collection is an old one and has no "
        "hash of their content. Index their folder into a new collection to label them."
    )
