from __future__ import annotations

import numpy as np
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shape3d_amodal import masks
from shape3d_amodal.evaluation.given_masks.windows import common_window

EMPTY = drawn("....", "....", "....")
shapes = st.tuples(st.integers(1, 7), st.integers(1, 7))


def windows(*regions):
    return common_window([masks.encode(region) for region in regions])


def test_drawn_masks():
    first, second, nothing = windows(drawn("....", ".#..", "...."), drawn("....", "....", "..##"), EMPTY)
    np.testing.assert_array_equal(first, drawn("#..", "..."))
    np.testing.assert_array_equal(second, drawn("...", ".##"))
    np.testing.assert_array_equal(nothing, drawn("...", "..."))
    assert [one.shape for one in windows(EMPTY, EMPTY)] == [(0, 0), (0, 0)]


@given(shapes.flatmap(lambda shape: arrays.arrays(bool, (3, *shape))))
def test_equals_cutting_the_decoded_masks(stack):
    ys, xs = np.nonzero(stack.any(axis=0))
    window = np.s_[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] if len(ys) else np.s_[:0, :0]
    for mask, cut in zip(stack, windows(*stack), strict=True):
        np.testing.assert_array_equal(cut, mask[window])
