"""A map of images to move about in, point at and draw round: the component, and what Python makes of its answers."""

import base64
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from streamlit.components.v2 import component

HERE = Path(__file__).parent
KEY = "map"
MOST_GROUPS = 24  # colours that can be told apart; further groups share the last entry
CORNERS = 1000  # of an area, at most
OTHERS = "#9a9a9a"
FIRST = (17, 136, 119)  # about the colour of the pages

HTML = """
<div class="map">
  <div class="stage">
    <canvas class="points" aria-hidden="true"></canvas>
    <canvas class="over" tabindex="0" role="application"></canvas>
    <div class="tools" role="toolbar" aria-label="Map tools">
      <span>
        <button type="button" data-mode="lasso" title="Draw round images to choose them">Lasso</button>
        <button type="button" data-mode="box" title="Drag a box round images to choose them">Box</button>
        <button type="button" data-mode="move" title="Drag to move the map">Move</button>
      </span>
      <span>
        <button type="button" data-do="in" title="Zoom in (+, or Ctrl and the wheel)" aria-label="Zoom in">+</button>
        <button type="button" data-do="out" title="Zoom out (−)" aria-label="Zoom out">−</button>
        <button type="button" data-do="all" title="Show the whole map (0)">Whole map</button>
      </span>
      <span>
        <button type="button" data-do="view" title="Show the images of all points in view (Enter)">Show these</button>
        <button type="button" data-do="clear" title="Choose nothing (Escape)" hidden>Clear</button>
      </span>
    </div>
    <div class="hint" role="status" hidden>Ctrl and the wheel zoom the map</div>
  </div>
  <div class="side"><p>Click a name to single it out</p><ul class="legend" aria-label="Groups"></ul></div>
</div>
"""

_component = component(
    "simsiam_retrieval_map",
    html=HTML,
    css=(HERE / "scatter.css").read_text(encoding="utf-8"),
    js=(HERE / "scatter.js").read_text(encoding="utf-8"),
)


class Entry(TypedDict):
    """A line of the legend."""

    name: str
    count: int
    colour: str  # #rrggbb
    faint: bool  # for those that belong to no group
    faces: list[dict[str, str]]  # a few of its images: name, source


