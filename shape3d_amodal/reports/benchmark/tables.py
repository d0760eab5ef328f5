"""Tables and charts of one run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.benchmarking.config import MarginConfig, shares
from shape3d_amodal.benchmarking.margins import Compared, Margin, margin_table, margins
from shape3d_amodal.benchmarking.runner import MethodScore, RunScores
from shape3d_amodal.evaluation.given_masks.completion_table import CompletionTable
from shape3d_amodal.evaluation.interface import Interval, ScoreTable
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import Table, category_table, level_table, summary_table
from shape3d_amodal.evaluation.tracks import TRACKS
from shape3d_amodal.reports.charts import BarChart, Chart, Series
from shape3d_amodal.reports.line_chart import LineChart
from shape3d_amodal.reports.mean_chart import MeanChart

NAN = float("nan")
_FEW = 6
"""Methods that a chart by category, or a table with methods as columns, still shows legibly."""
_BINS = np.linspace(0, 1, 11)
"""Hidden shares between which curves average."""
_LEAST = 5
"""Objects that a point of a curve needs."""

Intervals = Mapping[str, Mapping[str, Interval]]


class RunViews:
    """What a report shows of a run."""

    def __init__(self, scores: RunScores) -> None:
        self.run = scores.run
        self.methods = scores.methods
        self.tables = scores.tables
        self.meshes, self.mesh_counts = scores.meshes, scores.mesh_counts
        self.intervals: dict[str, Intervals] = {name: table.intervals() for name, table in self.tables.items()}
        metrics = {metric.name: metric for table in self.tables.values() for metric in table.metrics}
        self.metrics = tuple(metrics.values())
        self.track = TRACKS[scores.run.track]
        known = {name for table in self.tables.values() for name in table.score.values}
        self.main = tuple(self.track.metrics[name] for name in self.track.by_category if name in known)
        """The metrics that are shown by category, the headline first."""

    def printed(self) -> list[Table]:
        """The tables, most telling first."""
        first = [*self.categories(), self._overall(), self._intervals()]
        return [*first, *self.margins(), *self._levels(), self._costs()]

    def categories(self) -> list[Table]:
        """The main metrics by category, the number of meshes beside its name where it is known."""
        names = {name: f"{name} ({count})" for name, count in self.mesh_counts.items()}
        note = "; in parentheses the number of meshes that the objects show" if names else ""
        tables = [
            category_table(
                self.tables, metric.name, title=f"{title_of(metric)}{note}", without=self.run.without
            ).renamed(names)
            for metric in self.main
        ]
        if len(self.tables) <= _FEW:
            tables = [table.transposed() for table in tables]
        return tables

    def value(self, method: str, metric: Metric) -> float:
        """The number over everything, in percent or in the metric's unit."""
        return _value(self.tables[method], metric)

    def margins(self) -> list[Table]:
        """How far methods are ahead of others, category by category."""
        return [
            margin_table(rows, one, metric)
            for one, found in zip(self.run.margins, self.compared(), strict=True)
            for metric, rows in found
        ]

    def compared(self) -> list[Compared]:
        """The rows of each margin of the run, by its metrics; a metric that is defined nowhere is left out."""
        wanted = [one.metrics or shares(self.run.track) for one in self.run.margins]
        return [
            [(metric, rows) for metric in self.main if metric.name in names and (rows := self._margins(one, metric))]
            for one, names in zip(self.run.margins, wanted, strict=True)
        ]

    def _margins(self, one: MarginConfig, metric: Metric) -> list[Margin]:
        return margins(self.tables, one.of, one.over, metric, without=self.run.without, meshes=self.meshes)

    def charts(self) -> list[Chart]:
        """Means with intervals, categories, and curves over occlusion, of the metrics that are shares."""
        shown = [metric for metric in self.main if metric.unit == "share"]
        charts: list[Chart] = [self._means(metric) for metric in shown]
        charts += [self._categories(metric) for metric in shown]
        return charts + self._curves()

    def interval(self, method: str, metric: str, category: str = "mean") -> tuple[float, float]:
        """The 95 % interval in percent, or in the metric's unit; NaN where there is none."""
        one = self.intervals[method].get(metric, {}).get(category)
        share = any(known.name == metric and known.unit == "share" for known in self.metrics)
        return (NAN, NAN) if one is None else (_shown(one.low, share), _shown(one.high, share))

    def _overall(self) -> Table:
        shares = all(metric.unit == "share" for metric in self.metrics)
        return summary_table(self.tables, title="Overall, %" if shares else "Overall, shares in %")

    def _levels(self) -> list[Table]:
        metrics = (self.track.metrics[name] for name in self.track.by_level)
        return [level_table(self.tables, one.name, title=f"{one.title} by occlusion, %") for one in metrics]

    def _intervals(self) -> Table:
        """Means between the ends of their intervals."""
        columns = tuple(f"{metric.title}{end}" for metric in self.main for end in (", low", "", ", high"))
        rows = []
        for name, table in self.tables.items():
            values: list[float] = []
            for metric in self.main:
                low, high = self.interval(name, metric.name)
                values += (low, _value(table, metric), high)
            rows.append((name, tuple(values)))
        title = "Means with 95 % bootstrap intervals over instances"
        return Table(title=title, corner="method", columns=columns, rows=tuple(rows), compare=None)

    def _costs(self) -> Table:
        rows = tuple((name, _cost(method)) for name, method in self.methods.items())
        columns = ("ms an object", "parameters, million")
        return Table(title="Speed and size", corner="method", columns=columns, rows=rows, compare=None)

    def _series(self, method: str, values: list[float], intervals: list[tuple[float, float]] | None = None) -> Series:
        focus = method == self.run.focus
        number = [name for name in self.methods if name != self.run.focus].index(method) if not focus else None
        return Series(
            name=method, values=tuple(values), intervals=None if intervals is None else tuple(intervals), color=number
        )

    def _means(self, metric: Metric) -> MeanChart:
        series = [
            self._series(name, [_value(table, metric)], [self.interval(name, metric.name)])
            for name, table in self.tables.items()
        ]
        note = "Whiskers are 95 % bootstrap intervals over instances."
        return MeanChart(title=f"{metric.title}, mean over categories", series=tuple(series), note=note)

    def _categories(self, metric: Metric) -> BarChart:
        names = tuple(dict.fromkeys(name for table in self.tables.values() for name in table.names.values()))
        series = []
        for method in self._few():
            own = self.tables[method].by_category()
            values = [100 * own[name].values.get(metric.name, NAN) if name in own else NAN for name in names]
            series.append(self._series(method, values, [self.interval(method, metric.name, name) for name in names]))
        return BarChart(title=f"{metric.title} by category", groups=names, series=tuple(series), note=self._left_out())

    def _curves(self) -> list[Chart]:
        tables = {name: table for name, table in self.tables.items() if isinstance(table, CompletionTable)}
        if not tables:
            return self._level_curves()
        names = [name for name in self._few() if name in tables]
        ticks = tuple(f"{100 * low:.0f}–{100 * high:.0f}" for low, high in pairwise(_BINS))
        charts: list[Chart] = []
        for title, field in (("IoU", "iou"), ("Occluded IoU", "occluded_iou")):
            curves = {name: occlusion_curve(tables[name], getattr(tables[name], field)) for name in names}
            used = [i for i in range(len(ticks)) if not all(math.isnan(curve[i]) for curve in curves.values())]
            if not used:
                continue
            series = (self._series(name, [curve[i] for i in used]) for name, curve in curves.items())
            charts.append(
                LineChart(
                    title=f"{title} by occlusion",
                    axis="hidden share of the object, %",
                    ticks=tuple(ticks[i] for i in used),
                    series=tuple(series),
                    note=f"Means over the objects of every tenth, where there are {_LEAST} or more. {self._left_out()}",
                )
            )
        return charts

    def _level_curves(self) -> list[Chart]:
        """Curves over the track's own occlusion levels."""
        charts: list[Chart] = []
        for metric in (self.track.metrics[name] for name in self.track.by_level):
            levels = {name: self.tables[name].by_level() for name in self._few()}
            ticks = tuple(next(iter(levels.values())))
            series = tuple(
                self._series(name, [100 * score.values.get(metric.name, NAN) for score in own.values()])
                for name, own in levels.items()
            )
            title = f"{metric.title} by occlusion"
            charts.append(
                LineChart(title=title, axis="occlusion level", ticks=ticks, series=series, note=self._left_out())
            )
        return charts

    def _few(self) -> list[str]:
        """The focus and the best others, in the order of the table but the focus last."""
        headline = self.main[0]
        others = [name for name in self.tables if name != self.run.focus]
        best = sorted(others, key=lambda name: -np.nan_to_num(_value(self.tables[name], headline)))[: _FEW - 1]
        return [*(name for name in others if name in best), self.run.focus]

    def _left_out(self) -> str:
        shown = len(self._few())
        return (
            ""
            if shown == len(self.tables)
            else f"Shown are {self.run.focus} and the {shown - 1} best others; all are in the tables."
        )


def occlusion_curve(table: CompletionTable, values: NDArray[np.float64]) -> list[float]:
    """Means in percent of ``values`` [N] (of the table's instances) over the tenths of the hidden share.

    A tenth is low < share <= high, the first one takes 0, too; NaN where fewer than 5 instances have a value.
    """
    places = np.clip(np.ceil(table.hidden_share * 10).astype(int) - 1, 0, 9)
    defined = ~np.isnan(values)
    means = []
    for place in range(10):
        chosen = values[defined & (places == place)]
        means.append(100 * float(chosen.mean()) if len(chosen) >= _LEAST else NAN)
    return means


def title_of(metric: Metric) -> str:
    """The metric's heading with its unit."""
    return f"{metric.title}, %" if metric.unit == "share" else metric.title


def _value(table: ScoreTable, metric: Metric) -> float:
    return _shown(table.score.values.get(metric.name, NAN), metric.unit == "share")


def _shown(value: float, share: bool) -> float:
    return 100 * value if share else value


def _cost(method: MethodScore) -> tuple[float, float]:
    seconds, parameters = method.seconds, method.parameters
    return (NAN if seconds is None else 1000 * seconds, NAN if parameters is None else parameters / 1e6)
