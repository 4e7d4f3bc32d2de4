"""What a table of the paper is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HUNDRED_EPOCHS = ("100 ep",)
PAPER = "Chen & He 2020, arXiv:2011.10566"
PAPER_PROTOCOL = "ImageNet linear evaluation, top-1 in %; ResNet-50, 224 px"


@dataclass(frozen=True)
class Row:
    """One entry of a table: settings at the paper's size, and what the paper found."""

    key: str  # for --rows and in the names of run folders
    label: str
    paper: tuple[str, ...] = ()  # one figure a column of the table, as printed there; empty where it has none
    settings: Mapping[str, Any] = field(default_factory=dict)  # of Config, on top of the scale's
    method: str = "simsiam"
    warmup: float = 0.0  # part of all epochs over which the learning rate rises
    at: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # scale -> settings that count there alone


@dataclass(frozen=True)
class Table:
    """A table of the paper, or a figure that is one."""

    name: str  # on the command line
    title: str
    section: str  # of the paper
    asks: str  # the question, in a sentence
    rows: tuple[Row, ...]
    columns: tuple[str, ...] = HUNDRED_EPOCHS  # what the paper's figures are of
    curves: bool = False  # whether the paper draws loss, std and kNN over epochs
