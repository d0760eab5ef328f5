"""The statistics as Markdown and as charts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from shape3d_amodal.annotations.statistics import DatasetStatistics
from shape3d_amodal.reports.statistics import draw_statistics, to_markdown

FOUND = DatasetStatistics(
    images=2,
    objects=4,
    by_class={"car": 3, "van": 1},
    hidden=1,
    covered=30,
    pixels=120,
    occlusion=[0.0, 0.25, 1.0, 0.0],
    shapes={"inmodal": [(0.5, 0.25)], "amodal": [(1.0, 0.75), (0.5, 0.25)]},
    max_orders=Counter({2: 1, 10: 3}),
    matches=Counter({0: 1, 1: 3}),
)


def test_markdown() -> None:
    text = to_markdown(FOUND, title="a set")
    for line in (
        "# Statistics of a set",
        "| objects an image | 2.00 |",
        "| pixels inside an amodal mask | 25.0 % |",
        "| objects that are occluded | 50.0 % |",
        "| mean occlusion of those | 62.5 % |",
        "| car | 3 | 75.0 % |",
        "| convexity | 0.500 | 0.750 |",
        "| simplicity | 0.250 | 0.500 |",
        "| 0.2 to 0.3 | 1 | 50.0 % |",
        "| 0.9 to 1.0 | 1 | 50.0 % |",
        "| 2 | 1 | 25.0 % |",
        "| 10 | 3 | 75.0 % |",
    ):
        assert line in text.splitlines()


def test_names_are_neither_formulas_nor_cells() -> None:
    """COCOA's classes are free text."""
    found = replace(FOUND, by_class={"$x_{$": 1, "a|b\nc": 3})
    assert draw_statistics(found, title="$\\frac{$").startswith(b"\x89PNG")
    assert "| a\\|b c | 3 | 75.0 % |" in to_markdown(found, title="a set").splitlines()


@pytest.mark.parametrize("found", [FOUND, DatasetStatistics()])
def test_the_charts_are_drawn(found: DatasetStatistics) -> None:
    pixels = np.asarray(Image.open(BytesIO(draw_statistics(found, title="a set"))).convert("RGB"))
    assert pixels.shape[1] > 1000
    bars = (np.abs(pixels.astype(int) - (0xC2, 0x57, 0x1A)).max(axis=2) < 8).mean()
    assert (bars > 0.01) == (found is FOUND)
    to_markdown(found, title="nothing breaks")
