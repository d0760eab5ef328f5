"""How far a method is ahead of the best of others: per category, and in the mean, with intervals over paired instances.

Two methods answer for the same instances, so the interval is that of the mean difference, which is narrower than the
intervals of the two means: what makes an instance hard makes it hard for both. Where it is known which mesh an instance
is a view of, meshes are drawn and not views, for twenty views of one chair do not say how other chairs would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.benchmarking.config import MarginConfig
from shape3d_amodal.evaluation.bootstrap import interval, stratified_means
from shape3d_amodal.evaluation.interface import Interval, ScoreTable
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import Table

_SAMPLES = 1000


@dataclass(frozen=True)
class Margin:
    """One category, or a mean over categories.

    Attributes:
        label: what is compared.
        other: the best of the others in it; nothing where there are none.
        own, best: the two numbers, in percent; 0 is the best of none.
        interval: 95 % bootstrap interval of their difference, in points.
        mean: whether it is a mean over categories.
    """

    label: str
    other: str
    own: float
    best: float
    interval: Interval
    mean: bool = False

    @property
    def points(self) -> float:
        return self.own - self.best


Compared = list[tuple[Metric, list[Margin]]]
"""A method beside others, metric by metric."""


def margins(
    tables: Mapping[str, ScoreTable],
    of: str,
    over: tuple[str, ...],
    metric: Metric,
    *,
    without: tuple[str, ...] = (),
    meshes: Mapping[int, str] | None = None,
) -> list[Margin]:
    """The categories in their order, then the mean, then that without some categories.

    In each of them the method is compared with that of the others which is the best there. The metric is a share, the
    higher the better. What is undefined is left out.

    Args:
        tables: the scores by the name of the method.
        of: the method.
        over: the others; none gives the method's own numbers.
        metric: what is compared.
        without: categories that a second mean leaves out; none makes no second mean.
        meshes: the mesh of each instance by its annotation id; without it instances are drawn.
    """
    compared = _Comparison(tables, of, over, metric, _clusters(tables[of], meshes or {}))
    scores = {name: tables[name].by_category() for name in (of, *over)}
    rows = []
    for key, category in tables[of].names.items():
        values = {name: own[category][metric.name] for name, own in scores.items() if category in own}
        rows.append(compared.row(category, values, [key]))
    means = {"mean": tables}
    if without:
        means[f"mean without {', '.join(without)}"] = {name: tables[name].without(*without) for name in (of, *over)}
    for label, left in means.items():
        values = {name: left[name].score[metric.name] for name in (of, *over)}
        rows.append(compared.row(label, values, list(left[of].names), mean=True))
    return [row for row in rows if row is not None]


def least(rows: list[Margin]) -> Margin | None:
    """The category in which the margin is least."""
    return min((row for row in rows if not row.mean), key=lambda row: row.points, default=None)


def opponents(over: tuple[str, ...]) -> str:
    """What a method is compared with, in words."""
    return over[0] if len(over) == 1 else f"the best of {'; '.join(over)}"


def margin_table(rows: list[Margin], config: MarginConfig, metric: Metric) -> Table:
    """``rows``, at least one of them a category, as a table whose title says where the margin is least."""
    lowest = least(rows)
    assert lowest is not None, "a category"
    title = f"{metric.title}, {config.of} over {opponents(config.over)}, points"
    title += f"; least in {lowest.label}, {lowest.points:+.1f}"
    single = len(config.over) == 1
    names = [row.label if single else f"{row.label} ({row.other})" for row in rows]
    cells = tuple(
        (name, (row.own, row.best, row.points, row.interval.low, row.interval.high))
        for name, row in zip(names, rows, strict=True)
    )
    return Table(
        title=title,
        corner="category" if single else "category (best other)",
        columns=(config.of, config.over[0] if single else "best other", "margin", "low", "high"),
        rows=cells,
        compare=None,
        summary=tuple(name for name, row in zip(names, rows, strict=True) if row.mean),
    )


def _clusters(table: ScoreTable, meshes: Mapping[int, str]) -> NDArray[np.int64] | None:
    """A number for the mesh of every instance [N]; None where one of them is not known."""
    ids = table.ids()
    if ids is None or not all(key in meshes for key in ids.tolist()):
        return None
    return np.unique([meshes[key] for key in ids.tolist()], return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class _Comparison:
    """What all rows have in common."""

    tables: Mapping[str, ScoreTable]
    of: str
    over: tuple[str, ...]
    metric: Metric
    clusters: NDArray[np.int64] | None

    def row(
        self, label: str, values: Mapping[str, float], categories: list[int], *, mean: bool = False
    ) -> Margin | None:
        """The row of some categories, whose numbers by method are ``values``; None where a side has no number."""
        own = values.get(self.of, float("nan"))
        others = {name: values[name] for name in self.over if not np.isnan(values.get(name, float("nan")))}
        if np.isnan(own) or (self.over and not others):
            return None
        best = max(others, key=lambda name: others[name], default="")
        return Margin(label, best, 100 * own, 100 * others.get(best, 0.0), self._interval(best, categories), mean)

    def _interval(self, other: str, categories: list[int]) -> Interval:
        """That of how far the method is ahead of ``other``, or of its own number where there is none, in points."""
        first = self.tables[self.of].instances(self.metric.name)
        second = self.tables[other].instances(self.metric.name) if other else None
        if first is None or (other and second is None):
            return Interval(low=float("nan"), high=float("nan"))
        values = first[0] if second is None else first[0] - second[0]
        chosen = np.isin(first[1], categories)
        drawn = None if self.clusters is None else self.clusters[chosen]
        means = stratified_means(values[chosen], first[1][chosen], _SAMPLES, 0, drawn).values()
        defined = [own for own in means if not np.isnan(own).any()]
        found = interval(np.mean(defined, axis=0) if defined else np.zeros(0))
        return Interval(low=100 * found.low, high=100 * found.high)
