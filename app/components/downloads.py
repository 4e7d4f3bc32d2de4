"""Files to take away."""

import csv
import io
from collections.abc import Callable, Iterable

import streamlit as st

READY = 5000  # rows of a table that is made before somebody asks


def download(label: str, make: Callable[[], bytes], file: str, rows: int = 0) -> None:
    """Draw a button that downloads a file. Long tables are made at the click, other files before.

    Args:
        label: Text of the button.
        make: Returns the file's content.
        file: Its name.
        rows: Number of rows of a table.
    """
    kind = "text/csv" if file.endswith(".csv") else "application/octet-stream"
    st.download_button(label, make if rows > READY else make(), file, kind, on_click="ignore")


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
