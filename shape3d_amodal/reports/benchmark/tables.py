"""Tables of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import nan

import numpy as np

from shape3d_amodal.benchmarking.config import MarginConfig, shares
from shape3d_amodal.benchmarking.margins import Compared, margin_table, margins
from shape3d_amodal.benchmarking.runner import MethodScore, RunScores
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

FEW = 6
"""Methods that a chart by category, or a table with methods as columns, still shows legibly."""
_COSTS = ("ms an object", "parameters, million")
INTERVALS = "95 % bootstrap intervals over instances"
_MEANS = 6  # that stand beside each other without scrolling
_LEVELS = "In parentheses the number of objects."


class RunTables:
    """The tables of a run.

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
        """The tables, most telling first; what has no number is left out."""
        return [self.means(), *self.by_category(), *self.by_level(), *self.by_margin(), *self.other_means()]

    def means(self) -> Table:
        """A line a method: the main means with their intervals, the others where they are few, and its costs."""
        shown, same = self._different()
        if len(shown) > _MEANS:
            shown = [metric for metric in shown if metric in self.main]
        main = {metric.name for metric in self.main}
        table = summary_table(self.of_methods, title="Means", metrics=shown)
        rows, intervals = [], []
        for (name, values), method in zip(table.rows, self.scores.methods.values(), strict=True):
            rows.append((name, (*values, *_costs(method))))
            ends = [self.interval(name, metric) if metric.name in main else None for metric in shown]
            intervals.append((*ends, None, None))
        notes = [f"With the main numbers {INTERVALS}.", self.single_objects()]
        for one, others in same.items():
            notes.append(f"{' and '.join(others)} {'is' if len(others) == 1 else 'are'} the same as {one} here.")
        return replace(
            _with_units(table, shown),
            columns=(*map(title_of, shown), *_COSTS),
            rows=tuple(rows),
            unmarked=_COSTS,
            intervals=tuple(intervals),
            note=" ".join(note for note in notes if note),
        ).filled()

    def other_means(self) -> list[Table]:
        """The means that ``means`` has no room for."""
        shown, _ = self._different()
        others = [metric for metric in shown if metric not in self.main] if len(shown) > _MEANS else []
        table = summary_table(self.of_methods, title="Other means", metrics=others)
        return [_with_units(table, others)] if others else []

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
        few = len(self.of_methods) <= FEW
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
        if max(objects.values()) == 1:
            return f"{MISSING} stands where no category has more than one object: of one, an interval says nothing."
        names = ", ".join(single)
        return f"An interval of one object says nothing; {names} cannot widen those of the means."

    def _different(self) -> tuple[list[Metric], dict[str, list[str]]]:
        """The metrics whose numbers differ, main ones first, and by the title of one the others that show the same."""
        metrics = [*self.main, *(metric for metric in self.metrics if metric not in self.main)]
        kept: dict[tuple[str, ...], Metric] = {}
        same: dict[str, list[str]] = {}
        for metric in metrics:
            printed = tuple(format_percent(metric_value(own.score, metric)) for own in self.of_methods.values())
            if set(printed) == {MISSING}:
                continue
            if printed in kept:
                same.setdefault(kept[printed].title, []).append(metric.title)
            else:
                kept[printed] = metric
        return list(kept.values()), same

    def _objects(self, method: str, metric: str) -> dict[str, int]:
        """How many objects have a number, by category."""
        table = self.of_methods[method]
        found = table.instances(metric)
        if found is None:
            return {name: score.counts["instances"] for name, score in table.by_category().items()}
        values, categories = found
        defined = categories[~np.isnan(values)]
        return {name: int((defined == key).sum()) for key, name in table.names.items()}


def _with_units(table: Table, metrics: Sequence[Metric]) -> Table:
    """``table`` with the units of its columns, which are ``metrics``."""
    return table.renamed({metric.title: title_of(metric) for metric in metrics})


def _costs(method: MethodScore) -> tuple[float, float]:
    """Milliseconds an object, and millions of parameters."""
    milliseconds = nan if method.seconds is None else 1000 * method.seconds
    return milliseconds, nan if method.parameters is None else method.parameters / 1e6


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}." if words else ""


def title_of(metric: Metric, what: str = "") -> str:
    """The metric's heading with its unit, and between them ``what`` is shown of it."""
    return f"{metric.title}{what}, %" if metric.unit == "share" else f"{metric.title}{what}"
