from __future__ import annotations

import faster_coco_eval.core.mask as coco_mask
import numpy as np
import pytest
from drawn import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scoring import boundary

from shape3d_amodal import masks
from shape3d_amodal.evaluation.given_masks.completion import BOUNDARY_DILATION
from shape3d_amodal.evaluation.given_masks.pixels import band, common_window, tally

grids = st.integers(1, 9).flatmap(lambda h: st.integers(1, 9).map(lambda w: (h, w)))


def runs(mask):
    return masks.runs(masks.encode(mask))


def test_tally_of_drawn_masks():
    a, b, c = drawn("##..", "#..."), drawn("#...", "#..#"), drawn("##..", "....")
    # a only 0, b only 1 (lower right), a and b 1 (lower left), a and c 1, all three 1, none 4.
    np.testing.assert_array_equal(tally(runs(a), runs(b), runs(c)), [4, 0, 1, 1, 0, 1, 0, 1])


@given(grids.flatmap(lambda shape: arrays.arrays(bool, (3, *shape))))
def test_tally_equals_counting_pixels(stack):
    a, b, c = (mask.astype(int) for mask in stack)
    expected = np.bincount((a + 2 * b + 4 * c).ravel(), minlength=8)
    np.testing.assert_array_equal(tally(*(runs(mask) for mask in stack)), expected)


def own_band(mask, reach):
    return band(runs(mask), *mask.shape, reach).T.astype(bool)


def test_band_of_a_square():
    mask = np.zeros((20, 20), bool)
    mask[4:14, 5:15] = True
    inner = np.zeros_like(mask)
    inner[6:12, 7:13] = True
    np.testing.assert_array_equal(own_band(mask, 2), mask & ~inner)


def test_the_border_of_the_image_is_a_boundary():
    assert own_band(np.ones((7, 7), bool), 1).sum() == 49 - 25


def random_mask(seed, rows, columns, low, high):
    rng = np.random.default_rng(seed)
    coarse = rng.random((rows, columns)) < 0.65
    return np.kron(coarse, np.ones((int(rng.integers(low, high)), int(rng.integers(low, high))))).astype(bool)


@pytest.mark.parametrize("reach", [1, 2, 5])
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_band_equals_the_erosion_of_the_decoded_mask(seed, reach):
    mask = random_mask(seed, 5, 4, 1, 9)
    np.testing.assert_array_equal(own_band(mask, reach), boundary(mask, reach))


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_band_equals_coco(seed):
    mask = random_mask(seed, 6, 7, 3, 12)
    code = coco_mask.rleToBoundary(masks.encode(mask).to_coco(), BOUNDARY_DILATION)
    reach = max(1, round(BOUNDARY_DILATION * float(np.hypot(*mask.shape))))
    np.testing.assert_array_equal(own_band(mask, reach), coco_mask.decode(code).astype(bool))


EMPTY = drawn("....", "....", "....")


def windows(*regions):
    return common_window([masks.encode(region) for region in regions])


def test_common_window_of_drawn_masks():
    first, second, nothing = windows(drawn("....", ".#..", "...."), drawn("....", "....", "..##"), EMPTY)
    np.testing.assert_array_equal(first, drawn("#..", "..."))
    np.testing.assert_array_equal(second, drawn("...", ".##"))
    np.testing.assert_array_equal(nothing, drawn("...", "..."))
    assert [one.shape for one in windows(EMPTY, EMPTY)] == [(0, 0), (0, 0)]


@given(grids.flatmap(lambda shape: arrays.arrays(bool, (3, *shape))))
def test_common_window_equals_cutting_the_decoded_masks(stack):
    ys, xs = np.nonzero(stack.any(axis=0))
    window = np.s_[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] if len(ys) else np.s_[:0, :0]
    for mask, cut in zip(stack, windows(*stack), strict=True):
        np.testing.assert_array_equal(cut, mask[window])
