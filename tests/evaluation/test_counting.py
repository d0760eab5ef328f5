from __future__ import annotations

import numpy as np
import pytest
from drawn import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shape3d_amodal import masks
from shape3d_amodal.evaluation import metrics
from shape3d_amodal.evaluation.given_masks.counting import band, tally

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


@pytest.mark.parametrize("reach", [1, 2, 5])
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_band_equals_the_erosion_of_the_decoded_mask(seed, reach):
    rng = np.random.default_rng(seed)
    low = rng.random((5, 4)) < 0.7
    mask = np.kron(low, np.ones((int(rng.integers(1, 9)), int(rng.integers(1, 9))))).astype(bool)
    expected = metrics.boundary(mask, reach / float(np.hypot(*mask.shape)))
    np.testing.assert_array_equal(band(runs(mask), *mask.shape, reach).T.astype(bool), expected)
