"""Addresses of the Search page, and how texts and sizes are shown."""

import pytest
from simsiam_retrieval.app import (  # pyright: ignore[reportMissingImports]
    markup,
)
from simsiam_retrieval.app.components import tiles  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.search.address import RESULTS, Address, as_number  # pyright: ignore[reportMissingImports]


@pytest.mark.parametrize(
    "address",
    [Address(), Address(image="7"), Address(upload=True), Address(page=3), Address(image="7", results=RESULTS[-1])],
)
def test_an_address_reads_back(address: Address) -> None:
    assert Address.read(address.parameters()) == address


@pytest.mark.parametrize(("text", "number"), [("12", 12), (None, None), ("", None), ("-1", None), ("1" * 19, None)])
def test_numbers_in_addresses(text: str | None, number: int | None) -> None:
    assert as_number(text) == number


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (6_243, "6.2 kB"),
        (250_000, "250 kB"),
        (3_200_000, "3.2 MB"),
    ],
)
def test_file_sizes(size: int, text: str) -> None:
    assert tiles.size_text(size) == text


def test_shown_keeps_what_fonts_can_show() -> None:
    assert markup.shown("Füße 猫 👩‍🚀.jpg") == "Füße 猫 👩‍🚀.jpg"
    assert markup.shown("a\udce9\x00\u202eb") == "a\ufffd\ufffd\ufffdb"
