"""One bar a method, lying, with its confidence interval: legible for any number of methods."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from shape3d_amodal.evaluation.tables import MISSING, format_percent
from shape3d_amodal.reports.charts import Series, open_svg

_WIDTH, _ROW, _TOP, _RIGHT, _LETTER = 680, 26, 6, 76, 7.0


@dataclass(frozen=True, kw_only=True)
class MeanChart:
    """Bars from 0 to 100 %, a row a series with one value each.

    Attributes:
        title: heading.
        series: from top to bottom.
        note: one sentence below the title, may be empty.
    """

    title: str
    series: tuple[Series, ...]
    note: str = ""

    def __post_init__(self) -> None:
        assert all(len(one.values) == 1 for one in self.series), "one value a series"

    def svg(self) -> str:
        """The chart as an ``<svg>`` element."""
        left = min(240.0, 20 + _LETTER * max((len(one.name) for one in self.series), default=0))
        bottom = _TOP + _ROW * len(self.series)
        parts = [open_svg(self.title, self.series, bottom + 24, _WIDTH)]
        for value in range(0, 101, 20):
            x = _x(value, left)
            kind = "axis" if value == 0 else "grid"
            parts.append(f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
            parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value}</text>')
        for row, one in enumerate(self.series):
            parts += _bar(one, left, _TOP + _ROW * row)
        return "\n".join([*parts, "</svg>"])

    def legend(self) -> str:
        """Nothing: the names stand beside the bars."""
        return ""


def _x(value: float, left: float) -> float:
    return left + (_WIDTH - _RIGHT - left) * min(max(value, 0.0), 100.0) / 100


def _bar(one: Series, left: float, top: float) -> list[str]:
    value, middle = one.values[0], top + _ROW / 2
    name = f'<text class="name" x="{left - 10:.1f}" y="{middle + 4:g}" text-anchor="end">{escape(one.name)}</text>'
    if math.isnan(value):
        return [name, f'<text class="name" x="{left + 8:.1f}" y="{middle + 4:g}">{MISSING}</text>']
    end, interval = _x(value, left), one.interval(0)
    parts = [
        name,
        f'<rect class="{one.style}" x="{left:.1f}" y="{top + 5:g}" width="{end - left:.1f}" height="{_ROW - 10}" '
        f'rx="1.5"><title>{escape(one.name)}: {format_percent(value)}</title></rect>',
    ]
    if interval is not None:
        low, high = (_x(bound, left) for bound in interval)
        end = max(end, high)
        parts.append(f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:g}" y2="{middle:g}"/>')
    return [*parts, f'<text class="name" x="{end + 8:.1f}" y="{middle + 4:g}">{format_percent(value)}</text>']
