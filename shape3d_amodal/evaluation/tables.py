"""Tables of percentages with the best of each comparison marked, as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from shape3d_amodal.evaluation.interface import Score, ScoreTable
from shape3d_amodal.evaluation.metrics import Metric

MISSING = "–"
"""What stands for an undefined number."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Numbers with names for rows and columns.

    Attributes:
        title: caption.
        corner: what the row names are, e.g. "method".
        columns: column names.
        rows: row names, each with one value a column, in percent or in the metric's unit; NaN is undefined.
        compare: whether the numbers of a column or those of a row compete for the best mark; None marks nothing.
        summary: names of the rows or columns that sum up the others, for a rule before them.
        lower: names of the columns (of the rows, where those compete) of which the lowest number is the best.
    """

    title: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    compare: Literal["columns", "rows"] | None = "columns"
    summary: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert all(len(values) == len(self.columns) for _, values in self.rows), "one value a column"

    @property
    def has_numbers(self) -> bool:
        """Whether at least one number is defined."""
        return any(not math.isnan(value) for _, values in self.rows for value in values)

    def transposed(self) -> Table:
        """The same numbers with rows and columns exchanged; the same ones stay marked."""
        names = tuple(name for name, _ in self.rows)
        rows = tuple((column, tuple(values[i] for _, values in self.rows)) for i, column in enumerate(self.columns))
        swapped: dict[str, Literal["columns", "rows"]] = {"columns": "rows", "rows": "columns"}
        compare = None if self.compare is None else swapped[self.compare]
        corner = _AXES.get(self.corner, "")
        return replace(self, corner=corner, columns=names, rows=rows, compare=compare)

    def renamed(self, names: Mapping[str, str]) -> Table:
        """The same numbers, with those rows and columns that ``names`` has called by what it says."""
        columns, summary, lower = (
            tuple(names.get(name, name) for name in own) for own in (self.columns, self.summary, self.lower)
        )
        rows = tuple((names.get(name, name), values) for name, values in self.rows)
        return replace(self, columns=columns, rows=rows, summary=summary, lower=lower)

    def cells(self) -> list[list[str]]:
        """The printed numbers, one decimal, row by row."""
        return [[format_percent(value) for value in values] for _, values in self.rows]

    def best(self) -> list[list[bool]]:
        """Which numbers are the best of their column (or row) as printed, so that printed ties are marked alike.

        Where fewer than two numbers are defined none is marked.
        """
        if self.compare is None:
            return [[False] * len(self.columns) for _ in self.rows]
        if self.compare == "rows":
            return [_best(values, name in self.lower) for name, values in self.rows]
        columns = zip(*(values for _, values in self.rows), strict=True)
        marks = [_best(column, name in self.lower) for name, column in zip(self.columns, columns, strict=False)]
        return [list(row) for row in zip(*marks, strict=True)]

    def to_markdown(self) -> str:
        """GitHub's Markdown, the best numbers bold; ends with a newline."""
        head = [self.corner, *self.columns]
        lines = [head, ["---", *["---:"] * len(self.columns)]]
        for (name, _), cells, marks in zip(self.rows, self.cells(), self.best(), strict=True):
            lines.append([name, *(f"**{cell}**" if mark else cell for cell, mark in zip(cells, marks, strict=True))])
        return markdown_lines(lines)

    def to_csv(self) -> str:
        """Comma-separated values with a header line; undefined numbers are empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([self.corner, *self.columns])
        for (name, _), cells in zip(self.rows, self.cells(), strict=True):
            writer.writerow([name, *("" if cell == MISSING else cell for cell in cells)])
        return text.getvalue()


def category_table(
    methods: Mapping[str, ScoreTable], metric: str = "miou", *, title: str = "", without: tuple[str, ...] = ()
) -> Table:
    """Rows are methods, columns the categories and their mean.

    Args:
        methods: the scores of each method by its name, all of one data set.
        metric: name of one of the track's metrics.
        title: caption.
        without: adds a column with the mean over all categories but these (each must be present).
    """
    shown = _metrics(methods)[metric]
    categories = tuple(dict.fromkeys(name for table in methods.values() for name in table.names.values()))
    summary = ("mean", f"mean without {', '.join(without)}") if without else ("mean",)
    columns = categories + summary
    rows = []
    for method, table in methods.items():
        own = table.by_category()
        values = [_value(own.get(name), shown) for name in categories]
        values.append(_value(table.score, shown))
        if without:
            values.append(_value(table.without(*without).score, shown))
        rows.append((method, tuple(values)))
    lower = () if shown.higher_is_better else columns
    return Table(title=title, corner="method", columns=columns, rows=tuple(rows), summary=summary, lower=lower)


def summary_table(methods: Mapping[str, ScoreTable], *, title: str = "") -> Table:
    """Rows are methods, columns the track's metrics over everything."""
    shown = _metrics(methods).values()
    rows = tuple((name, tuple(_value(table.score, metric) for metric in shown)) for name, table in methods.items())
    columns = tuple(metric.title for metric in shown)
    lower = tuple(metric.title for metric in shown if not metric.higher_is_better)
    return Table(title=title, corner="method", columns=columns, rows=rows, lower=lower)


def level_table(methods: Mapping[str, ScoreTable], metric: str = "instance_miou", *, title: str = "") -> Table:
    """Rows are methods, columns the track's occlusion levels with their numbers of instances."""
    shown = _metrics(methods)[metric]
    levels = {name: table.by_level() for name, table in methods.items()}
    first = next(iter(levels.values()))
    rows = tuple((name, tuple(_value(score, shown) for score in own.values())) for name, own in levels.items())
    columns = tuple(f"{level} ({score.counts['instances']})" for level, score in first.items())
    lower = () if shown.higher_is_better else columns
    return Table(title=title, corner="method", columns=columns, rows=rows, lower=lower)


def markdown_lines(lines: Iterable[Sequence[str]]) -> str:
    """The lines of a table of GitHub's Markdown, the second of which says how columns stand; ends with a newline."""
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def format_percent(value: float) -> str:
    """One decimal, or ``MISSING``."""
    return MISSING if math.isnan(value) else f"{value:.1f}"


_AXES = {"method": "category", "category": "method"}


def _metrics(methods: Mapping[str, ScoreTable]) -> dict[str, Metric]:
    return {metric.name: metric for table in methods.values() for metric in table.metrics}


def _value(score: Score | None, metric: Metric) -> float:
    value = float("nan") if score is None else score.values.get(metric.name, float("nan"))
    return 100 * value if metric.unit == "share" else value


def _best(values: Sequence[float], lower: bool) -> list[bool]:
    rounded = [round(value, 1) for value in values if not math.isnan(value)]
    if len(rounded) < 2:
        return [False] * len(values)
    best = min(rounded) if lower else max(rounded)
    return [not math.isnan(value) and round(value, 1) == best for value in values]
