from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shape3d_amodal.drawing import overlays
from shape3d_amodal.drawing.colors import BLUE
from shape3d_amodal.errors import UsageError

IMAGE = np.full((10, 12, 3), 100, np.uint8)
SQUARE = np.zeros((10, 12), bool)
SQUARE[2:7, 3:9] = True


def test_tint_blends_inside_and_leaves_the_rest():
    result = overlays.tint(IMAGE, SQUARE, (200, 0, 100), 0.25)
    assert result[3, 4].tolist() == [125, 75, 100]
    assert result[0, 0].tolist() == [100, 100, 100]
    assert (IMAGE == 100).all()


@pytest.mark.parametrize("mask", [SQUARE, SQUARE.astype(np.uint8), SQUARE * np.uint8(255)])
@pytest.mark.parametrize("image", [IMAGE, IMAGE[..., 0], IMAGE / 255, (IMAGE / 255).astype(np.float32)])
def test_other_forms_of_images_and_masks_are_drawn_alike(image, mask):
    hidden = SQUARE.copy()
    hidden[:4] = False
    drawings = (
        lambda image, mask: overlays.tint(image, mask, BLUE),
        lambda image, mask: overlays.outline(image, mask, BLUE),
        lambda image, mask: overlays.draw_mask(image, mask, BLUE),
        lambda image, mask: overlays.draw_instances(image, [mask]),
        lambda image, mask: overlays.draw_amodal(image, hidden, mask),
        lambda image, _: overlays.image_grid([[image, IMAGE]], 1),
    )
    for draw in drawings:
        found = draw(image, mask)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, draw(IMAGE, SQUARE))


@pytest.mark.parametrize("image", [IMAGE.astype(float), IMAGE.astype(np.int64), -(IMAGE / 255), IMAGE[..., :2], None])
def test_images_that_are_none_are_not_drawn_on(image):
    for draw in (
        lambda: overlays.tint(image, SQUARE, BLUE),
        lambda: overlays.draw_amodal(image, SQUARE, SQUARE),
        lambda: overlays.draw_instances(image, [SQUARE]),
        lambda: overlays.image_grid([[image]], 1),
    ):
        with pytest.raises(UsageError, match=r"image: expected \[H,W,3\] uint8"):
            draw()


def test_what_is_no_mask_is_not_drawn():
    for draw in (overlays.tint, overlays.outline):
        with pytest.raises(UsageError, match="mask: expected bool"):
            draw(IMAGE, SQUARE * 0.5, BLUE)


@pytest.mark.parametrize(("thickness", "inner"), [(1, 3 * 4), (2, 1 * 2), (3, 0)])
def test_contour_lies_inside_the_mask(thickness, inner):
    edge = overlays.contour(SQUARE, thickness)
    assert not (edge & ~SQUARE).any()
    assert SQUARE.sum() - edge.sum() == inner


@given(seed=st.integers(0, 2**32 - 1), density=st.sampled_from([0.05, 0.5, 0.9]), thickness=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_contour_by_brute_force(seed, density, thickness):
    """A pixel whose next pixel outside the mask, or outside the image, is less than so many steps away."""
    mask = np.random.default_rng(seed).random((7, 9)) < density
    outside = np.argwhere(~np.pad(mask, 5)) - 5
    steps = [[np.abs(outside - (y, x)).sum(axis=1).min() for x in range(9)] for y in range(7)]
    np.testing.assert_array_equal(overlays.contour(mask, thickness), mask & (np.array(steps) <= thickness))


def test_every_mask_has_its_own_colour():
    masks = []
    for number in range(50):
        mask = np.zeros((10, 60), bool)
        mask[4:6, number] = True
        masks.append(mask)
    drawn = overlays.draw_instances(np.full((10, 60, 3), 100, np.uint8), masks)
    assert len(np.unique(drawn[4, :50], axis=0)) == 50


def test_empty_mask_changes_nothing():
    empty = np.zeros_like(SQUARE)
    for result in (
        overlays.draw_mask(IMAGE, empty, BLUE),
        overlays.draw_amodal(IMAGE, empty, empty),
        overlays.draw_instances(IMAGE, [empty, empty]),
        overlays.draw_instances(IMAGE, []),
    ):
        np.testing.assert_array_equal(result, IMAGE)


def test_amodal_parts_have_their_colours():
    visible = SQUARE.copy()
    visible[:, 6:] = False
    result = overlays.draw_amodal(IMAGE, visible, SQUARE)
    shown, hidden, border = result[4, 4].astype(int), result[4, 7].astype(int), result[2, 4]
    assert shown[2] > shown[0] and hidden[0] > hidden[2] and border.tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("margin", "minimum", "expected"),
    [
        (0.0, 1, (slice(1, 7), slice(3, 9))),
        (0.5, 1, (slice(0, 10), slice(0, 12))),
        (0.0, 8, (slice(0, 8), slice(2, 10))),
    ],
)
def test_crop_around(margin, minimum, expected):
    rows, columns = overlays.crop_around(SQUARE, margin, minimum)
    assert (rows, columns) == expected
    assert overlays.crop_around(np.zeros_like(SQUARE)) == (slice(0, 10), slice(0, 12))
