"""Bar charts as SVG text, coloured by the page's style sheet, without scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from shape3d_amodal.evaluation.tables import MISSING, format_percent

SERIES_COLORS = 8
"""Colours in the style sheet; further series begin again."""

_WIDTH, _TOP, _BOTTOM, _LEFT, _RIGHT = 1080, 12, 300, 40, 4


@dataclass(frozen=True, kw_only=True)
class Series:
    """One colour of bars.

    Attributes:
        name: in the legend.
        values: percent, one a group; NaN leaves a gap.
        intervals: low and high in percent, one a group, drawn as whiskers; NaN draws none.
    """

    name: str
    values: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class BarChart:
    """Grouped bars from 0 to 100 %.

    Attributes:
        title: heading.
        note: one sentence below it, may be empty.
        groups: names along the axis.
        series: in the order of the bars of a group. The last one is emphasised, as the one that it is about.
    """

    title: str
    groups: tuple[str, ...]
    series: tuple[Series, ...]
    note: str = ""

    def __post_init__(self) -> None:
        assert all(len(one.values) == len(self.groups) for one in self.series), "one value a group"


def series_class(number: int, count: int) -> str:
    """The style class of series ``number`` of ``count``; the last one has the accent."""
    return "s-main" if number == count - 1 else f"s{number % SERIES_COLORS}"


def svg(chart: BarChart) -> str:
    """The chart as an ``<svg>`` element; each bar tells its number when pointed at."""
    slanted = max((len(name) for name in chart.groups), default=0) * 7 > _step(chart)
    height = _BOTTOM + (84 if slanted else 28)
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(_summary(chart))}">',
        *_grid(),
    ]
    for index, group in enumerate(chart.groups):
        parts += _bars(chart, index)
        parts.append(_label(group, _LEFT + (index + 0.5) * _step(chart), slanted))
    return "\n".join([*parts, "</svg>"])


def legend(chart: BarChart) -> str:
    """The names of the series with their colours, as an HTML list."""
    count = len(chart.series)
    items = (
        f'<li><span class="swatch {series_class(number, count)}"></span>{escape(one.name)}</li>'
        for number, one in enumerate(chart.series)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _step(chart: BarChart) -> float:
    return (_WIDTH - _LEFT - _RIGHT) / max(len(chart.groups), 1)


def _y(value: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * min(max(value, 0.0), 100.0) / 100


def _grid() -> list[str]:
    lines = []
    for value in range(0, 101, 20):
        y = _y(value)
        kind = "axis" if value == 0 else "grid"
        lines.append(f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
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
            f'<rect class="{series_class(number, count)}" x="{left + gap / 2:.2f}" y="{y:.1f}" '
            f'width="{width - gap:.2f}" height="{_BOTTOM - y:.1f}" rx="1.5"><title>{escape(name)}</title></rect>'
        )
        low, high = one.intervals[index] if one.intervals is not None else (math.nan, math.nan)
        if not (math.isnan(low) or math.isnan(high)):
            middle = left + width / 2
            parts.append(
                f'<line class="whisker" x1="{middle:.2f}" x2="{middle:.2f}" y1="{_y(low):.1f}" y2="{_y(high):.1f}"/>'
            )
    return parts


def _label(text: str, x: float, slanted: bool) -> str:
    y = _BOTTOM + 18
    turn = f' transform="rotate(-35 {x:.1f} {y})" text-anchor="end"' if slanted else ' text-anchor="middle"'
    return f'<text class="name" x="{x:.1f}" y="{y}"{turn}>{escape(text)}</text>'


def _summary(chart: BarChart) -> str:
    """What somebody hears who does not see the chart: each series' mean; the numbers are in the tables."""

    def mean(values: Sequence[float]) -> str:
        defined = [value for value in values if not math.isnan(value)]
        return format_percent(sum(defined) / len(defined)) if defined else MISSING

    return f"{chart.title}. " + "; ".join(f"{one.name}: mean {mean(one.values)}" for one in chart.series)
