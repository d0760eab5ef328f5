"""What was aimed at, what came of it, and whether that is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shape3d_amodal.benchmarking.config import AimConfig
from shape3d_amodal.benchmarking.margins import Margin, least, margins
from shape3d_amodal.benchmarking.runner import RunScores
from shape3d_amodal.errors import UsageError
from shape3d_amodal.evaluation.interface import ScoreTable
from shape3d_amodal.evaluation.tables import MISSING, format_percent, markdown_table
from shape3d_amodal.evaluation.tracks import TRACKS
from shape3d_amodal.reports.benchmark.margin_lines import points, with_interval

_ROUNDING = 1e-9
"""What sums of floats may be off by: 80 % of objects is 80 %."""


@dataclass(frozen=True)
class Outcome:
    """One aim and the number that tells: the mean, or the least category; None where it is undefined."""

    aim: AimConfig
    found: Margin | None

    @property
    def met(self) -> bool:
        return self.found is not None and self.found.points >= self.aim.at_least - _ROUNDING


def outcomes(aims: Sequence[AimConfig], scores: Sequence[RunScores]) -> list[Outcome]:
    """What came of each aim.

    Raises:
        UsageError: an aim is about a category that its run does not have.
    """
    runs = {one.run.title: one for one in scores}
    return [Outcome(aim, _found(aim, runs[aim.run])) for aim in aims]


def checklist(found: Sequence[Outcome]) -> str:
    """The outcomes as Markdown, a line each."""
    lines = []
    for one in found:
        number = points if one.aim.over else format_percent
        lines.append([one.aim.text, number(one.aim.at_least), _measured(one), "met" if one.met else "**missed**"])
    return markdown_table(["aim", "at least", "measured", ""], lines, ["---", "---:", "---", "---"])


def _found(aim: AimConfig, one: RunScores) -> Margin | None:
    tables = {name: _of_categories(one.tables[name], aim) for name in (aim.of, *aim.over)}
    rows = margins(tables, aim.of, aim.over, TRACKS[one.run.track].metrics[aim.metric], meshes=one.meshes)
    return least(rows) if aim.least else next((row for row in rows if row.mean), None)


def _of_categories(table: ScoreTable, aim: AimConfig) -> ScoreTable:
    names = set(table.names.values())
    for name in aim.categories:
        if name not in names:
            raise UsageError(f"aims: {aim.text}: expected one of {', '.join(table.names.values())}, got {name!r}")
    return table.without(*sorted(names - set(aim.categories))) if aim.categories else table


def _measured(one: Outcome) -> str:
    """The number with its interval, and where it was taken: in which category, over which of several others."""
    if one.found is None:
        return MISSING
    shown = with_interval(points(one.found.points) if one.aim.over else format_percent(one.found.own), one.found)
    parts = [shown]
    if len(one.aim.over) > 1:
        parts.append(f"over {one.found.other}")
    if one.aim.least:
        parts.append(f"in {one.found.label}")
    return ", ".join(parts)
