"""The ground plane: elevations of things on the ground before a level camera, from a scene in three dimensions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from shape3d_amodal.priors.learned.ground import ground_errors, looking_down
from shape3d_amodal.structures import Viewpoint

FX, FY, CX, CY = 700.0, 710.0, 600.0, 180.0


def views_of(elevation: torch.Tensor, y: float = 0.0) -> Viewpoint:
    offset = torch.zeros(*elevation.shape, 2)
    offset[..., 1] = y
    return Viewpoint(elevation, elevation, elevation, elevation, offset)


@pytest.mark.parametrize("x", [-6.0, 0.0, 9.0])
@pytest.mark.parametrize("y", [0.0, 0.3, -0.5])
def test_the_angle_at_which_a_camera_looks_down(x: float, y: float) -> None:
    """The middle of an object, 1.2 m below a level camera, wherever it lies in its window."""
    point = np.array([x, 1.2, 12.0])
    expected = math.asin(1.2 / np.linalg.norm(point))
    u, v = FX * point[0] / point[2] + CX, FY * point[1] / point[2] + CY
    half = 50.0
    middle = v + y * half  # the object lies y half sides above the middle of its window
    window = np.array([[u - half, middle - half, u + half, middle + half]])
    slopes = looking_down(window.astype(np.float32), np.array([[FX, FY, CX, CY]]))
    elevation = torch.tensor([[expected, expected + 0.1]])
    errors = ground_errors(views_of(elevation, y), slopes, math.radians(40))
    torch.testing.assert_close(errors, torch.tensor([[0.0, 0.01]]), atol=1e-5, rtol=0)


def test_above_the_horizon_and_too_steep() -> None:
    slopes = torch.tensor([[-0.5, 0.1], [5.0, 0.1], [math.nan, math.nan]])
    elevation = torch.full((3, 1), 0.2, requires_grad=True)
    errors = ground_errors(views_of(elevation), slopes, 0.7)
    torch.testing.assert_close(errors[:, 0], torch.tensor([0.2**2, 0.5**2, 0.0]))
    errors.sum().backward()
    torch.testing.assert_close(elevation.grad[:, 0], torch.tensor([0.4, -1.0, 0.0]))
