"""Tables of percentages with the best of each comparison marked, and how they look in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from shape3d_amodal import errors
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
        unmarked: names of the columns (of the rows, where those compete) in which none is the best.
        intervals: low and high end of the interval of each number, NaN where it is undefined, None where there is none;
            empty for a table without intervals.
        note: what a reader should know, may be empty.
    """

    title: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    compare: Literal["columns", "rows"] | None = "columns"
    summary: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()
    unmarked: tuple[str, ...] = ()
    intervals: tuple[tuple[tuple[float, float] | None, ...], ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        assert all(len(values) == len(self.columns) for _, values in self.rows), "one value a column"

    @property
    def has_numbers(self) -> bool:
        """Whether at least one number is defined."""
        return any(not math.isnan(value) for _, values in self.rows for value in values)

    def filled(self) -> Table:
        """The table without the columns in which no number is defined."""
        kept = [i for i in range(len(self.columns)) if any(not math.isnan(values[i]) for _, values in self.rows)]
        return replace(
            self,
            columns=tuple(self.columns[i] for i in kept),
            rows=tuple((name, tuple(values[i] for i in kept)) for name, values in self.rows),
            intervals=tuple(tuple(ends[i] for i in kept) for ends in self.intervals),
        )

    def transposed(self) -> Table:
        """The same numbers with rows and columns exchanged; the same ones stay marked."""
        rows = tuple((column, tuple(values[i] for _, values in self.rows)) for i, column in enumerate(self.columns))
        return replace(
            self,
            corner={"method": "category", "category": "method"}.get(self.corner, ""),
            columns=tuple(name for name, _ in self.rows),
            rows=rows,
            intervals=tuple(zip(*self.intervals, strict=True)),
            compare=self.compare and ("rows" if self.compare == "columns" else "columns"),
        )

    def renamed(self, names: Mapping[str, str]) -> Table:
        """The same numbers, with those rows and columns that ``names`` has called by what it says."""
        columns, summary, lower = (
            tuple(names.get(name, name) for name in own) for own in (self.columns, self.summary, self.lower)
        )
        rows = tuple((names.get(name, name), values) for name, values in self.rows)
        return replace(self, columns=columns, rows=rows, summary=summary, lower=lower)

    def best(self) -> list[list[bool]]:
        """Which numbers are the best of their column (or row) as printed, so that printed ties are marked alike.

        Where fewer than two numbers are defined none is marked.
        """
        if self.compare == "columns":
            return [list(row) for row in zip(*self.transposed().best(), strict=True)]
        return [
            _best(values, name in self.lower) if self.compare and name not in self.unmarked else [False] * len(values)
            for name, values in self.rows
        ]

    def lines(self) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
        """The name of each row and its printed numbers (one decimal), each with whether it is marked as the best."""
        for (name, values), marks in zip(self.rows, self.best(), strict=True):
            yield name, [(format_percent(value), mark) for value, mark in zip(values, marks, strict=True)]

    def printed_intervals(self) -> list[list[str]]:
        """The intervals row by row, as "91.0 to 95.2": ``MISSING`` where undefined, empty where there is none."""
        if not self.intervals:
            return [[""] * len(self.columns) for _ in self.rows]
        return [["" if ends is None else format_interval(*ends) for ends in row] for row in self.intervals]

    def to_markdown(self) -> str:
        """GitHub's Markdown, the best numbers bold, intervals in parentheses; ends with a newline."""
        lines = []
        for (name, cells), ends in zip(self.lines(), self.printed_intervals(), strict=True):
            numbers = [f"**{cell}**" if best else cell for cell, best in cells]
            shown = [f"{number} ({end})" if end else number for number, end in zip(numbers, ends, strict=True)]
            lines.append([name, *shown])
        return markdown_table([self.corner, *self.columns], lines, ["---", *["---:"] * len(self.columns)])


def category_table(
    methods: Mapping[str, ScoreTable], metric: str = "miou", *, title: str = "", without: tuple[str, ...] = ()
) -> Table:
    """Rows are methods, columns the categories and their mean.

    Args:
        methods: the scores of each method by its name, all of one data set.
        without: adds a column with the mean over all categories but these (each must be present).
    """
    shown, means = _metrics(methods)[metric], means_of(methods, without)
    categories = tuple(dict.fromkeys(name for table in methods.values() for name in table.names.values()))
    columns = (*categories, *means)
    rows = []
    for method, table in methods.items():
        own = table.by_category()
        scores = [*(own.get(name) for name in categories), *(tables[method].score for tables in means.values())]
        rows.append((method, tuple(metric_value(score, shown) for score in scores)))
    lower = () if shown.higher_is_better else columns
    return Table(title=title, corner="method", columns=columns, rows=tuple(rows), summary=tuple(means), lower=lower)


def means_of(methods: Mapping[str, ScoreTable], without: tuple[str, ...]) -> dict[str, Mapping[str, ScoreTable]]:
    """The tables that the means are over, by the name of the mean: all categories, and all but those ``without``."""
    if not without:
        return {"mean": methods}
    fewer = {name: table.without(*without) for name, table in methods.items()}
    return {"mean": methods, f"mean without {', '.join(without)}": fewer}


def summary_table(
    methods: Mapping[str, ScoreTable], *, title: str = "", metrics: Sequence[Metric] | None = None
) -> Table:
    """Rows are methods, columns ``metrics`` (by default all of the track) over everything."""
    shown = _metrics(methods).values() if metrics is None else metrics
    rows = tuple((name, tuple(metric_value(own.score, one) for one in shown)) for name, own in methods.items())
    columns = tuple(metric.title for metric in shown)
    lower = tuple(metric.title for metric in shown if not metric.higher_is_better)
    return Table(title=title, corner="method", columns=columns, rows=rows, lower=lower)


def level_table(methods: Mapping[str, ScoreTable], metric: str = "instance_miou", *, title: str = "") -> Table:
    """Rows are methods, columns the track's occlusion levels that have numbers, with their numbers of instances."""
    shown = _metrics(methods)[metric]
    levels = {name: table.by_level() for name, table in methods.items()}
    first = next(iter(levels.values()))
    rows = tuple((name, tuple(metric_value(score, shown) for score in own.values())) for name, own in levels.items())
    columns = tuple(f"{level} ({score.counts['instances']})" for level, score in first.items())
    lower = () if shown.higher_is_better else columns
    return Table(title=title, corner="method", columns=columns, rows=rows, lower=lower).filled()


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], align: Sequence[str] | None = None) -> str:
    """A table in GitHub's Markdown; ends with a newline.

    Args:
        head: names of the columns.
        rows: cells as plain text or Markdown; line breaks become spaces.
        align: "---" (left) or "---:" (right) for each column; by default all are left.
    """
    lines = [head, align or ["---"] * len(head), *rows]
    return "".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def format_percent(value: float) -> str:
    """One decimal, or ``MISSING``."""
    return MISSING if math.isnan(value) else f"{value:.1f}"


def format_interval(low: float, high: float) -> str:
    """Both ends with one decimal, or ``MISSING`` where one is undefined."""
    return MISSING if math.isnan(low) or math.isnan(high) else f"{low:.1f} to {high:.1f}"


def counted(number: int, one: str, many: str = "") -> str:
    """As ``errors.counted``, with thousands set apart, as in tables."""
    return errors.counted(number, one, many, digits=",")


def metric_value(score: Score | None, metric: Metric) -> float:
    """A number in percent, or in the metric's unit where it is no share; NaN where it is undefined."""
    value = float("nan") if score is None else score.values.get(metric.name, float("nan"))
    return 100 * value if metric.unit == "share" else value


def _metrics(methods: Mapping[str, ScoreTable]) -> dict[str, Metric]:
    return {metric.name: metric for table in methods.values() for metric in table.metrics}


def _best(values: Sequence[float], lower: bool) -> list[bool]:
    rounded = [round(value, 1) for value in values if not math.isnan(value)]
    if len(rounded) < 2:
        return [False] * len(values)
    best = min(rounded) if lower else max(rounded)
    return [not math.isnan(value) and round(value, 1) == best for value in values]
