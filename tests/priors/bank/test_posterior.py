"""What poses say together: chances, mean and agreement by hand, on squares that a pose each draws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from shape3d_amodal.crops.pixels import OUTSIDE, UNKNOWN, VISIBLE, PixelWindow
from shape3d_amodal.meshes.mesh import FilePlace
from shape3d_amodal.priors.bank.finding import Found
from shape3d_amodal.priors.bank.poses import Level, MeshTable, Poses
from shape3d_amodal.priors.bank.posterior import expected_iou, posterior

SQUARE = (
    np.array([[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]], np.float32),
    np.array([[0, 1, 2], [0, 2, 3]]),
)
STATE = np.full((30, 40), OUTSIDE, np.uint8)
STATE[5:15, 5:15], STATE[5:15, 15:30] = VISIBLE, UNKNOWN


def found_with(scores: list[float], widths: list[float]) -> Found:
    """Squares of 10 pixels at (5, 5), drawn out to these widths by the pixels' aspect."""
    rows = np.tile(np.array([1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 5, 5, 1, 5, 5, 1], np.float32), (len(scores), 1))
    rows[:, 15] = np.array(widths) / 10
    state = np.full((40, 40), OUTSIDE, np.uint8)
    state[:30] = STATE
    table = MeshTable.of([SQUARE])
    poses = Poses(np.zeros(len(scores), np.int64), rows, np.array(scores))
    window = PixelWindow(state, 0, 0, (20.0, 20.0))
    return Found(poses, table, table, ("square",), (FilePlace.same(),), Level(window, 2), window)


def test_chances_fall_off_by_what_the_best_pose_leaves_unexplained() -> None:
    """The temperature is half of that: 0.02 of 0.96. What has less than a thousandth of the best chance is left out."""
    found = posterior(found_with([0.96, 0.95, 0.9, 0.6], [10, 15, 20, 25]))
    weight = [math.exp(-gap / 0.02) for gap in (0, 0.01, 0.06)]
    np.testing.assert_allclose(found.chance, np.array(weight) / sum(weight), rtol=1e-5)
    masks = np.stack([found.mask(i) for i in range(3)])
    assert [mask[8].sum() for mask in masks] == [10, 15, 20]
    assert masks.shape == (3, 40, 40), "the window's own pixels, though scores were counted on every second one"
    expected = np.einsum("k,kij->ij", found.chance, masks)
    np.testing.assert_allclose(found.mean, expected, atol=1e-6)


@pytest.mark.parametrize(("best", "temperature"), [(1.0, 0.001), (0.9999, 0.001), (0.5, 0.05), (0.92, 0.04)])
def test_the_temperature_has_bounds(best: float, temperature: float) -> None:
    found = posterior(found_with([best, best - temperature], [10, 15]))
    np.testing.assert_allclose(found.chance, np.array([1, math.exp(-1)]) / (1 + math.exp(-1)), rtol=1e-3)


def test_agreement_is_the_expected_iou_with_the_mean() -> None:
    """Two poses, of which the likelier one is the mean's majority: whole masks of 100 and 150 pixels."""
    found = posterior(found_with([0.96, 0.95], [10, 15]))
    likelier = 1 / (1 + math.exp(-0.5))
    assert found.agreement == pytest.approx(likelier * 1 + (1 - likelier) * 100 / 150, abs=1e-5)
    assert found.seen == pytest.approx(1.0)
    wide = posterior(found_with([0.96, 0.8], [20, 30]))
    assert wide.agreement == pytest.approx(1, abs=1e-3) and wide.seen == pytest.approx(0.5)


def test_what_lies_on_known_background_does_not_count_for_the_whole_mask() -> None:
    """A pose that reaches 10 pixels beyond what may be the object: its whole mask ends there."""
    found = posterior(found_with([0.9], [35]))
    assert found.seen == pytest.approx(100 / 250) and found.agreement == pytest.approx(1)


def test_better_poses_that_agree_promise_more() -> None:
    sure = posterior(found_with([0.99, 0.7], [12, 25]))
    torn = posterior(found_with([0.99, 0.989], [12, 30]))
    assert expected_iou(sure.signs(0.99)) > expected_iou(torn.signs(0.99))
    assert expected_iou(sure.signs(0.99)) > expected_iou(sure.signs(0.6))
    for score in (0.0, 0.5, 1.0):
        assert 0 < expected_iou(sure.signs(score)) < 1


def test_silhouettes_that_reach_beyond_the_window_are_drawn_there() -> None:
    """A square drawn out to 60 pixels from column 5 on: the window ends at 40, the image, of 50 columns, behind it."""
    found = found_with([0.9], [60])
    image = np.full((30, 50), UNKNOWN, np.uint8)
    image[:, :40] = STATE
    window = replace(found.window, image=image)
    likely = posterior(replace(found, window=window))
    x0, y0, x1, y1 = likely.window.box
    assert x1 >= 50 and x1 - x0 == y1 - y0 == 50
    columns = np.nonzero(likely.mean.any(axis=0))[0] + x0
    assert (columns[0], columns[-1]) == (5, x1 - 1)
    assert likely.seen == pytest.approx(100 / (100 + 150 + 10 * (x1 - 40)))


def test_what_lies_beyond_the_image_does_not_count() -> None:
    """The image ends at column 20: there both poses are one, 100 visible and 50 hidden pixels."""
    found = found_with([0.96, 0.95], [15, 25])
    image = np.ascontiguousarray(STATE[:, :20])
    likely = posterior(replace(found, window=replace(found.window, image=image).moved(0, 0, 40)))
    assert len(likely.chance) == 2 and likely.mask(1)[8].sum() == 25
    assert likely.agreement == pytest.approx(1) and likely.seen == pytest.approx(100 / 150)
