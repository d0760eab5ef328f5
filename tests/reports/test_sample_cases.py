"""Images of several plausible masks."""

from __future__ import annotations

import numpy as np
import pytest

from shape3d_amodal.drawing.colors import BLUE
from shape3d_amodal.reports.cases import draw_share, sample_case


def square(x: int, width: int) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[10:30, x : x + width] = True
    return mask


def test_a_panel_a_sample_with_its_iou_and_the_best_as_score() -> None:
    image = np.full((40, 60, 3), 200, np.uint8)
    samples = [square(10, 20), square(10, 40), square(10, 10)]
    case = sample_case("chair", image, visible=square(10, 10), samples=samples, truth=square(10, 20), shown=2)
    labels = [panel.label for panel in case.panels]
    assert labels == ["image", "visible mask", "sample 1", "sample 2", "share of all", "ground truth"]
    assert [panel.value for panel in case.panels] == ["", "", "100.0", "50.0", "", ""]
    assert case.score == 1
    assert case.caption == "3 samples · best IoU 100.0 · mean 66.7"
    assert len({panel.image.shape for panel in case.panels}) == 1
    assert len(sample_case("", image, visible=square(10, 10), samples=samples, truth=square(10, 20)).panels) == 7


def test_the_more_masks_cover_a_pixel_the_more_orange_it_is() -> None:
    image = np.full((40, 60, 3), 255, np.uint8)
    share = np.zeros((40, 60))
    share[:, 20:30], share[:, 30:40] = 0.25, 0.75
    drawn = draw_share(image, square(5, 10), share).astype(int)
    assert drawn[20, 10].tolist() == pytest.approx([(255 + c) / 2 for c in BLUE], abs=1)
    assert (drawn[20, 55] == 255).all()
    assert drawn[20, 25, 2] == pytest.approx(255 * (1 - 0.9 * 0.25), abs=1)  # orange has no blue in it
    assert drawn[20, 35, 2] == pytest.approx(255 * (1 - 0.9 * 0.75), abs=1)
    assert (drawn[20, 30] == 255).all()  # the line around what half of them cover
