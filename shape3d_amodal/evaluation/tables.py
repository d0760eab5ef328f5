"""Tables of percentages with the best of each comparison marked, as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from shape3d_amodal.evaluation.completion_table import CompletionTable, Score

MISSING = "–"
"""What stands for an undefined number."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Numbers with names for rows and columns.

    Attributes:
        title: caption.
        corner: what the row names are, e.g. "method".
        columns: column names.
        rows: row names, each with one value a column, in percent; NaN is undefined.
        compare: whether the numbers of a column or those of a row compete for the best mark; None marks nothing.
        summary: names of the rows or columns that sum up the others, for a rule before them.
    """

    title: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    compare: Literal["columns", "rows"] | None = "columns"
    summary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert all(len(values) == len(self.columns) for _, values in self.rows), "one value a column"

    def transposed(self) -> Table:
        """The same numbers with rows and columns exchanged; the same ones stay marked."""
        names = tuple(name for name, _ in self.rows)
        rows = tuple((column, tuple(values[i] for _, values in self.rows)) for i, column in enumerate(self.columns))
        swapped: dict[str, Literal["columns", "rows"]] = {"columns": "rows", "rows": "columns"}
        compare = None if self.compare is None else swapped[self.compare]
        corner = _AXES.get(self.corner, "")
        return replace(self, corner=corner, columns=names, rows=rows, compare=compare)

    def cells(self) -> list[list[str]]:
        """The printed numbers, one decimal, row by row."""
        return [[format_percent(value) for value in values] for _, values in self.rows]

    def best(self) -> list[list[bool]]:
        """Which numbers are the highest of their column (or row) as printed, so that printed ties are marked alike.

        Where fewer than two numbers are defined none is marked.
        """
        if self.compare is None:
            return [[False] * len(self.columns) for _ in self.rows]
        if self.compare == "columns":
            marks = [_highest(list(column)) for column in zip(*(values for _, values in self.rows), strict=True)]
            return [list(row) for row in zip(*marks, strict=True)]
        return [_highest(list(values)) for _, values in self.rows]

    def to_markdown(self) -> str:
        """GitHub's Markdown, the best numbers bold; ends with a newline."""
        head = [self.corner, *self.columns]
        lines = [head, ["---", *["---:"] * len(self.columns)]]
        for (name, _), cells, marks in zip(self.rows, self.cells(), self.best(), strict=True):
            lines.append([name, *(f"**{cell}**" if mark else cell for cell, mark in zip(cells, marks, strict=True))])
        return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)

    def to_csv(self) -> str:
        """Comma-separated values with a header line; undefined numbers are empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([self.corner, *self.columns])
        for (name, _), cells in zip(self.rows, self.cells(), strict=True):
            writer.writerow([name, *("" if cell == MISSING else cell for cell in cells)])
        return text.getvalue()


def category_table(
    methods: Mapping[str, CompletionTable], metric: str = "miou", *, title: str = "", without: tuple[str, ...] = ()
) -> Table:
    """Rows are methods, columns the categories and their mean.

    Args:
        methods: the scores of each method by its name, all of one data set.
        metric: "miou", "occluded_miou" or "boundary_miou".
        title: caption.
        without: adds a column with the mean over all categories but these (each must be present).
    """
    categories = tuple(dict.fromkeys(name for table in methods.values() for name in table.names.values()))
    summary = ("mean", f"mean without {', '.join(without)}") if without else ("mean",)
    rows = []
    for method, table in methods.items():
        own = table.by_category()
        values = [_value(own.get(name), metric) for name in categories]
        values.append(_value(table.score, metric))
        if without:
            values.append(_value(table.without(*without).score, metric))
        rows.append((method, tuple(values)))
    return Table(title=title, corner="method", columns=categories + summary, rows=tuple(rows), summary=summary)


def summary_table(methods: Mapping[str, CompletionTable], *, title: str = "") -> Table:
    """Rows are methods, columns the means over everything: by category, by instance, by pixel."""
    fields = {
        "miou": "mIoU",
        "occluded_miou": "occluded mIoU",
        "instance_miou": "mIoU_full",
        "instance_occluded_miou": "mIoU_occ",
        "micro_miou": "micro mIoU",
    }
    if any(table.boundary for table in methods.values()):
        fields["boundary_miou"] = "boundary mIoU"
    rows = tuple((name, tuple(_value(table.score, field) for field in fields)) for name, table in methods.items())
    return Table(title=title, corner="method", columns=tuple(fields.values()), rows=rows)


def level_table(methods: Mapping[str, CompletionTable], metric: str = "instance_miou", *, title: str = "") -> Table:
    """Rows are methods, columns the occlusion levels (``completion_table.LEVELS``) with their numbers of instances."""
    levels = {name: table.by_level() for name, table in methods.items()}
    first = next(iter(levels.values()))
    rows = tuple((name, tuple(_value(score, metric) for score in own.values())) for name, own in levels.items())
    columns = tuple(f"{level} ({score.instances})" for level, score in first.items())
    return Table(title=title, corner="method", columns=columns, rows=rows)


def format_percent(value: float) -> str:
    """One decimal, or ``MISSING``."""
    return MISSING if math.isnan(value) else f"{value:.1f}"


_AXES = {"method": "category", "category": "method"}


def _value(score: Score | None, metric: str) -> float:
    return float("nan") if score is None else 100 * float(getattr(score, metric))


def _highest(values: list[float]) -> list[bool]:
    rounded = [round(value, 1) for value in values if not math.isnan(value)]
    return [len(rounded) > 1 and not math.isnan(value) and round(value, 1) == max(rounded) for value in values]
