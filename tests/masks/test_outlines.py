"""Outlines against hand-drawn masks, and polygons through COCO's rasteriser."""

from __future__ import annotations

import faster_coco_eval.core.mask as coco_mask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from shape3d_amodal import masks
from shape3d_amodal.masks.outlines import loops, to_polygon

MASKS = array_shapes(min_dims=2, max_dims=2, max_side=24).flatmap(lambda shape: arrays(np.bool_, shape))


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_the_loop_of_one_pixel() -> None:
    (loop,) = loops(drawn("...", ".#."))
    assert loop.tolist() == [[1, 1], [2, 1], [2, 2], [1, 2]]


def test_a_hole_has_a_loop_of_its_own_the_other_way_round() -> None:
    outer, hole = loops(drawn("###", "#.#", "###"))
    assert len(outer) == 12
    assert sorted(hole.tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert signed_area(outer) == 9
    assert signed_area(hole) == -1


def test_pixels_that_touch_in_a_corner_have_two_loops() -> None:
    assert [len(loop) for loop in loops(drawn("#.", ".#"))] == [4, 4]


def test_no_loops_of_nothing() -> None:
    assert loops(np.zeros((3, 4), dtype=bool)) == []
    assert loops(np.zeros((0, 0), dtype=bool)) == []
    assert to_polygon(masks.encode(np.zeros((3, 4), dtype=bool))) == []


def test_the_polygon_of_a_box_has_its_corners() -> None:
    assert to_polygon(masks.encode(drawn(".....", ".###.", ".###."))) == [1, 1, 4, 1, 4, 3, 1, 3]


def signed_area(loop: np.ndarray) -> float:
    x, y = loop.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def polygon_is_exact(mask: np.ndarray) -> None:
    """Loops enclose the mask's area, and COCO's rasteriser gives the mask back."""
    outlines = loops(mask)
    assert sum(map(signed_area, outlines)) == mask.sum()
    assert all((np.abs(np.roll(loop, -1, axis=0) - loop).sum(axis=1) == 1).all() for loop in outlines)
    if not mask.any():
        return
    codes = coco_mask.frPyObjects([to_polygon(masks.encode(mask))], *mask.shape)
    np.testing.assert_array_equal(coco_mask.decode(codes[0]).astype(bool), mask)


test_polygon_is_exact = settings(max_examples=100, deadline=None)(given(MASKS)(polygon_is_exact))
test_polygon_is_exact_at_length = pytest.mark.slow(
    settings(max_examples=1000, deadline=None)(given(MASKS)(polygon_is_exact))
)
