"""Write the definitions of all metrics into docs/metrics.md, between its markers.

python scripts/write_metrics.py
"""

from __future__ import annotations

from pathlib import Path

from shape3d_amodal.evaluation.definitions import definitions
from shape3d_amodal.papers.nmr.benchmark import KNOWN_CAMERAS, OBJECT_IOU

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
BEGIN, END = "<!-- definitions:begin -->\n", "<!-- definitions:end -->\n"


def main() -> None:
    known_cameras = ("Known cameras", KNOWN_CAMERAS, [OBJECT_IOU])
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    DOCUMENT.write_text(
        before + BEGIN + definitions([known_cameras]) + END + rest.partition(END)[2],
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
