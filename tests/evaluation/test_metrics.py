from __future__ import annotations

import math

import faster_coco_eval.core.mask as coco_mask
import numpy as np
import pytest
from drawn import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shape3d_amodal import masks
from shape3d_amodal.evaluation import metrics

EMPTY = drawn("....", "....")
LEFT = drawn("##..", "##..")
TOP = drawn("####", "....")
FULL = drawn("####", "####")

grids = st.integers(1, 9).flatmap(lambda h: st.integers(1, 9).map(lambda w: (h, w)))
triples = grids.flatmap(lambda shape: arrays.arrays(bool, (3, *shape)))


def pixels(mask):
    return set(zip(*np.nonzero(mask), strict=True))


@pytest.mark.parametrize(
    ("prediction", "target", "expected"),
    [
        (LEFT, LEFT, 1.0),
        (LEFT, TOP, 2 / 6),
        (LEFT, FULL, 4 / 8),
        (EMPTY, LEFT, 0.0),
        (LEFT, EMPTY, 0.0),
        (EMPTY, EMPTY, 1.0),
    ],
)
def test_iou_literals(prediction, target, expected):
    assert metrics.iou(prediction, target) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "amodal", "visible", "expected"),
    [
        (FULL, FULL, LEFT, 1.0),
        (LEFT, FULL, LEFT, 0.0),  # what is visible does not count
        (TOP, FULL, LEFT, 2 / 4),
        (FULL, TOP, LEFT, 2 / 4),  # V reaches out of A: hidden are the 2 right pixels of the top row, predicted 4
        (EMPTY, FULL, EMPTY, 0.0),  # wholly hidden
        (FULL, LEFT, LEFT, math.nan),
        (FULL, LEFT, FULL, math.nan),
    ],
)
def test_occluded_iou_literals(prediction, amodal, visible, expected):
    assert metrics.occluded_iou(prediction, amodal, visible) == pytest.approx(expected, nan_ok=True)


def test_signed_sum_would_lose_an_instance():
    # The published selection sums A - V: here 2 hidden pixels less 2 stray visible ones is 0.
    assert int(TOP.sum()) - int(LEFT.sum()) == 0
    assert metrics.occluded_iou(TOP, TOP, LEFT) == 1.0


@given(triples)
def test_ious_equal_counting_pixels(stack):
    p, a, v = (pixels(mask) for mask in stack)
    union, hidden_union = p | a, (p | a) - v
    expected = len(p & a) / len(union) if union else 1.0
    assert metrics.iou(stack[0], stack[1]) == pytest.approx(expected)
    occluded = len((p & a) - v) / len(hidden_union) if a - v else math.nan
    assert metrics.occluded_iou(*stack) == pytest.approx(occluded, nan_ok=True)


def test_boundary_of_a_square():
    mask = np.zeros((20, 20), bool)
    mask[4:14, 5:15] = True
    band = metrics.boundary(mask, 2 / math.hypot(20, 20))
    inner = np.zeros_like(mask)
    inner[6:12, 7:13] = True
    np.testing.assert_array_equal(band, mask & ~inner)


def test_image_border_is_a_boundary():
    full = np.ones((7, 7), bool)
    assert metrics.boundary(full, 0.0).sum() == 49 - 25  # at least one pixel wide


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_boundary_equals_coco(seed):
    rng = np.random.default_rng(seed)
    low = rng.random((6, 7)) < 0.6
    mask = np.kron(low, np.ones((int(rng.integers(3, 12)), int(rng.integers(3, 12))))).astype(bool)
    code = coco_mask.rleToBoundary(masks.encode(mask).to_coco(), metrics.BOUNDARY_DILATION)
    np.testing.assert_array_equal(metrics.boundary(mask), coco_mask.decode(code).astype(bool))


def test_boundary_iou_of_shifted_squares():
    a, b = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    a[5:15, 5:15] = True
    b[5:15, 6:16] = True
    # Bands one pixel wide: 36 pixels each; shared are the top and bottom rows where both run, 2 x 9.
    assert metrics.boundary_iou(a, b, 1 / math.hypot(30, 30)) == pytest.approx(18 / 54)


def test_micro_iou_is_weighted_by_pixels():
    assert metrics.micro_iou([1, 90], [2, 100], [1, 100]) == pytest.approx(91 / (2 + 110))
    assert math.isnan(metrics.micro_iou([], [], []))
    assert metrics.micro_iou([0], [0], [0]) == 1.0


def test_every_metric_has_a_name_a_formula_and_a_protocol():
    for name, metric in metrics.METRICS.items():
        assert metric.name == name
        assert metric.formula and metric.source and metric.title
        assert metric.protocol == metrics.COMPLETION
