"""Charts of one run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import nan

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.evaluation.given_masks.completion import CompletionTable
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import metric_value
from shape3d_amodal.reports.benchmark.tables import FEW, INTERVALS, RunTables, title_of
from shape3d_amodal.reports.charts import REST, BarChart, Chart, LineChart, MeanChart, Series

_BINS = np.linspace(0, 1, 11)  # hidden shares between which curves average
_LEAST = 5  # objects that a point of a curve needs


class RunCharts:
    """The charts of the run that ``of`` has the tables of."""

    def __init__(self, of: RunTables) -> None:
        self.of = of
        # Methods of all charts have colours of their own; those of the means alone stand beside their names.
        few = [name for name in self._few() if name != of.run.focus]
        self._colors = {name: few.index(name) if name in few else REST for name in of.of_methods}

    def by_topic(self) -> dict[str, list[Chart]]:
        """Charts of the metrics that are shares: means with intervals, by category, and curves over occlusion."""
        shown = [metric for metric in self.of.main if metric.unit == "share"]
        return {
            "means": [self._mean_chart(metric) for metric in shown],
            "categories": [self._category_chart(metric) for metric in shown],
            "occlusion": self._curves(),
        }

    def _series(self, method: str, values: list[float], intervals: list[tuple[float, float]] | None = None) -> Series:
        color = None if method == self.of.run.focus else self._colors[method]
        return Series(name=method, values=tuple(values), intervals=tuple(intervals or ()), color=color)

    def _mean_chart(self, metric: Metric) -> Chart:
        series = tuple(
            self._series(name, [metric_value(table.score, metric)], [self.of.interval(name, metric)])
            for name, table in self.of.of_methods.items()
        )
        return MeanChart(title=title_of(metric, ", mean over categories"), series=series, note=_whiskers(series))

    def _category_chart(self, metric: Metric) -> Chart:
        names = tuple(dict.fromkeys(name for table in self.of.of_methods.values() for name in table.names.values()))
        series = []
        for method in self._few():
            own = self.of.of_methods[method].by_category()
            values = [metric_value(own.get(name), metric) for name in names]
            series.append(self._series(method, values, [self.of.interval(method, metric, name) for name in names]))
        title = title_of(metric, " by category")
        note = f"{_whiskers(series)} {self._left_out()}".strip()
        return BarChart(title=title, names=names, series=tuple(series), note=note)

    def _curves(self) -> list[Chart]:
        """Curves over the tenths of the hidden share where it is known, else over the track's own occlusion levels."""
        tables = {name: self.of.of_methods[name] for name in self._few()}
        completion = {name: table for name, table in tables.items() if isinstance(table, CompletionTable)}
        charts: list[Chart] = []
        if not completion:
            levels = {name: table.by_level() for name, table in tables.items()}
            names = tuple(next(iter(levels.values())))
            for metric in (self.of.track.metrics[name] for name in self.of.track.by_level):
                shown = {name: [metric_value(one, metric) for one in own.values()] for name, own in levels.items()}
                charts.append(self._curve(title_of(metric, " by occlusion"), shown, names, axis="occlusion level"))
            return charts
        ticks = [f"{100 * low:.0f}–{100 * high:.0f}" for low, high in pairwise(_BINS)]
        note = f"Means over the objects of every tenth, where there are {_LEAST} or more."
        for title, field in (("IoU by occlusion, %", "iou"), ("occluded IoU by occlusion, %", "occluded_iou")):
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
        return LineChart(title=title, names=names, series=series, axis=axis, note=note)

    def _few(self) -> list[str]:
        """The focus and the best others, in the order of the table but the focus last."""
        others = [name for name in self.of.of_methods if name != self.of.run.focus]
        means = {name: metric_value(self.of.of_methods[name].score, self.of.main[0]) for name in others}
        best = sorted(others, key=lambda name: -np.nan_to_num(means[name]))[: FEW - 1]
        return [*(name for name in others if name in best), self.of.run.focus]

    def _left_out(self) -> str:
        shown = len(self._few())
        if shown == len(self.of.of_methods):
            return ""
        return f"Shown are {self.of.run.focus} and the {shown - 1} best others; all are in the tables."


def _whiskers(series: Sequence[Series]) -> str:
    """What whiskers are, where there are some."""
    return f"Whiskers are {INTERVALS}." if any(len(one.whiskers()[0]) for one in series) else ""


def occlusion_curve(table: CompletionTable, values: NDArray[np.float64]) -> list[float]:
    """Means in percent of ``values`` [N] (of the table's instances) over the tenths of the hidden share.

    A tenth is low < share <= high, the first one takes 0, too; NaN where fewer than 5 instances have a value.
    """
    places = np.clip(np.ceil(table.hidden_share * 10).astype(int) - 1, 0, 9)
    tenths = [values[(places == place) & ~np.isnan(values)] for place in range(10)]
    return [100 * float(own.mean()) if len(own) >= _LEAST else nan for own in tenths]
