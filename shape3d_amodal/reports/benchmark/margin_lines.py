"""Margins in Markdown: one short table each, a line a metric, and all categories where they are asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping

from shape3d_amodal.benchmarking.config import MarginConfig
from shape3d_amodal.benchmarking.margins import Compared, Margin, least, opponents
from shape3d_amodal.evaluation.tables import MISSING, markdown_table


def summary(config: MarginConfig, compared: Compared) -> str:
    """The means and the least category of each metric."""
    means = list(dict.fromkeys(row.label for _, rows in compared for row in rows if row.mean))
    lines = []
    for metric, rows in compared:
        known = {row.label: _ahead(row, config) for row in rows}
        lowest = least(rows)
        last = MISSING if lowest is None else f"{lowest.label} {_ahead(lowest, config)}"
        lines.append([metric.title, *(known.get(label, MISSING) for label in means), last])
    table = markdown_table(["points", *means, "least category"], lines)
    return f"**{config.of}** over {opponents(config.over)}\n\n{table}"


def by_category(config: MarginConfig, compared: Compared, meshes: Mapping[str, int]) -> str:
    """Every category, folded away; ``meshes`` has the number of meshes of each category where that is known."""
    categories = list(dict.fromkeys(row.label for _, rows in compared for row in rows if not row.mean))
    known = [{row.label: _ahead(row, config) for row in rows} for _, rows in compared]
    lines = [
        [f"{name} ({meshes[name]})" if name in meshes else name, *(own.get(name, MISSING) for own in known)]
        for name in categories
    ]
    table = markdown_table(["category, points", *(metric.title for metric, _ in compared)], lines)
    return f"<details><summary>By category</summary>\n\n{table}\n</details>\n"


def caption(meshes: Mapping[str, int]) -> str:
    """What the intervals of margins are, where each category has so many meshes, or where that is not known."""
    if not meshes:
        return (
            "In parentheses 95 % bootstrap intervals of the difference, over objects drawn within each category, the "
            "same ones for both sides."
        )
    single = [name for name, count in meshes.items() if count == 1]
    text = (
        "In parentheses 95 % bootstrap intervals of the difference, over meshes drawn within each category, with all "
        "views of a mesh and the same ones for both sides."
    )
    if single:
        text += (
            f" Of a category with a single mesh ({', '.join(single)}) views are drawn: its interval tells nothing of "
            "other meshes."
        )
    return text


def points(value: float) -> str:
    """A difference with its sign, which 0 has, too."""
    return f"{round(value, 1) + 0.0:+.1f}"


def with_interval(value: str, row: Margin) -> str:
    """A number with the interval of ``row`` behind it, where that is defined."""
    low, high = row.interval.low, row.interval.high
    return value if math.isnan(low) else f"{value} ({round(low, 1) + 0.0:.1f} to {round(high, 1) + 0.0:.1f})"


def _ahead(row: Margin, config: MarginConfig) -> str:
    """The margin, and the best other where there are several."""
    shown = with_interval(points(row.points), row)
    return shown if len(config.over) == 1 else f"{shown}, over {row.other}"
