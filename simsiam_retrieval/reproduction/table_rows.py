"""Rows and tables of the paper."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HUNDRED_EPOCHS = ("100 ep",)
PAPER = "Chen & He 2020, arXiv:2011.10566"
PAPER_PROTOCOL = "ImageNet linear evaluation, top-1 in %; ResNet-50, 224 px"


@dataclass(frozen=True)
class Row:
    """One entry of a table: settings at the paper's size, and the paper's results.

    Attributes:
        key: Name for ``--rows`` and in the names of run folders.
        label: Text in the table.
        paper: The paper's result for each column, as printed there; empty if it has none.
        settings: Settings of ``Config`` in addition to the scale's.
        method: Learning method.
        warmup: Fraction of all epochs in which the learning rate rises.
        at: Scale -> settings that apply only there.
    """

    key: str
    label: str
    paper: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    method: str = "simsiam"
    warmup: float = 0.0
    at: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of the paper, or a figure with the same kind of results.

    Attributes:
        name: Name on the command line.
        title: Title.
        section: Section of the paper.
        asks: The question that it answers, one sentence.
        rows: Rows.
        columns: Headings of the paper's results.
        curves: Whether the paper shows loss, std and kNN over epochs.
    """

    name: str
    title: str
    section: str
    asks: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...] = HUNDRED_EPOCHS
    curves: bool = False
