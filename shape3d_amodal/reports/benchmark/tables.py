"""Tables and charts of one run."""

from __future__ import annotations

from itertools import pairwise
from math import nan

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.benchmarking.config import MarginConfig, shares
from shape3d_amodal.benchmarking.margins import Compared, margin_table, margins
from shape3d_amodal.benchmarking.runner import RunScores
from shape3d_amodal.evaluation.given_masks.completion import CompletionTable
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import Table, category_table, level_table, metric_value, summary_table
from shape3d_amodal.evaluation.tracks import TRACKS
from shape3d_amodal.reports.charts import BarChart, Chart, LineChart, MeanChart, Series

_FEW = 6
"""Methods that a chart by category, or a table with methods as columns, still shows legibly."""
_BINS = np.linspace(0, 1, 11)  # hidden shares between which curves average
_LEAST = 5  # objects that a point of a curve needs


class RunTables:
    """The tables and charts of a run.

    Attributes:
        scores: the run, and its methods' scores.
        of_methods: the score table of each method by its name.
        metrics: all metrics of these tables.
        main: those that are shown by category, the headline first.
    """

    def __init__(self, scores: RunScores) -> None:
        self.scores, self.run, self.of_methods = scores, scores.run, scores.tables
        self.track = TRACKS[scores.run.track]
        self.metrics = tuple({one.name: one for table in self.of_methods.values() for one in table.metrics}.values())
        known = {name for table in self.of_methods.values() for name in table.score.values}
        self.main = tuple(self.track.metrics[name] for name in self.track.by_category if name in known)
        self._intervals = {name: table.intervals() for name, table in self.of_methods.items()}

    def printed(self) -> list[Table]:
        """The tables, most telling first."""
        shares = all(metric.unit == "share" for metric in self.metrics)
        overall = summary_table(self.of_methods, title="Overall, %" if shares else "Overall, shares in %")
        levels = (self.track.metrics[name] for name in self.track.by_level)
        return [
            *self.categories(),
            overall,
            self._means_with_intervals(),
            *(margin_table(rows, one, metric) for one, found in self.compared() for metric, rows in found),
            *(level_table(self.of_methods, one.name, title=f"{one.title} by occlusion, %") for one in levels),
            self._costs(),
        ]

    def categories(self) -> list[Table]:
        """The main metrics by category, the number of meshes beside its name where it is known."""
        names = {name: f"{name} ({count})" for name, count in self.scores.mesh_counts.items()}
        note = "; in parentheses the number of meshes that the objects show" if names else ""
        tables = [
            category_table(self.of_methods, one.name, title=f"{title_of(one)}{note}", without=self.run.without)
            for one in self.main
        ]
        few = len(self.of_methods) <= _FEW
        return [(table.transposed() if few else table).renamed(names) for table in tables]

    def compared(self) -> list[tuple[MarginConfig, Compared]]:
        """The run's margins with the rows of each metric; what is defined nowhere is left out."""
        tables, without, meshes = self.of_methods, self.run.without, self.scores.meshes
        found = []
        for one in self.run.margins:
            chosen = [metric for metric in self.main if metric.name in (one.metrics or shares(self.run.track))]
            rows = {key: margins(tables, one.of, one.over, key, without=without, meshes=meshes) for key in chosen}
            found.append((one, [(metric, own) for metric, own in rows.items() if own]))
        return [(one, compared) for one, compared in found if compared]

    def charts(self) -> list[Chart]:
        """Means with intervals, categories, and curves over occlusion, of the metrics that are shares."""
        shown = [metric for metric in self.main if metric.unit == "share"]
        return [*map(self._mean_chart, shown), *map(self._category_chart, shown), *self._curves()]

    def interval(self, method: str, metric: Metric, category: str = "mean") -> tuple[float, float]:
        """The 95 % interval in percent, or in the metric's unit; NaN where there is none."""
        found = self._intervals[method].get(metric.name, {}).get(category)
        factor = 100 if metric.unit == "share" else 1
        return (nan, nan) if found is None else (factor * found.low, factor * found.high)

    def _means_with_intervals(self) -> Table:
        """Means between the ends of their intervals."""
        columns = tuple(f"{metric.title}{end}" for metric in self.main for end in (", low", "", ", high"))
        rows = []
        for name, table in self.of_methods.items():
            values: list[float] = []
            for metric in self.main:
                low, high = self.interval(name, metric)
                values += (low, metric_value(table.score, metric), high)
            rows.append((name, tuple(values)))
        title = "Means with 95 % bootstrap intervals over instances"
        return Table(title=title, corner="method", columns=columns, rows=tuple(rows), compare=None)

    def _costs(self) -> Table:
        rows = []
        for name, method in self.scores.methods.items():
            milliseconds = nan if method.seconds is None else 1000 * method.seconds
            rows.append((name, (milliseconds, nan if method.parameters is None else method.parameters / 1e6)))
        columns = ("ms an object", "parameters, million")
        return Table(title="Speed and size", corner="method", columns=columns, rows=tuple(rows), compare=None)

    def _series(self, method: str, values: list[float], intervals: list[tuple[float, float]] | None = None) -> Series:
        others = [name for name in self.of_methods if name != self.run.focus]
        color = None if method == self.run.focus else others.index(method)
        return Series(name=method, values=tuple(values), intervals=tuple(intervals or ()), color=color)

    def _mean_chart(self, metric: Metric) -> Chart:
        series = tuple(
            self._series(name, [metric_value(table.score, metric)], [self.interval(name, metric)])
            for name, table in self.of_methods.items()
        )
        note = "Whiskers are 95 % bootstrap intervals over instances."
        return MeanChart(title=f"{metric.title}, mean over categories", series=series, note=note)

    def _category_chart(self, metric: Metric) -> Chart:
        names = tuple(dict.fromkeys(name for table in self.of_methods.values() for name in table.names.values()))
        series = []
        for method in self._few():
            own = self.of_methods[method].by_category()
            values = [metric_value(own.get(name), metric) for name in names]
            series.append(self._series(method, values, [self.interval(method, metric, name) for name in names]))
        title = f"{metric.title} by category"
        return BarChart(title=title, names=names, series=tuple(series), note=self._left_out())

    def _curves(self) -> list[Chart]:
        """Curves over the tenths of the hidden share where it is known, else over the track's own occlusion levels."""
        tables = {name: self.of_methods[name] for name in self._few()}
        completion = {name: table for name, table in tables.items() if isinstance(table, CompletionTable)}
        charts: list[Chart] = []
        if not completion:
            levels = {name: table.by_level() for name, table in tables.items()}
            names = tuple(next(iter(levels.values())))
            for metric in (self.track.metrics[name] for name in self.track.by_level):
                shown = {name: [metric_value(one, metric) for one in own.values()] for name, own in levels.items()}
                charts.append(self._curve(metric.title, shown, names, axis="occlusion level"))
            return charts
        ticks = [f"{100 * low:.0f}–{100 * high:.0f}" for low, high in pairwise(_BINS)]
        note = f"Means over the objects of every tenth, where there are {_LEAST} or more."
        for title, field in (("IoU", "iou"), ("Occluded IoU", "occluded_iou")):
            curves = {name: occlusion_curve(table, getattr(table, field)) for name, table in completion.items()}
            used = np.flatnonzero(~np.isnan(list(curves.values())).all(axis=0))
            if len(used):
                shown = {name: [curve[i] for i in used] for name, curve in curves.items()}
                names = tuple(ticks[i] for i in used)
                charts.append(self._curve(title, shown, names, axis="hidden share of the object, %", note=note))
        return charts

    def _curve(
        self, title: str, curves: dict[str, list[float]], names: tuple[str, ...], *, axis: str, note: str = ""
    ) -> Chart:
        series = tuple(self._series(name, values) for name, values in curves.items())
        note = f"{note} {self._left_out()}".strip()
        return LineChart(title=f"{title} by occlusion", names=names, series=series, axis=axis, note=note)

    def _few(self) -> list[str]:
        """The focus and the best others, in the order of the table but the focus last."""
        others = [name for name in self.of_methods if name != self.run.focus]
        means = {name: metric_value(self.of_methods[name].score, self.main[0]) for name in others}
        best = sorted(others, key=lambda name: -np.nan_to_num(means[name]))[: _FEW - 1]
        return [*(name for name in others if name in best), self.run.focus]

    def _left_out(self) -> str:
        shown = len(self._few())
        if shown == len(self.of_methods):
            return ""
        return f"Shown are {self.run.focus} and the {shown - 1} best others; all are in the tables."


def occlusion_curve(table: CompletionTable, values: NDArray[np.float64]) -> list[float]:
    """Means in percent of ``values`` [N] (of the table's instances) over the tenths of the hidden share.

    A tenth is low < share <= high, the first one takes 0, too; NaN where fewer than 5 instances have a value.
    """
    places = np.clip(np.ceil(table.hidden_share * 10).astype(int) - 1, 0, 9)
    tenths = [values[(places == place) & ~np.isnan(values)] for place in range(10)]
    return [100 * float(own.mean()) if len(own) >= _LEAST else nan for own in tenths]


def title_of(metric: Metric) -> str:
    """The metric's heading with its unit."""
    return f"{metric.title}, %" if metric.unit == "share" else metric.title
