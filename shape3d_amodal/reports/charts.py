"""Charts of percentages as SVG for a page: matplotlib draws, the page's style sheet colours. No scripts.

Matplotlib is imported when a chart is drawn.
"""

from __future__ import annotations

import io
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.evaluation.tables import MISSING, format_percent

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SERIES_COLORS = 8
"""Colours of series in the style sheet."""
REST = -1
"""The colour of all series that need none of their own, since their names stand beside them."""
_PAINTS = ("accent", "ink", "soft", "line", "rest", *(f"s{number}" for number in range(SERIES_COLORS)))
"""Variables of the style sheet that charts use."""
_LONGEST = 36  # letters of a name that fit beside an axis
_TELLS = "tells:"  # begins the id of what tells a text when pointed at


def _color(paint: str) -> str:
    """A colour that stands for a variable of the style sheet until the chart is written."""
    return f"#fe00{_PAINTS.index(paint):02x}"


_RC: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of methods and categories are no formulas
    "font.size": 12.5,
    "text.color": _color("ink"),
    "axes.labelcolor": _color("soft"),
    "axes.edgecolor": _color("ink"),
    "axes.linewidth": 1.2,
    "axes.axisbelow": True,
    "grid.color": _color("line"),
    "xtick.color": _color("soft"),
    "ytick.color": _color("soft"),
    **{f"{axis}tick.major.size": 0 for axis in "xy"},
    **{f"{axis}tick.major.pad": 8 for axis in "xy"},
    **{f"axes.spines.{side}": False for side in ("left", "top", "right")},
}
_WHISKER: dict[str, Any] = {"color": _color("ink"), "alpha": 0.75, "linewidth": 1.3, "clip_on": False}


