"""Errors of poses against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shape3d_amodal.evaluation import poses
from shape3d_amodal.meshes.symmetries import Motions, turn
from shape3d_amodal.structures import Pose

STRAIGHT, OVER = (1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1)
"""No rotation, and half a turn about z."""
NONE = Motions(np.eye(3)[None], np.zeros((1, 3)))
HALF_TURN = Motions(np.stack([np.eye(3), np.diag([-1.0, -1, 1])]), np.zeros((2, 3)))
BOX = np.array([[x, y, z] for x in (-1, 1) for y in (-2, 2) for z in (-3, 3)], float)
PAIR = np.array([[0.0, 0, 0], [10, 0, 0]])
CAMERA = (100.0, 200.0, 5.0, 7.0)


def pose(*place: float, rotation: tuple[float, ...] = STRAIGHT) -> Pose:
    return Pose(rotation, place)


def test_nothing_differs_from_itself() -> None:
    one = pose(1, 2, 30, rotation=(0, -1, 0, 1, 0, 0, 0, 0, 1))
    assert poses.add(one, one, BOX) == poses.add_s(one, one, BOX) == poses.mssd(one, one, BOX, NONE) == 0
    assert poses.mspd(one, one, BOX, NONE, CAMERA) == poses.rotation_error(one, one, NONE) == 0


def test_a_shift_is_the_error_of_every_point() -> None:
    """By 3 and 4: 5 for each; seen from 10 away, 30 pixels to the right and 80 down."""
    found, true = pose(3, 4, 10), pose(0, 0, 10)
    assert poses.add(found, true, PAIR) == poses.mssd(found, true, PAIR, NONE) == 5
    assert poses.mspd(found, true, PAIR, NONE, CAMERA) == pytest.approx(math.hypot(30, 80))
    assert poses.rotation_error(found, true, NONE) == 0


def test_add_s_takes_the_nearest_point() -> None:
    """Moved by the distance of two points, one takes the other's place: 10 and 0 are 5 in the mean."""
    found, true = pose(10, 0, 10), pose(0, 0, 10)
    assert poses.add(found, true, PAIR) == 10 and poses.add_s(found, true, PAIR) == 5


def test_add_s_looks_from_the_true_pose() -> None:
    """Of the points 0, 10 and 40 each is 100, 90 and 60 from the nearest of 100, 110 and 140; these are 60, 70 and 100
    from the nearest of the others."""
    points = np.array([[0.0, 0, 0], [10, 0, 0], [40, 0, 0]])
    assert poses.add_s(pose(100, 0, 9), pose(0, 0, 9), points) == pytest.approx((100 + 90 + 60) / 3)
    assert poses.add_s(pose(0, 0, 9), pose(100, 0, 9), points) == pytest.approx((60 + 70 + 100) / 3)


def test_half_a_turn_of_a_box() -> None:
    """Each corner goes to the opposite one of its level, 2 sqrt(1 + 4) away; for a symmetric box nothing happened."""
    found, true = pose(0, 0, 10, rotation=OVER), pose(0, 0, 10)
    assert poses.add(found, true, BOX) == poses.mssd(found, true, BOX, NONE) == pytest.approx(2 * math.sqrt(5))
    assert poses.add_s(found, true, BOX) == poses.mssd(found, true, BOX, HALF_TURN) == 0
    assert poses.rotation_error(found, true, NONE) == pytest.approx(180)
    assert poses.rotation_error(found, true, HALF_TURN) == pytest.approx(0, abs=1e-5)
    # The corner (1, 2, -3) is seen at 100 / 7 and 400 / 7 from the middle, its image on the other side.
    assert poses.mspd(found, true, BOX, NONE, CAMERA) == pytest.approx(2 * math.hypot(100 / 7, 400 / 7))
    assert poses.mspd(found, true, BOX, HALF_TURN, CAMERA) == 0


def test_symmetries_may_move_too() -> None:
    """Half a turn about the line x = 5 changes the two points; one that turns about 0 does not look the same."""
    about_five = Motions(HALF_TURN.rotations, np.array([[0.0, 0, 0], [10, 0, 0]]))
    found, true = pose(10, 0, 10, rotation=OVER), pose(0, 0, 10)
    assert poses.mssd(found, true, PAIR, about_five) == 0
    assert poses.mssd(found, true, PAIR, HALF_TURN) == 10
    assert poses.mspd(found, true, PAIR, about_five, CAMERA) == 0


def test_symmetries_are_of_the_model_and_not_of_the_camera() -> None:
    """The true pose lies on its side: its half turn about z is one about the camera's y."""
    lying = (1, 0, 0, 0, 0, 1, 0, -1, 0)  # z of the model goes to y
    about_y = (-1, 0, 0, 0, 0, 1, 0, 1, 0)
    assert poses.mssd(pose(0, 0, 10, rotation=about_y), pose(0, 0, 10, rotation=lying), BOX, HALF_TURN) == 0


@pytest.mark.parametrize("degrees", [0.001, 1, 90, 179])
def test_the_angle_of_a_turn(degrees: float) -> None:
    rotation = turn(np.array([0.36, 0.48, 0.8]), math.radians(degrees))
    found = poses.rotation_error(pose(0, 0, 1, rotation=tuple(rotation.ravel())), pose(0, 0, 1), NONE)
    assert found == pytest.approx(degrees, rel=1e-6)


def test_rotations_that_are_none_are_equal_to_themselves() -> None:
    """One of LM-O, whose rows are up to 0.1 % too long."""
    one = pose(0, 0, 1, rotation=(1.001, 0, 0, 0, 0.999, 0, 0, 0, 1))
    assert poses.rotation_error(one, one, NONE) == 0


@pytest.mark.parametrize("depth", [0, -5, 2.9])
def test_a_pose_behind_the_camera_projects_nowhere(depth: float) -> None:
    """The box reaches from 3 before to 3 behind its middle."""
    assert poses.mspd(pose(0, 0, depth), pose(0, 0, 10), BOX, NONE, CAMERA) == math.inf


def test_recalls() -> None:
    """An error at a threshold is not below it; of 0.05, 0.10, ... 0.50 six lie above 0.2, of 5 to 50 five above 25."""
    errors = np.array([0.0, 0.05, 0.2, 0.49, 0.5, np.inf, np.nan])
    np.testing.assert_array_equal(poses.recall(errors, poses.MSSD_SHARES), [1, 0.9, 0.6, 0.1, 0, 0, np.nan])
    np.testing.assert_array_equal(poses.recall(np.array([25.0]), poses.MSPD_PIXELS), [0.5])
    np.testing.assert_array_equal(poses.recall(np.array([0.099, 0.1]), (poses.ADD_SHARE,)), [1, 0])
