from __future__ import annotations

import math

import numpy as np
import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shape3d_amodal.errors import UsageError
from shape3d_amodal.evaluation import metrics
from shape3d_amodal.evaluation.tracks import TRACKS

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


def test_every_metric_has_a_name_a_formula_and_a_protocol():
    for track in TRACKS.values():
        for name, metric in track.metrics.items():
            assert metric.name == name
            assert metric.formula and metric.source and metric.title
            assert metric.protocol == track.protocol


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, "0 and 255"])
@pytest.mark.parametrize("pair", [(LEFT, TOP), (LEFT, FULL), (EMPTY, EMPTY), (EMPTY, LEFT)])
def test_masks_of_numbers_score_as_masks_of_bool(kind, pair):
    numbers = [mask * np.uint8(255) if kind == "0 and 255" else mask.astype(kind) for mask in pair]
    assert metrics.iou(*numbers) == metrics.iou(*pair)
    assert metrics.occluded_iou(*numbers, numbers[0]) == pytest.approx(
        metrics.occluded_iou(*pair, pair[0]), nan_ok=True
    )


@pytest.mark.parametrize(
    "mask",
    [LEFT * 2, LEFT * 0.6, LEFT * -1, LEFT * 255.0, np.where(LEFT, np.nan, 0), LEFT.astype(str), LEFT + 254 * TOP],
)
def test_what_is_no_mask_is_refused(mask):
    for pair in ((mask, LEFT), (LEFT, mask)):
        with pytest.raises(UsageError, match="expected bool, 0 and 1, or 0 and 255, got"):
            metrics.iou(*pair)
    for place in range(3):
        with pytest.raises(UsageError, match="expected bool, 0 and 1, or 0 and 255, got"):
            metrics.occluded_iou(*[mask if i == place else LEFT for i in range(3)])


def test_masks_of_other_shapes_are_refused():
    with pytest.raises(
        UsageError, match=r"masks: expected one shape for all, got prediction \[2, 4\], target \[1, 4\]"
    ):
        metrics.iou(LEFT, LEFT[:1])
    with pytest.raises(UsageError, match="visible"):
        metrics.occluded_iou(LEFT, LEFT, LEFT[:, :1])
