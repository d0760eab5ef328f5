"""The crop's camera against PyTorch3D's, and its conventions at points whose place is known."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch3d.renderer import FoVPerspectiveCameras, look_at_view_transform
from pytorch3d_cameras import to_pytorch3d
from torch import Tensor

from shape3d_amodal.geometry.cameras import DISTANCE, FOCAL, project, rotation
from shape3d_amodal.structures import Viewpoint

N = 16


def degrees(*values: float) -> torch.Tensor:
    return torch.deg2rad(torch.tensor(values, dtype=torch.float64))


def view(azimuth: float = 0, elevation: float = 0, roll: float = 0, scale: float = 1, offset=(0.0, 0.0)) -> Viewpoint:
    return Viewpoint(
        degrees(azimuth),
        degrees(elevation),
        degrees(roll),
        torch.tensor([scale], dtype=torch.float64),
        torch.tensor([offset], dtype=torch.float64),
    )


def seen(point: tuple[float, float, float], **viewpoint) -> torch.Tensor:
    return project(torch.tensor([[point]], dtype=torch.float64), view(**viewpoint))[0, 0]


@pytest.fixture
def points() -> torch.Tensor:
    return torch.rand(N, 20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5


@pytest.fixture
def viewpoints() -> Viewpoint:
    generator = torch.Generator().manual_seed(1)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(N, *shape, generator=generator, dtype=torch.float64)

    return Viewpoint(uniform(-7, 7), uniform(-1.5, 1.5), uniform(-3, 3), uniform(0.3, 2.5), uniform(-0.9, 0.9, 2))


def test_equals_pytorch3d_cameras(points: torch.Tensor, viewpoints: Viewpoint) -> None:
    points, viewpoints = points.float(), viewpoints._map(Tensor.float)
    expected = to_pytorch3d(viewpoints).transform_points_ndc(points)
    torch.testing.assert_close(project(points, viewpoints)[..., :2], expected[..., :2], rtol=1e-5, atol=1e-5)


def test_depth_equals_pytorch3d_view_space(points: torch.Tensor, viewpoints: Viewpoint) -> None:
    points, viewpoints = points.float(), viewpoints._map(Tensor.float)
    expected = to_pytorch3d(viewpoints).get_world_to_view_transform().transform_points(points)
    torch.testing.assert_close(project(points, viewpoints)[..., 2], expected[..., 2], rtol=1e-5, atol=1e-5)


def test_equals_look_at_view_transform(points: torch.Tensor, viewpoints: Viewpoint) -> None:
    """PyTorch3D's own azimuth and elevation, and a field of view of 30 degrees, then scale and shift."""
    points, viewpoints = points.float(), viewpoints._map(Tensor.float)
    R, T = look_at_view_transform(dist=DISTANCE, elev=viewpoints.elevation, azim=viewpoints.azimuth, degrees=False)
    camera = FoVPerspectiveCameras(R=R, T=T, fov=30.0)
    ndc = camera.transform_points_ndc(points)[..., :2]
    expected = ndc * viewpoints.scale[:, None, None] + viewpoints.offset[:, None]
    upright = Viewpoint(
        viewpoints.azimuth,
        viewpoints.elevation,
        torch.zeros_like(viewpoints.roll),
        viewpoints.scale,
        viewpoints.offset,
    )
    torch.testing.assert_close(project(points, upright)[..., :2], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("nearer", "viewpoint"),
    [
        ((0, 0, 0.1), {}),
        ((0.1, 0, 0), {"azimuth": 90}),
        ((0, 0, -0.1), {"azimuth": 180}),
        ((-0.1, 0, 0), {"azimuth": 270}),
        ((0, 0.1, 0), {"elevation": 90}),
        ((0, -0.1, 0), {"elevation": -90}),
    ],
)
def test_where_the_camera_stands(nearer: tuple[float, float, float], viewpoint: dict[str, float]) -> None:
    """A point 0.1 from the centre towards the camera is seen at the centre, 0.1 nearer."""
    assert seen(nearer, **viewpoint).tolist() == pytest.approx([0, 0, DISTANCE - 0.1], abs=1e-12)


def test_left_and_up() -> None:
    """From the front, the object's +x (its left hand) is on the right of the picture, and NDC's x grows to the left."""
    size = 0.1 * FOCAL / DISTANCE
    assert seen((0.1, 0, 0)).tolist() == pytest.approx([-size, 0, DISTANCE])
    assert seen((0, 0.1, 0)).tolist() == pytest.approx([0, size, DISTANCE])


def test_positive_roll_turns_the_picture_counter_clockwise() -> None:
    up = seen((0, 0.1, 0), roll=90)
    assert up[0] > 0.1  # what was up is now on the left
    assert up[1].item() == pytest.approx(0, abs=1e-12)
    right, above = -seen((0.2, 0.1, 0.1))[0], seen((0.2, 0.1, 0.1))[1]
    turned = seen((0.2, 0.1, 0.1), roll=20)
    cosine, sine = math.cos(math.radians(20)), math.sin(math.radians(20))
    assert -turned[0] == pytest.approx(float(cosine * right - sine * above))
    assert turned[1] == pytest.approx(float(sine * right + cosine * above))


def test_scale_and_offset_act_on_the_picture() -> None:
    assert seen((0, 0, 0), azimuth=33, elevation=20, roll=10, scale=1.7, offset=(0.3, -0.2))[:2].tolist() == (
        pytest.approx([0.3, -0.2])
    )
    assert seen((0, 0.1, 0), scale=2, offset=(0.3, -0.2))[1] == pytest.approx(0.2 * FOCAL / DISTANCE - 0.2)


def test_focal_length_is_a_field_of_view_of_30_degrees() -> None:
    """A point at half the field's width, at the nominal distance, lies on the crop's border."""
    assert seen((0, DISTANCE * math.tan(math.radians(15)), 0))[1] == pytest.approx(1)


def test_rotations_are_proper(viewpoints: Viewpoint) -> None:
    R = rotation(viewpoints.azimuth, viewpoints.elevation, viewpoints.roll)
    torch.testing.assert_close(R @ R.transpose(1, 2), torch.eye(3, dtype=R.dtype).expand(N, 3, 3))
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(N, dtype=R.dtype))


def test_gradients(points: torch.Tensor, viewpoints: Viewpoint) -> None:
    few = slice(0, 2)
    inputs = [points[few, :3], *(getattr(viewpoints[few], name) for name in Viewpoint.__dataclass_fields__)]
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(lambda verts, *view: project(verts, Viewpoint(*view)), inputs)


def test_mixed_precision_does_not_move_a_point(points: torch.Tensor, viewpoints: Viewpoint) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = project(points, viewpoints)
    assert torch.equal(found, project(points, viewpoints))


def test_no_instances() -> None:
    empty = torch.zeros(0)
    assert project(torch.zeros(0, 5, 3), Viewpoint(empty, empty, empty, empty, torch.zeros(0, 2))).shape == (0, 5, 3)


def test_the_camera_is_that_of_nmrs_renders() -> None:
    """Kato et al. (2018): 2.732 from the origin, half the field of view 15 degrees; at unit depth its edge is 1."""
    x, y, depth = seen((0.0, 0.0, 1.732)).tolist()
    assert (x, y, depth) == pytest.approx((0, 0, 1.0))
    x, _, _ = seen((-math.tan(math.pi / 12), 0.0, 1.732)).tolist()
    assert x == pytest.approx(1.0)
