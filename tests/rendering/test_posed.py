"""Models in known poses: where a point is seen, and who is in front."""

from __future__ import annotations

import numpy as np

from shape3d_amodal.rendering.posed import PosedModel, silhouettes, to_camera, to_image
from shape3d_amodal.structures import Pose

STRAIGHT = (1, 0, 0, 0, 1, 0, 0, 0, 1)
SQUARE = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float), np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def square(*place: float) -> PosedModel:
    return PosedModel(*SQUARE, Pose(STRAIGHT, place))


def test_points_are_turned_then_moved() -> None:
    """A quarter about z takes x to y, and y to -x."""
    found = to_camera(np.array([[1.0, 0, 0], [0, 2, 0]]), Pose((0, -1, 0, 1, 0, 0, 0, 0, 1), (10, 20, 30)))
    np.testing.assert_array_equal(found, [[10, 21, 30], [8, 20, 30]])


def test_points_are_seen_by_a_pinhole() -> None:
    """x to the right by 1/2 of the focal length 8, y down by 1/4 of 12."""
    found = to_image(np.array([[2.0, 1, 4], [0, 0, 9]]), (8, 12, 10, 20))
    np.testing.assert_array_equal(found, [[14, 23, 4], [10, 20, 9]])


def test_the_nearer_one_is_seen() -> None:
    """Focal length 6 at depth 3: 2 pixels to all sides of the middle; the far one is twice as far, and moved."""
    whole, visible = silhouettes([square(1, 0, 6), square(0, 0, 3)], (6, 6, 4, 4), 8, 8)
    far, near = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    far[3:5, 4:6], near[2:6, 2:6] = True, True
    np.testing.assert_array_equal(whole, [far, near])
    np.testing.assert_array_equal(visible, [far & ~near, near])


def test_what_is_behind_the_camera_is_not_seen() -> None:
    whole, visible = silhouettes([square(0, 0, -3)], (6, 6, 4, 4), 8, 8)
    assert not whole[0].any() and not visible[0].any()


def test_no_models_give_no_masks() -> None:
    assert silhouettes([], (6, 6, 4, 4), 8, 8) == ([], [])
