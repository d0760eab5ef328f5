"""Deformed shapes: seen by the pose's own camera, free as far as the configuration says, and closer to the object."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from boxes import PARTS, box_mesh
from pinhole import View, iou, view
from scipy.spatial.transform import Rotation

from shape3d_amodal.priors.bank.deformation import DeformationConfig, DeformedMeshes, in_crop
from shape3d_amodal.priors.bank.poses import DISTANCE, SCALE, U, V
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.priors.optimization import optimize
from shape3d_amodal.structures import InstanceCrops

S = 48
WINDOW = torch.tensor([[20.0, -5.0, 140.0, 115.0]])
BOX = box_mesh(PARTS["dresser/box"])


def subject_of(verts: np.ndarray, seen: View, size: int = S, lattice: int = 4) -> DeformedMeshes:
    shape, faces, row = (torch.from_numpy(one)[None] for one in (verts, BOX.faces.astype(np.int64), seen.row))
    return DeformedMeshes(shape, faces, row, WINDOW, size, DeformationConfig(lattice=lattice))


@pytest.mark.parametrize("distance", [1.5, 4.0])
def test_vertices_are_seen_where_a_pinhole_camera_sees_them(distance: float) -> None:
    """In the crop's frame: x left, y up, its borders at -1 and 1; z is the distance along the optical axis."""
    seen = view(35, 20, 10, distance=distance, place=(0.2, -0.1), aspect=1.1)
    found = in_crop(torch.from_numpy(BOX.verts)[None], torch.from_numpy(seen.row)[None], WINDOW)[0].numpy()
    x, y, depth = seen.screen(BOX.verts).T
    np.testing.assert_allclose(found[:, 0], (80 - x) / 60, atol=1e-4)
    np.testing.assert_allclose(found[:, 1], (55 - y) / 60, atol=1e-4)
    np.testing.assert_allclose(found[:, 2], depth, rtol=1e-5)


def test_at_the_start_it_draws_what_a_renderer_draws() -> None:
    seen = view(35, 20, 10, distance=2.5)
    (silhouette,) = subject_of(BOX.verts, seen, size=120).silhouettes(0.3).detach().numpy() > 0.5
    mask = np.pad(seen.mask(BOX), ((5, 0), (0, 0)))[:120, 20:140]
    assert iou(silhouette, mask) > 0.97


def test_what_the_pose_may_change() -> None:
    """A turn of the camera's frame, a shift in units of the object, log-scale; the distance stays."""
    seen = view(35, 20, 10, place=(0.1, 0.05), aspect=1.1)
    subject = subject_of(BOX.verts, seen)
    start = torch.from_numpy(seen.row)[None]
    torch.testing.assert_close(subject.poses().detach(), start)
    turn, scale, shift, _ = subject.groups()[0]["params"]
    with torch.no_grad():
        turn[0], scale[0], shift[0] = torch.tensor([0.1, -0.2, 0.3]), 0.25, torch.tensor([0.02, -0.03])
    moved = subject.poses()[0].detach().numpy()
    turned = Rotation.from_rotvec([0.1, -0.2, 0.3]).as_matrix() @ seen.rotation
    np.testing.assert_allclose(moved[:9].reshape(3, 3), turned, atol=1e-5)
    assert moved[SCALE] == pytest.approx(seen.row[SCALE] * np.exp(0.25), rel=1e-5)
    np.testing.assert_allclose(moved[[U, V]], seen.row[[U, V]] + np.array([0.02, -0.03]) * seen.row[SCALE], rtol=1e-5)
    np.testing.assert_array_equal(moved[DISTANCE:], seen.row[DISTANCE:])


def test_the_penalty_by_hand() -> None:
    """5 times the mean squared displacement, 0.05 of the squared log-stretches, 0.05 of the squared turn."""
    subject = subject_of(BOX.verts, view())
    assert subject.penalty().tolist() == [0]
    turn, _, _, stretch = subject.groups()[0]["params"]
    (lattice,) = subject.groups()[1]["params"]
    with torch.no_grad():
        turn[0], stretch[0] = torch.tensor([0.1, 0.0, 0.2]), torch.tensor([0.1, -0.2, 0.3])
        lattice[0, 0] = 0.3  # a third of the numbers
    expected = 5 * 0.09 / 3 + 0.05 * (0.01 + 0.04 + 0.09) + 0.05 * 0.05
    assert subject.penalty().tolist() == pytest.approx([expected])


def test_it_stretches_by_the_exponential() -> None:
    subject = subject_of(BOX.verts, view())
    verts = torch.from_numpy(BOX.verts)[None]
    torch.testing.assert_close(subject.verts().detach(), verts)
    with torch.no_grad():
        subject.groups()[0]["params"][-1][0] = torch.tensor([2.0, 0.5, 1.0]).log()
        subject.groups()[1]["params"][0][0, 1] = 0.1  # all nodes of the lattice move up
    expected = (verts + torch.tensor([0.0, 0.1, 0.0])) * torch.tensor([2.0, 0.5, 1.0])
    torch.testing.assert_close(subject.verts().detach(), expected)


def test_the_lattice_moves_what_lies_in_it() -> None:
    """One corner node moved: the vertex in that corner follows fully, the opposite one stays, the middle by 1/8."""
    verts = np.array([[0.5, 0.5, 0.5], [-0.5, -0.5, -0.5], [0.0, 0.0, 0.0]], np.float32)
    subject = subject_of(verts, view(), lattice=2)
    lattice = subject.groups()[1]["params"][0]
    with torch.no_grad():
        lattice[0, :, 1, 1, 1] = torch.tensor([0.1, 0.2, 0.3])
    moved = subject.verts()[0].detach().numpy() - verts
    np.testing.assert_allclose(moved, [[0.1, 0.2, 0.3], [0, 0, 0], [0.0125, 0.025, 0.0375]], atol=1e-6)
    with torch.no_grad():
        lattice.zero_()
        lattice[0, 0, 0, 0, 1] = 0.1  # the node at +x alone (axes are z, y, x): it moves no corner of the three
    np.testing.assert_allclose((subject.verts()[0].detach().numpy() - verts)[:2], 0, atol=1e-6)


def test_a_box_that_is_higher_and_wider_is_fitted() -> None:
    """From the shape and the pose that are known, with its right part hidden."""
    seen = view(35, 20, distance=3, place=(0.0, 0.0))
    other = BOX.verts * np.array([1.3, 0.8, 1.1], np.float32)
    whole = subject_of(other, seen).silhouettes(0.3).detach()
    occluder = torch.zeros_like(whole)
    occluder[:, :, 28:] = 1
    crop = InstanceCrops(torch.zeros(1, 3, S, S), whole * (1 - occluder), occluder, torch.zeros(1).long(), WINDOW)
    subject = subject_of(BOX.verts, seen)
    before = certain_iou(subject.silhouettes(0.3).detach(), crop)
    score = optimize(subject, crop, steps=25, start_blur_px=1.0, final_blur_px=0.3)
    after = subject.silhouettes(0.3).detach()
    torch.testing.assert_close(certain_iou(after, crop), score)
    assert before.item() < 0.85 and score.item() > 0.92
    nothing = replace(crop, visible=whole, occluder=torch.zeros_like(whole))
    assert (
        certain_iou(after, nothing).item() > certain_iou(subject_of(BOX.verts, seen).silhouettes(0.3), nothing).item()
    )
