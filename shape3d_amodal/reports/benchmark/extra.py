"""A table that a benchmark shows beside its runs, made by a room of its own (``papers``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import Table


@dataclass(frozen=True)
class ExtraRun:
    """What came out, and how it is shown.

    Attributes:
        key: its name in scores.json.
        title: heading.
        note: protocol and what a reader should know, plain text.
        tables: all tables, for the report.
        page: parts of the results page, Markdown.
        metrics: what is defined at the end of the report.
        scores: JSON values, for scores.json.
    """

    key: str
    title: str
    note: str
    tables: tuple[Table, ...]
    page: tuple[str, ...]
    metrics: tuple[Metric, ...]
    scores: dict[str, Any]
