"""How far a method is ahead of the best of others: per category, and in the mean, with intervals over paired instances.

Two methods answer for the same instances, so the interval is that of the mean difference, which is narrower than the
intervals of the two means: what makes an instance hard makes it hard for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shape3d_amodal.benchmarking.config import MarginConfig
from shape3d_amodal.evaluation.bootstrap import interval, stratified_means
from shape3d_amodal.evaluation.interface import Interval, ScoreTable
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import Table

_SAMPLES = 1000


@dataclass(frozen=True)
class Margin:
    """One row: a category, or a mean over categories.

    Attributes:
        label: what is compared.
        other: the best of the others in it.
        own, best: the two numbers, in percent.
        interval: 95 % bootstrap interval of their difference, over instances, in points.
    """

    label: str
    other: str
    own: float
    best: float
    interval: Interval

    @property
    def points(self) -> float:
        return self.own - self.best


def margins(
    tables: Mapping[str, ScoreTable], config: MarginConfig, metric: Metric, without: tuple[str, ...] = ()
) -> list[Margin]:
    """The categories in their order, then the mean, then that without some categories.

    In each of them the method is compared with that of the others which is the best there. The metric is a share, the
    higher the better.
    """
    rows = []
    names = tables[config.of].names
    scores = {name: tables[name].by_category() for name in (config.of, *config.over)}
    for key, category in names.items():
        values = {name: own[category][metric.name] for name, own in scores.items() if category in own}
        rows.append(_row(category, values, tables, config, metric, [key]))
    means = [("mean", tables)]
    if without:
        means.append(
            (f"mean without {', '.join(without)}", {name: one.without(*without) for name, one in tables.items()})
        )
    for label, own in means:
        values = {name: own[name].score[metric.name] for name in (config.of, *config.over)}
        rows.append(_row(label, values, tables, config, metric, list(own[config.of].names)))
    return [row for row in rows if row is not None]


def margin_table(rows: list[Margin], config: MarginConfig, metric: Metric) -> Table:
    """``rows``, at least one of them a category, as a table whose title says where the margin is least."""
    categories = [row for row in rows if not row.label.startswith("mean")]
    least = min(categories, key=lambda row: row.points)
    others = config.over[0] if len(config.over) == 1 else f"the best of {', '.join(config.over)}"
    title = f"{metric.title}, {config.of} over {others}, points; least in {least.label}, {least.points:+.1f}"
    cells = tuple(
        (f"{row.label} ({row.other})", (row.own, row.best, row.points, row.interval.low, row.interval.high))
        for row in rows
    )
    columns = (config.of, "best other", "margin", "low", "high")
    summary = tuple(f"{row.label} ({row.other})" for row in rows if row.label.startswith("mean"))
    return Table(
        title=title, corner="category (best other)", columns=columns, rows=cells, compare=None, summary=summary
    )


def _row(
    label: str,
    values: Mapping[str, float],
    tables: Mapping[str, ScoreTable],
    config: MarginConfig,
    metric: Metric,
    categories: list[int],
) -> Margin | None:
    """The row of some categories, whose numbers by method are ``values``; None where one of the two is undefined."""
    others = {name: value for name, value in values.items() if name in config.over and not np.isnan(value)}
    own = values.get(config.of, float("nan"))
    if np.isnan(own) or not others:
        return None
    best = max(others, key=lambda name: others[name])
    first, second = tables[config.of].instances(metric.name), tables[best].instances(metric.name)
    low = high = float("nan")
    if first is not None and second is not None:
        chosen = np.isin(first[1], categories)
        apart = stratified_means((first[0] - second[0])[chosen], first[1][chosen], _SAMPLES, 0)
        defined = [means for means in apart.values() if not np.isnan(means).any()]
        found = interval(np.mean(defined, axis=0) if defined else np.zeros(0))
        low, high = 100 * found.low, 100 * found.high
    return Margin(label, best, 100 * own, 100 * others[best], Interval(low=low, high=high))
