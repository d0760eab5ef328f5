"""Write the definitions of all metrics into docs/metrics.md, between its markers.

python scripts/write_metrics.py
"""

from __future__ import annotations

from pathlib import Path

from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import markdown_table
from shape3d_amodal.evaluation.tracks import TRACKS
from shape3d_amodal.papers.nmr.benchmark import KNOWN_CAMERAS, OBJECT_IOU

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
BEGIN, END = "<!-- definitions:begin -->\n", "<!-- definitions:end -->\n"


def main() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    DOCUMENT.write_text(before + BEGIN + definitions() + END + rest.partition(END)[2], encoding="utf-8")


def definitions() -> str:
    """A section for each protocol, with its tag and its metrics; ends with a newline."""
    sections = [(f"Track `{name}`", track.protocol, track.metrics.values()) for name, track in TRACKS.items()]
    return "\n".join(
        f"## {heading}\n\nProtocol tag: *{_escaped(protocol)}*\n\n"
        + markdown_table(("name", "title", "formula", "source"), map(_row, metrics))
        for heading, protocol, metrics in [*sections, ("Known cameras", KNOWN_CAMERAS, [OBJECT_IOU])]
    )


def _row(metric: Metric) -> list[str]:
    unit = "" if metric.unit == "share" else f" ({metric.unit})"
    best = "" if metric.higher_is_better else "; lower is better"
    cells = (f"{metric.title}{unit}{best}", metric.formula, metric.source)
    return [f"`{metric.name}`", *map(_escaped, cells)]


def _escaped(text: str) -> str:
    return text.translate({ord(letter): f"\\{letter}" for letter in "\\*_<"})


if __name__ == "__main__":
    main()
