"""Buttons that download a file."""

import csv
import io
from collections.abc import Callable, Iterable

import streamlit as st

from ..markup import escaped
from ..offered_files import offer


def download(label: str, make: Callable[[], bytes], file: str, *, disabled: bool = False, tip: str = "") -> None:
    """Draw a button that downloads a file, which is made at the click.

    Args:
        label: Text of the button. Together with ``file`` it names the button within the page.
        make: Returns the file's content.
        file: Its name, plain ASCII.
        disabled: Whether the button does nothing.
        tip: Explains the button to those who point at it.
    """
    title = f' title="{escaped(tip)}"' if tip else ""
    if disabled:
        button = f'<span class="sr-download" role="link" aria-disabled="true"{title}>{escaped(label)}</span>'
    else:
        address = offer(st.session_state, f"{label}, {file}", make, file)
        button = f'<a class="sr-download" href="{address}" download="{file}"{title}>{escaped(label)}</a>'
    st.html(button, width="content")


def as_csv(head: tuple[str, ...], rows: Iterable[tuple]) -> bytes:
    """Write a table. Names of files that are not UTF-8 keep their own bytes.

    Args:
        head: Names of the columns.
        rows: The rows.

    Returns:
        CSV, UTF-8.
    """
    buffer = io.StringIO()
    table = csv.writer(buffer)
    table.writerow(head)
    table.writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogateescape")
