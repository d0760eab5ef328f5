"""The definitions of all metrics as Markdown, for docs/metrics.md."""

from __future__ import annotations

from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tracks import TRACKS


def definitions() -> str:
    """A section a track, with its protocol tag and a table of its metrics; ends with a newline."""
    sections = []
    for name, track in TRACKS.items():
        rows = "".join(map(_row, track.metrics.values()))
        sections.append(
            f"## Track `{name}`\n\nProtocol tag: *{_escaped(track.protocol)}*\n\n"
            f"| name | title | formula | source |\n|---|---|---|---|\n{rows}"
        )
    return "\n".join(sections)


def _row(metric: Metric) -> str:
    unit = "" if metric.unit == "share" else f" ({metric.unit})"
    best = "" if metric.higher_is_better else "; lower is better"
    cells = (f"{metric.title}{unit}{best}", metric.formula, metric.source)
    return f"| `{metric.name}` | " + " | ".join(map(_escaped, cells)) + " |\n"


def _escaped(text: str) -> str:
    for letter in ("\\", "|", "*", "_", "<"):
        text = text.replace(letter, "\\" + letter)
    return text
