"""The definitions of all metrics as Markdown, for docs/metrics.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tracks import TRACKS

Protocol = tuple[str, str, Iterable[Metric]]
"""Heading, protocol tag and metrics of a section."""


def definitions(more: Sequence[Protocol] = ()) -> str:
    """A section a track, then those of ``more``, each with protocol tag and metrics; ends with a newline."""
    sections = [_section(f"Track `{name}`", track.protocol, track.metrics.values()) for name, track in TRACKS.items()]
    return "\n".join([*sections, *(_section(*one) for one in more)])


def _section(heading: str, protocol: str, metrics: Iterable[Metric]) -> str:
    rows = "".join(map(_row, metrics))
    return (
        f"## {heading}\n\nProtocol tag: *{_escaped(protocol)}*\n\n"
        f"| name | title | formula | source |\n|---|---|---|---|\n{rows}"
    )


def _row(metric: Metric) -> str:
    unit = "" if metric.unit == "share" else f" ({metric.unit})"
    best = "" if metric.higher_is_better else "; lower is better"
    cells = (f"{metric.title}{unit}{best}", metric.formula, metric.source)
    return f"| `{metric.name}` | " + " | ".join(map(_escaped, cells)) + " |\n"


def _escaped(text: str) -> str:
    for letter in ("\\", "|", "*", "_", "<"):
        text = text.replace(letter, "\\" + letter)
    return text
