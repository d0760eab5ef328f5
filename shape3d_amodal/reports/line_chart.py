"""Curves over a share from 0 to 100 %, such as a score over how much of an object is hidden."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from shape3d_amodal.evaluation.tables import format_percent
from shape3d_amodal.reports.charts import WIDTH, Series, legend, open_svg

_TOP, _BOTTOM, _LEFT, _RIGHT = 12, 320, 40, 16


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """A line a series through the points where it is defined.

    Attributes:
        title: heading.
        axis: what the horizontal axis is.
        ticks: names along it, one a value of each series.
        series: later ones are drawn over earlier ones.
        note: one sentence below the title, may be empty.
    """

    title: str
    axis: str
    ticks: tuple[str, ...]
    series: tuple[Series, ...]
    note: str = ""

    def __post_init__(self) -> None:
        assert all(len(one.values) == len(self.ticks) for one in self.series), "one value a tick"

    def svg(self) -> str:
        """The chart as an ``<svg>`` element; each point tells its number when pointed at."""
        parts = [open_svg(self.title, self.series, _BOTTOM + 48)]
        for value in range(0, 101, 20):
            y, kind = _y(value), "axis" if value == 0 else "grid"
            parts.append(f'<line class="{kind}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
        for index, tick in enumerate(self.ticks):
            x = self._x(index)
            parts.append(
                f'<text class="name" x="{x:.1f}" y="{_BOTTOM + 20}" text-anchor="middle">{escape(tick)}</text>'
            )
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        parts.append(
            f'<text class="tick" x="{middle:.1f}" y="{_BOTTOM + 42}" text-anchor="middle">{escape(self.axis)}</text>'
        )
        for one in self.series:
            parts += self._line(one)
        return "\n".join([*parts, "</svg>"])

    def legend(self) -> str:
        return legend(self.series)

    def _x(self, index: int) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (index + 0.5) / len(self.ticks)

    def _line(self, one: Series) -> list[str]:
        points = [(i, value) for i, value in enumerate(one.values) if not math.isnan(value)]
        places = " ".join(f"{self._x(i):.1f},{_y(value):.1f}" for i, value in points)
        parts = [f'<polyline class="line {one.style}" points="{places}"/>'] if len(points) > 1 else []
        for i, value in points:
            x, y, interval = self._x(i), _y(value), one.interval(i)
            if interval is not None:
                low, high = map(_y, interval)
                parts.append(f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
            name = f"{self.ticks[i]}, {one.name}: {format_percent(value)}"
            parts.append(
                f'<circle class="{one.style}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(name)}</title></circle>'
            )
        return parts


def _y(value: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * min(max(value, 0.0), 100.0) / 100
