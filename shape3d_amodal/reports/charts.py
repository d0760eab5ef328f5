"""Charts as SVG text, coloured by the page's style sheet, without scripts: bars by group, and what they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

from shape3d_amodal.evaluation.tables import MISSING, format_percent

SERIES_COLORS = 8
"""Colours in the style sheet; further series begin again."""

WIDTH, _TOP, _BOTTOM, _LEFT, _RIGHT = 1080, 12, 300, 40, 4


class Chart(Protocol):
    """What a report can show."""

    @property
    def title(self) -> str:
        """Heading."""

    @property
    def note(self) -> str:
        """One sentence below it, may be empty."""

    def svg(self) -> str:
        """The chart as an ``<svg>`` element."""

    def legend(self) -> str:
        """What its colours mean, as HTML; may be empty."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One method in a chart.

    Attributes:
        name: in the legend.
        values: percent, one a group; NaN leaves a gap.
        intervals: low and high in percent, one a group, drawn as whiskers; NaN draws none.
        color: number of its colour; None is the accent, for what the chart is about.
    """

    name: str
    values: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...] | None = None
    color: int | None = None

    @property
    def style(self) -> str:
        """Its class in the style sheet."""
        return "s-main" if self.color is None else f"s{self.color % SERIES_COLORS}"

    def interval(self, index: int) -> tuple[float, float] | None:
        """Low and high of one group, where they are defined."""
        if self.intervals is None or math.isnan(sum(self.intervals[index])):
            return None
        return self.intervals[index]


@dataclass(frozen=True, kw_only=True)
class BarChart:
    """Grouped bars from 0 to 100 %.

    Attributes:
        title: heading.
        note: one sentence below it, may be empty.
        groups: names along the axis.
        series: in the order of the bars of a group.
    """

    title: str
    groups: tuple[str, ...]
    series: tuple[Series, ...]
    note: str = ""

    def __post_init__(self) -> None:
        assert all(len(one.values) == len(self.groups) for one in self.series), "one value a group"

    def svg(self) -> str:
        """The chart as an ``<svg>`` element; each bar tells its number when pointed at."""
        slanted = max((len(name) for name in self.groups), default=0) * 7 > _step(self)
        height = _BOTTOM + (84 if slanted else 28)
        parts = [open_svg(self.title, self.series, height), *_grid()]
        for index, group in enumerate(self.groups):
            parts += _bars(self, index)
            parts.append(_label(group, _LEFT + (index + 0.5) * _step(self), slanted))
        return "\n".join([*parts, "</svg>"])

    def legend(self) -> str:
        return legend(self.series)


def legend(series: Sequence[Series]) -> str:
    """The names of the series with their colours, as an HTML list."""
    items = (f'<li><span class="swatch {one.style}"></span>{escape(one.name)}</li>' for one in series)
    return f'<ul class="legend">{"".join(items)}</ul>'


def open_svg(title: str, series: Sequence[Series], height: float, width: float = WIDTH) -> str:
    """The opening tag, with the means for those who do not see the chart; all numbers are in the tables."""

    def mean(values: Sequence[float]) -> str:
        defined = [value for value in values if not math.isnan(value)]
        return format_percent(sum(defined) / len(defined)) if defined else MISSING

    summary = f"{title}. " + "; ".join(f"{one.name}: mean {mean(one.values)}" for one in series)
    kind = "chart" if width == WIDTH else "chart slim"
    return f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(summary)}">'


def _step(chart: BarChart) -> float:
    return (WIDTH - _LEFT - _RIGHT) / max(len(chart.groups), 1)


def _y(value: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * min(max(value, 0.0), 100.0) / 100


def _grid() -> list[str]:
    lines = []
    for value in range(0, 101, 20):
        y = _y(value)
        kind = "axis" if value == 0 else "grid"
        lines.append(f'<line class="{kind}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
    return lines


def _bars(chart: BarChart, index: int) -> list[str]:
    step, count = _step(chart), len(chart.series)
    inner = step * 0.78
    width = inner / max(count, 1)
    parts = []
    for number, one in enumerate(chart.series):
        value = one.values[index]
        if math.isnan(value):
            continue
        left = _LEFT + index * step + (step - inner) / 2 + number * width
        name = f"{chart.groups[index]}, {one.name}: {format_percent(value)}"
        y = _y(value)
        gap = min(1.0, width * 0.1)
        parts.append(
            f'<rect class="{one.style}" x="{left + gap / 2:.2f}" y="{y:.1f}" '
            f'width="{width - gap:.2f}" height="{_BOTTOM - y:.1f}" rx="1.5"><title>{escape(name)}</title></rect>'
        )
        interval = one.interval(index)
        if interval is not None:
            middle, (low, high) = left + width / 2, map(_y, interval)
            parts.append(f'<line class="whisker" x1="{middle:.2f}" x2="{middle:.2f}" y1="{low:.1f}" y2="{high:.1f}"/>')
    return parts


def _label(text: str, x: float, slanted: bool) -> str:
    y = _BOTTOM + 18
    turn = f' transform="rotate(-35 {x:.1f} {y})" text-anchor="end"' if slanted else ' text-anchor="middle"'
    return f'<text class="name" x="{x:.1f}" y="{y}"{turn}>{escape(text)}</text>'
