"""A map of images to move about in, point at and draw round: the component, and what Python makes of its answers."""

import base64
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
        <button type="button" data-do="in" title="Zoom in (+)" aria-label="Zoom in">+</button>
        <button type="button" data-do="out" title="Zoom out (−)" aria-label="Zoom out">−</button>
        <button type="button" data-do="all" title="Show the whole map (0)">Whole map</button>
      </span>
      <span>
        <button type="button" data-do="view" title="Show the images of all points in view (Enter)">Show these</button>
        <button type="button" data-do="clear" title="Choose nothing (Escape)" hidden>Clear</button>
      </span>
    </div>
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
        """From the browser, which may send anything; None for nothing chosen or nonsense."""
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
    """Which of ``points`` (n, 2) lie in a polygon, by the even-odd rule."""
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
    """``count`` colours that stand out from each other, and from a light and a dark ground."""
    rings = 1 if count <= 7 else 2  # steps round the hues of OKLCH, where many at two lightnesses
    steps = -(-count // rings)
    found = []
    for number in range(count):
        ring, step = number % rings, number // rings
        lightness, chroma = ((0.62, 0.16), (0.76, 0.12))[ring]
        found.append(_hex(lightness, chroma, 2 * np.pi * (step + ring / 2) / steps + 0.45))
    return found


def _hex(lightness: float, chroma: float, hue: float) -> str:
    """OKLCH (Ottosson 2020) as sRGB; what does not fit is clipped."""
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.array(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ]
    ).clip(0, 1)
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * float(value)):02x}" for value in values)


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
    """Pack points for the browser: 16 bits a coordinate, in an order that favours no group."""
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
    """Rows of the images that were chosen; none where nothing is."""
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
    """Draw the map. ``on_choice`` gets what is chosen, ``on_pick`` the id of a point that is clicked."""

    def choice_changed() -> None:
        on_choice(Choice.read(st.session_state[KEY]["choice"]))

    def picked() -> None:
        id_ = st.session_state[KEY]["pick"]
        if isinstance(id_, int):
            on_pick(id_)

    _component(key=KEY, data=drawn.payload, on_choice_change=choice_changed, on_pick_change=picked)
