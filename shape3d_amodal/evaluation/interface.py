"""What every track has in common: an evaluator that reads results, and a table of scores that reports show.

    evaluator = InstanceEvaluator(dataset)        # or of any other track (``tracks.TRACKS``)
    evaluator.process(results_of_this_worker)
    evaluator.merge(records_of_another_worker)    # ``evaluator.records()`` of an evaluator of the same data set
    table = evaluator.evaluate()
    table.metrics[0].name                         # the headline
    table.score["miou"], table.by_category()["chair"]["miou"], table.by_level()["heavy"]["miou"]
    table.intervals()["miou"]["mean"].low

A track's numbers are the names of its ``Metric``; they are in 0..1 unless the metric has a unit, and NaN where
undefined. What workers hand on are rows, made of one image or instance alone and put in a fixed order, so any number of
workers gives the identical table.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.evaluation.metrics import Metric


@dataclass(frozen=True, kw_only=True)
class Score:
    """The numbers of a set of instances.

    Attributes:
        counts: how many instances are scored ("instances"), how many of them have no prediction ("missing"), and what
            else a track counts.
        values: by the name of a metric of the track; NaN where undefined.
    """

    counts: Mapping[str, int]
    values: Mapping[str, float]

    def __getitem__(self, metric: str) -> float:
        return self.values[metric]

    def to_dict(self) -> dict[str, float]:
        return {**self.counts, **self.values}


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval of one metric, in the metric's unit."""

    low: float
    high: float


class ScoreTable(ABC):
    """The scores of one method on one data set, in one track.

    Attributes:
        protocol: under which conditions numbers may share a table.
        metrics: what the scores hold, the headline first.
        names: names by id of the categories that are scored, in the data set's order.
    """

    protocol: str
    metrics: tuple[Metric, ...]
    names: Mapping[int, str]

    @property
    @abstractmethod
    def score(self) -> Score:
        """The numbers over everything."""

    @abstractmethod
    def by_category(self) -> dict[str, Score]:
        """The numbers of every scored category, in the data set's order."""

    @abstractmethod
    def by_level(self) -> dict[str, Score]:
        """The numbers by occlusion level ("none", "partial", "heavy"), of those metrics that have them; or nothing."""

    def without(self, *categories: str) -> ScoreTable:
        """The table without the named categories.

        Raises:
            UsageError: no scored instance has that category, or none is left.
        """
        known = ", ".join(self.names.values())
        for name in categories:
            if name not in self.names.values():
                raise UsageError(f"category {name!r} is not scored; choose from {known}")
        dropped = [key for key, name in self.names.items() if name in categories]
        if len(dropped) == len(self.names):
            raise UsageError(f"without: expected some of the categories, got all: {known}; leave one")
        return self._without(dropped)

    @abstractmethod
    def _without(self, categories: list[int]) -> ScoreTable:
        """The table without the categories of these ids, of which others are left."""

    @abstractmethod
    def intervals(self, *, samples: int = 1000, seed: int = 0) -> dict[str, dict[str, Interval]]:
        """95 % bootstrap intervals by metric, then by category name, and "mean" for the number over everything.

        Only the track's main metrics have them.
        """

    def levels(self) -> dict[str, str]:
        """What the occlusion levels of ``by_level`` mean."""
        return {}

    def instances(self, metric: str) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:  # noqa: ARG002
        """A metric of every scored instance [N], NaN where undefined, and the instances' category ids [N].

        The order is the data set's, so that the instances of two methods can be paired. None where a metric has no
        numbers of single instances whose means it is.
        """
        return None

    def ids(self) -> NDArray[np.int64] | None:
        """The annotation ids [N] of the instances that ``instances`` tells of; None where they are not known."""
        return None

    def to_dict(self, *, samples: int = 1000, seed: int = 0) -> dict[str, Any]:
        """Everything as JSON values, with each metric's formula and protocol; undefined numbers are None."""
        rows = self.intervals(samples=samples, seed=seed)
        content = {
            "protocol": self.protocol,
            "metrics": [asdict(metric) for metric in self.metrics],
            "overall": self.score.to_dict(),
            "by_category": {name: score.to_dict() for name, score in self.by_category().items()},
            "by_level": {name: score.to_dict() for name, score in self.by_level().items()},
            "levels": self.levels(),
            "intervals": {
                "level": 0.95,
                "samples": samples,
                "seed": seed,
                **{metric: {name: asdict(row) for name, row in own.items()} for metric, own in rows.items()},
            },
        }
        plain: dict[str, Any] = _without_nan(content)
        return plain


def scored_names(names: Mapping[int, str], categories: Iterable[int]) -> dict[int, str]:
    """The names by id of those categories that have rows, in the data set's order.

    Raises:
        DataError: two of one name, which no table could tell apart.
    """
    present = set(categories)
    scored = {key: name for key, name in names.items() if key in present}
    ids: dict[str, int] = {}
    for key, name in scored.items():
        if name in ids:
            problem = f"two are named {name!r} (ids {ids[name]} and {key}); give each a name of its own"
            raise DataError(problem, field="categories")
        ids[name] = key
    return scored


class Evaluator(ABC):
    """Scores results of one track against one data set (``reset``, ``process``, ``evaluate``, as detectron2's)."""

    @abstractmethod
    def reset(self) -> None:
        """Forget all results."""

    @abstractmethod
    def process(
        self,
        results: Iterable[AmodalResult],
        *,
        file: str | Path | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        """Take in ``results``.

        Args:
            file: where they come from, for messages.
            numbers: their places in that file, where they are not 0, 1, 2 ...

        Raises:
            DataError: a result that does not fit the data set, or that came before.
        """

    @abstractmethod
    def records(self) -> NDArray[Any]:
        """What is known of the results so far, row by row: what a worker hands on."""

    @abstractmethod
    def merge(self, records: NDArray[Any]) -> None:
        """Add the ``records()`` of another worker's evaluator of the same data set.

        Raises:
            DataError: rows of another data set, or that came before.
        """

    @abstractmethod
    def evaluate(self) -> ScoreTable:
        """The table over the whole data set, whatever has results and whatever has none.

        Raises:
            DataError: the data set has nothing that can be scored in this track, or two categories of one name.
        """


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