@dataclass(frozen=True)
class Choice:
    """What a person chose on the map: an area, groups of the legend, or both."""

    area: tuple[tuple[float, float], ...] | None
    groups: tuple[int, ...]
    colouring: str  # whose groups they are

    @classmethod
    def read(cls, value: object) -> "Choice | None":
        """Read a choice from the browser, which may send anything.

        Args:
            value: The message.

        Returns:
            The choice; None if nothing is chosen or the message makes no sense.
        """
        if not isinstance(value, dict):
            return None
        try:
            given = value["area"]
            area = None if given is None else tuple((float(x), float(y)) for x, y in given)
            groups = tuple(int(group) for group in value["groups"])
            colouring = str(value["colouring"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        if area is not None and (not 3 <= len(area) <= CORNERS or not np.isfinite(area).all()):
            return None
        return cls(area, groups, colouring) if area or groups else None


def inside(points: NDArray[np.float32], area: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Find points inside a polygon, by the even-odd rule.

    Args:
        points: float32 (n, 2).
        area: Corners of the polygon.

    Returns:
        bool (n,).
    """
    corners = np.asarray(area, float)
    low, high = corners.min(axis=0), corners.max(axis=0)
    rows = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
    x, y = points[rows].astype(float).T
    odd = np.zeros(len(rows), bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 != y2:
            crossed = (y1 > y) != (y2 > y)
            odd ^= crossed & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    found = np.zeros(len(points), bool)
    found[rows[odd]] = True
    return found


def colours(count: int) -> list[str]:
    """Return colours that can be told apart. The first ones are always the same, so that a class keeps its colour.

    Args:
        count: Number of colours.

    Returns:
        Hexadecimal sRGB colours.
    """
    palette = _palette()
    return [palette[number % len(palette)] for number in range(count)]


@functools.cache
def _palette() -> list[str]:
    """``MOST_GROUPS`` colours, each as far as can be from those before it, for people who see green and red alike, too.

    Distances are those of OKLab (Ottosson 2020), the smaller one of both kinds of sight. All stand out from a light and
    a dark ground.
    """
    steps = np.arange(0, 256, 17)
    candidates = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3) / 255
    seen = oklab(candidates)
    chroma = np.hypot(seen[:, 1], seen[:, 2])
    fit = (seen[:, 0] > 0.48) & (seen[:, 0] < 0.83) & (chroma > 0.05)
    candidates, seen = candidates[fit], seen[fit]
    both = np.stack([seen, oklab(without_green_receptors(candidates))])
    start = int(np.abs(candidates - np.array(FIRST) / 255).sum(axis=1).argmin())
    chosen, least = [start], np.full(len(candidates), np.inf)
    while len(chosen) < MOST_GROUPS:
        away = np.linalg.norm(both - both[:, chosen[-1], None], axis=2)
        # sight without green receptors tells fewer colours apart: half the weight, else it alone would choose
        least = np.minimum(least, np.minimum(away[0], 2 * away[1]))
        chosen.append(int(least.argmax()))
    return ["#" + "".join(f"{round(255 * value):02x}" for value in candidates[one]) for one in chosen]


def oklab(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert sRGB colours to OKLab.

    Args:
        colours: (n, 3) in [0, 1].

    Returns:
        (n, 3).
    """
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    cones = np.cbrt(linear @ np.array(
        [[0.4122214708, 0.5363325363, 0.0514459929],
         [0.2119034982, 0.6806995451, 0.1073969566],
         [0.0883024619, 0.2817188376, 0.6299787005]]).T)  # fmt: skip
    return cones @ np.array(
        [[0.2104542553, 0.7936177850, -0.0040720468],
         [1.9779984951, -2.4285922050, 0.4505937099],
         [0.0259040371, 0.7827717662, -0.8086757660]]).T  # fmt: skip


def without_green_receptors(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Simulate deuteranopia (Machado et al. 2009, severity 1).

    Args:
        colours: sRGB, (n, 3) in [0, 1].

    Returns:
        sRGB as people with deuteranopia see it, (n, 3).
    """
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ).T).clip(0, 1)  # fmt: skip
    return np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)


@dataclass(frozen=True)
class Plot:
    """What the component draws; ``payload`` is made once and sent again only where it changed."""

    ids: NDArray[np.int64]  # (n,), ascending
    points: NDArray[np.float32]  # (n, 2)
    groups: NDArray[np.uint8]  # (n,), lines of the legend
    payload: dict[str, Any]


def plot(
    ids: NDArray[np.int64],
    points: NDArray[np.float32],
    groups: NDArray[np.uint8],
    legend: list[Entry],
    colouring: str,
    label: str,
) -> Plot:
    """Pack points for the browser: 16 bits a coordinate, in an order that favours no group.

    Args:
        ids: int64 (n,).
        points: float32 (n, 2).
        groups: uint8 (n,), the group of each point.
        legend: An entry for each group.
        colouring: Name of what the colours mean.
        label: Description for screen readers.

    Returns:
        The plot.
    """
    order = np.random.default_rng(0).permutation(len(ids))  # else the last group would lie on top of all others
    places = np.round((points[order].astype(float) + 1) * 32767.5).clip(0, 65535).astype("<u2")
    marks = hashlib.sha256(places.tobytes() + ids[order].astype("<i4").tobytes()).hexdigest()[:16]
    payload = {
        "version": marks,
        "colouring": colouring,
        "label": label,
        "points": _packed(places),
        "ids": _packed(ids[order].astype("<i4")),
        "groups": _packed(groups[order]),
        "palette": legend,
    }
    return Plot(ids, points, groups, payload)


def _packed(values: NDArray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def chosen(drawn: Plot, choice: Choice | None) -> NDArray[np.int64]:
    """Find the images of a choice.

    Args:
        drawn: The plot.
        choice: What is chosen.

    Returns:
        int64 rows; empty if nothing is chosen.
    """
    if choice is None:
        return np.zeros(0, np.int64)
    mask = np.ones(len(drawn.ids), bool)
    groups = choice.groups if choice.colouring == drawn.payload["colouring"] else ()
    if groups:
        mask &= np.isin(drawn.groups, groups)
    if choice.area is not None:
        mask &= inside(drawn.points, choice.area)
    elif not groups:
        mask[:] = False
    return np.flatnonzero(mask)


def scatter(drawn: Plot, *, on_choice: Callable[[Choice | None], None], on_pick: Callable[[int], None]) -> None:
    """Draw the map.

    Args:
        drawn: The plot.
        on_choice: Called with what is chosen.
        on_pick: Called with the id of a point that is clicked.
    """

    def choice_changed() -> None:
        on_choice(Choice.read(st.session_state[KEY]["choice"]))

    def picked() -> None:
        id_ = st.session_state[KEY]["pick"]
        if isinstance(id_, int):
            on_pick(id_)

    _component(key=KEY, data=drawn.payload, on_choice_change=choice_changed, on_pick_change=picked)