@dataclass(frozen=True, kw_only=True)
class Series:
    """One method in a chart.

    Attributes:
        name: in the legend.
        values: percent, one a name of the chart; NaN leaves a gap.
        intervals: low and high in percent, one a name of the chart, drawn as whiskers; NaN draws none.
        color: number of its colour, or ``REST``; None is the accent, for what the chart is about.
    """

    name: str
    values: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...] = ()
    color: int | None = None

    @property
    def paint(self) -> str:
        """Its variable in the style sheet."""
        if self.color is None:
            return "accent"
        return "rest" if self.color == REST else f"s{self.color % SERIES_COLORS}"

    def points(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The places [K] of the values that are defined, and these values [K], cut to 0..100."""
        values = np.asarray(self.values, np.float64)
        places = np.flatnonzero(~np.isnan(values))
        return places, np.clip(values[places], 0, 100)

    def whiskers(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """The places [K] of the intervals that are defined, and their ends [K] and [K], cut to 0..100."""
        ends = np.clip(np.reshape(self.intervals, (-1, 2)), 0, 100)
        places = np.flatnonzero(~np.isnan(ends).any(axis=1))
        return places, ends[places, 0], ends[places, 1]


@dataclass(frozen=True, kw_only=True)
class Chart(ABC):
    """Series of percentages on an axis from 0 to 100.

    Attributes:
        title: heading.
        series: methods; later ones are drawn over earlier ones.
        names: of the places along the other axis, one for each value of a series.
        axis: what that axis is, may be empty.
        note: one sentence below the heading, may be empty.
    """

    title: str
    series: tuple[Series, ...]
    names: tuple[str, ...] = ("mean",)
    axis: str = ""
    note: str = ""
    legend: ClassVar[bool] = True
    """Whether the page must say which colour is which series."""
    width: ClassVar[int] = 1080
    """In CSS pixels, at which letters have their size."""

    def __post_init__(self) -> None:
        assert all(len(one.values) == len(self.names) for one in self.series), "one value a name"

    @abstractmethod
    def _draw(self, axes: Axes) -> int:
        """Draw the series; the height that the chart needs, in CSS pixels."""

    def figure(self) -> Figure:
        """The chart as a figure of matplotlib, whose point is a CSS pixel."""
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        with rc_context(_RC):
            figure = Figure(frameon=False, layout="constrained")
            axes = figure.subplots()
            axes.patch.set_visible(False)
            figure.set_size_inches(self.width / 72, self._draw(axes) / 72)
        return figure

    def svg(self, name: str) -> str:
        """The chart as an ``<svg>`` element for an HTML page; each bar or point tells its number when pointed at.

        Args:
            name: one that no other chart of the page has; the ids in the element are made of it.
        """
        from matplotlib import rc_context

        stream = io.StringIO()
        with rc_context({**_RC, "svg.hashsalt": name}):
            self.figure().savefig(stream, format="svg", metadata={"Date": None})
        root = ElementTree.fromstring(stream.getvalue())
        means = "; ".join(f"{one.name}: mean {_mean(one)}" for one in self.series)
        label = f"{self.title}. {means}"  # for those who do not see the chart; all numbers are in the tables
        kind = "chart" if self.legend else "chart slim"
        root.attrib = {"class": kind, "viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
        # The definitions at the top are a style that would hold for the whole page.
        for part in [*root.findall("./{*}metadata"), *root.findall("./{*}defs")]:
            root.remove(part)
        for element in list(root.iter()):
            _for_page(element)
        return ElementTree.tostring(root, encoding="unicode")


class BarChart(Chart):
    """A group of bars a name."""

    def _draw(self, axes: Axes) -> int:
        width = 0.78 / max(len(self.series), 1)
        for number, one in enumerate(self.series):
            shift = (number + 0.5) * width - 0.39
            places, values = one.points()
            bars = axes.bar(places + shift, values, 0.9 * width, color=_color(one.paint), clip_on=False)
            _tell(bars, self.names, one)
            places, low, high = one.whiskers()
            axes.vlines(places + shift, low, high, **_WHISKER)
        axes.set(ylim=(0, 100), xlabel=self.axis)
        _percent_axis(axes.yaxis)
        if max((len(name) for name in self.names), default=0) * 7 * len(self.names) > self.width:
            _name_places(axes, self.names, rotation=35, ha="right", rotation_mode="anchor")
            return 400
        _name_places(axes, self.names)
        return 328


class LineChart(Chart):
    """A line a series through the points where it is defined."""

    def _draw(self, axes: Axes) -> int:
        for one in self.series:
            style: dict[str, Any] = {"color": _color(one.paint), "clip_on": False}
            places, values = one.points()
            axes.plot(places, values, linewidth=3.2 if one.color is None else 2.2, **style)
            # A line of its own for each point, to tell its own number.
            points = [axes.plot(*point, "o", markersize=8, **style)[0] for point in zip(places, values, strict=True)]
            _tell(points, self.names, one)
            axes.vlines(*one.whiskers(), **_WHISKER)
        axes.set(ylim=(0, 100), xlabel=self.axis)
        _percent_axis(axes.yaxis)
        _name_places(axes, self.names)
        return 368


class MeanChart(Chart):
    """One lying bar a series, its number beside it: legible for any number of methods."""

    legend = False
    width = 680

    def _draw(self, axes: Axes) -> int:
        for row, one in enumerate(self.series):
            places, values = one.points()
            _tell(axes.barh(places + row, values, 0.6, color=_color(one.paint), clip_on=False), self.names, one)
            places, low, high = one.whiskers()
            axes.hlines(places + row, low, high, **_WHISKER)
            end = max([0, *values, *high])
            number = format_percent(one.values[0])
            axes.annotate(number, (end, row), xytext=(8, 0), textcoords="offset points", va="center_baseline")
        axes.set_xlim(0, 100)
        _percent_axis(axes.xaxis)
        axes.set_yticks(range(len(self.series)), [_short(one.name) for one in self.series], color=_color("ink"))
        axes.set_ylim(len(self.series) - 0.5, -0.5)
        axes.spines.bottom.set_visible(False)
        axes.spines.left.set_visible(True)
        return 26 * len(self.series) + 30


def _percent_axis(axis: Axis) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_ticks(range(0, 101, 20))
    axis.set_major_formatter(PercentFormatter(symbol=" %"))
    axis.grid(clip_on=False)


def _name_places(axes: Axes, names: Sequence[str], **style: Any) -> None:
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xticks(range(len(names)), [_short(name) for name in names], color=_color("ink"), **style)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _tell(artists: Iterable[Artist], names: Sequence[str], one: Series) -> None:
    """Give the marks of the defined values of ``one`` what they tell when pointed at."""
    for artist, place in zip(artists, one.points()[0], strict=True):
        artist.set_gid(f"{_TELLS}{names[place]}, {one.name}: {format_percent(one.values[place])}")


def _mean(one: Series) -> str:
    known = np.asarray(one.values)[one.points()[0]]
    return format_percent(float(known.mean())) if len(known) else MISSING


def _for_page(element: ElementTree.Element) -> None:
    """Turn an element of a file of matplotlib's into one of an HTML page, which has no name spaces."""
    element.tag = element.tag.rpartition("}")[2]
    element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    if "style" in element.attrib:
        style = re.sub("#fe00(..)", lambda found: f"var(--{_PAINTS[int(found[1], 16)]})", element.attrib["style"])
        element.attrib["style"] = style
    if element.tag == "g":  # names of matplotlib's, which every chart has, and what we told
        told = element.attrib.pop("id", "")
        if told.startswith(_TELLS):
            title = ElementTree.Element("title")
            title.text = told.removeprefix(_TELLS)
            element.insert(0, title)
