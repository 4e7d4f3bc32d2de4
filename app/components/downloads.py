"""Files to take away."""

import csv
import io
from collections.abc import Callable, Iterable

import streamlit as st

READY = 5000  # rows of a table that is made before somebody asks


def download(label: str, make: Callable[[], bytes], file: str, rows: int = 0) -> None:
    """A button to download what ``make`` gives; long tables are made on the click, the rest is ready before."""
    kind = "text/csv" if file.endswith(".csv") else "application/octet-stream"
    st.download_button(label, make if rows > READY else make(), file, kind, on_click="ignore")


def as_csv(head: tuple[str, ...], rows: Iterable[tuple]) -> bytes:
    """A table in UTF-8; names of files that are not UTF-8 as their own bytes."""
    buffer = io.StringIO()
    table = csv.writer(buffer)
    table.writerow(head)
    table.writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogateescape")
