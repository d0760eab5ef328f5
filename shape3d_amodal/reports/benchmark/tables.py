"""Tables and charts of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import nan

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.benchmarking.config import MarginConfig, shares
from shape3d_amodal.benchmarking.margins import Compared, margin_table, margins
from shape3d_amodal.benchmarking.runner import MethodScore, RunScores
from shape3d_amodal.evaluation.given_masks.completion import CompletionTable
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import (
    MISSING,
    Table,
    category_table,
    format_percent,
    level_table,
    metric_value,
    summary_table,
)
from shape3d_amodal.evaluation.tracks import TRACKS
from shape3d_amodal.reports.charts import REST, BarChart, Chart, LineChart, MeanChart, Series

_FEW = 6
"""Methods that a chart by category, or a table with methods as columns, still shows legibly."""
_BINS = np.linspace(0, 1, 11)  # hidden shares between which curves average
_LEAST = 5  # objects that a point of a curve needs


_COSTS = ("ms an object", "parameters, million")
_INTERVALS = "95 % bootstrap intervals over instances"
_LEVELS = "In parentheses the number of objects."


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
        # Methods of all charts have colours of their own; those of the means alone stand beside their names.
        few = [name for name in self._few() if name != self.run.focus]
        self._colors = {name: few.index(name) if name in few else REST for name in self.of_methods}

    def printed(self) -> list[Table]:
        """The tables, most telling first; what has no number is left out."""
        return [self.means(), *self.by_category(), *self.by_level(), *self.by_margin()]

    def means(self) -> Table:
        """One line a method: each different mean, the main ones with their intervals, and what the method costs."""
        main = {metric.name for metric in self.main}
        metrics = [*self.main, *(metric for metric in self.metrics if metric.name not in main)]
        whole = summary_table(self.of_methods, metrics=metrics)
        kept, same = _different(whole)
        chosen = [metrics[i] for i in kept]
        rows, intervals = [], []
        for (name, values), method in zip(whole.rows, self.scores.methods.values(), strict=True):
            rows.append((name, (*(values[i] for i in kept), *_costs(method))))
            ends = [self.interval(name, metric) if metric.name in main else None for metric in chosen]
            intervals.append((*ends, None, None))
        titles = tuple(title_of(metric) for metric in chosen)
        lower = tuple(title for title, metric in zip(titles, chosen, strict=True) if not metric.higher_is_better)
        notes = [f"With the main numbers {_INTERVALS}.", self.single_objects()]
        for one, others in same.items():
            notes.append(f"{' and '.join(others)} {'is' if len(others) == 1 else 'are'} the same as {one} here.")
        return Table(
            title="Means",
            corner="method",
            columns=(*titles, *_COSTS),
            rows=tuple(rows),
            lower=lower,
            unmarked=_COSTS,
            intervals=tuple(intervals),
            note=" ".join(note for note in notes if note),
        ).filled()

    def by_category(self) -> list[Table]:
        """``categories`` for a report."""
        return [replace(table, note=_sentence(table.note)).filled() for table in self.categories() if table.has_numbers]

    def by_level(self) -> list[Table]:
        """The track's metrics by occlusion level."""
        levels = (self.track.metrics[name] for name in self.track.by_level)
        tables = [level_table(self.of_methods, one.name, title=title_of(one, " by occlusion")) for one in levels]
        return [replace(table, note=_LEVELS) for table in tables if table.has_numbers]

    def by_margin(self) -> list[Table]:
        """A table a metric of each margin."""
        tables = (margin_table(rows, one, metric) for one, found in self.compared() for metric, rows in found)
        return [replace(table, note=self.single_objects()).filled() for table in tables]

    def categories(self) -> list[Table]:
        """The main metrics by category, the number of meshes beside its name where it is known."""
        names = {name: f"{name} ({count})" for name, count in self.scores.mesh_counts.items()}
        note = "in parentheses the number of meshes that the objects show" if names else ""
        tables = [
            replace(category_table(self.of_methods, one.name, title=title_of(one), without=self.run.without), note=note)
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

    def charts(self) -> dict[str, list[Chart]]:
        """Charts of the metrics that are shares: means with intervals, by category, and curves over occlusion."""
        shown = [metric for metric in self.main if metric.unit == "share"]
        return {
            "means": [self._mean_chart(metric) for metric in shown],
            "categories": [self._category_chart(metric) for metric in shown],
            "occlusion": self._curves(),
        }

    def interval(self, method: str, metric: Metric, category: str = "mean") -> tuple[float, float]:
        """The 95 % interval in percent, or in the metric's unit; NaN where there is none, or it is of one object."""
        found = self._intervals[method].get(metric.name, {}).get(category)
        objects = self._objects(method, metric.name)
        most = max(objects.values(), default=0) if category == "mean" else objects.get(category, 0)
        factor = 100 if metric.unit == "share" else 1
        return (nan, nan) if found is None or most < 2 else (factor * found.low, factor * found.high)

    def single_objects(self) -> str:
        """What to know of the intervals where categories have one object; empty where all have more."""
        objects = self._objects(self.run.focus, self.main[0].name)
        single = [name for name, count in objects.items() if count == 1]
        if not single:
            return ""
        if len(single) == len(objects):
            return f"{MISSING} stands where each category has one object: an interval of one object says nothing."
        names = ", ".join(single)
        return f"An interval of one object says nothing; {names} cannot widen those of the means."

    def _objects(self, method: str, metric: str) -> dict[str, int]:
        """How many objects have a number, by category."""
        table = self.of_methods[method]
        found = table.instances(metric)
        if found is None:
            return {name: score.counts["instances"] for name, score in table.by_category().items()}
        values, categories = found
        defined = categories[~np.isnan(values)]
        return {name: int((defined == key).sum()) for key, name in table.names.items()}

    def _series(self, method: str, values: list[float], intervals: list[tuple[float, float]] | None = None) -> Series:
        color = None if method == self.run.focus else self._colors[method]
        return Series(name=method, values=tuple(values), intervals=tuple(intervals or ()), color=color)

    def _mean_chart(self, metric: Metric) -> Chart:
        series = tuple(
            self._series(name, [metric_value(table.score, metric)], [self.interval(name, metric)])
            for name, table in self.of_methods.items()
        )
        return MeanChart(title=title_of(metric, ", mean over categories"), series=series, note=_whiskers(series))

    def _category_chart(self, metric: Metric) -> Chart:
        names = tuple(dict.fromkeys(name for table in self.of_methods.values() for name in table.names.values()))
        series = []
        for method in self._few():
            own = self.of_methods[method].by_category()
            values = [metric_value(own.get(name), metric) for name in names]
            series.append(self._series(method, values, [self.interval(method, metric, name) for name in names]))
        title = title_of(metric, " by category")
        note = f"{_whiskers(series)} {self._left_out()}".strip()
        return BarChart(title=title, names=names, series=tuple(series), note=note)

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


def _different(table: Table) -> tuple[list[int], dict[str, list[str]]]:
    """The columns that show numbers that none before them shows, and by their names the others that show the same."""
    kept: dict[tuple[str, ...], int] = {}
    same: dict[str, list[str]] = {}
    for i, name in enumerate(table.columns):
        printed = tuple(format_percent(values[i]) for _, values in table.rows)
        if all(one == MISSING for one in printed):
            continue
        if printed in kept:
            same.setdefault(table.columns[kept[printed]], []).append(name)
        else:
            kept[printed] = i
    return list(kept.values()), same


def _costs(method: MethodScore) -> tuple[float, float]:
    """Milliseconds an object, and millions of parameters."""
    milliseconds = nan if method.seconds is None else 1000 * method.seconds
    return milliseconds, nan if method.parameters is None else method.parameters / 1e6


def _whiskers(series: Sequence[Series]) -> str:
    """What whiskers are, where there are some."""
    return f"Whiskers are {_INTERVALS}." if any(len(one.whiskers()[0]) for one in series) else ""


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}." if words else ""


def title_of(metric: Metric, what: str = "") -> str:
    """The metric's heading with its unit, and between them ``what`` is shown of it."""
    return f"{metric.title}{what}, %" if metric.unit == "share" else f"{metric.title}{what}"
