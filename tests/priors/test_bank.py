"""The bank: silhouettes as the z-buffer draws them, in frames that are their bounding boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from boxes import CHAIR, PARTS, BoxMeshes, box_mesh

from shape3d_amodal.errors import DataError
from shape3d_amodal.geometry.cameras import project
from shape3d_amodal.priors.bank.shapes import FRAME, BankConfig, ShapeBank, silhouette_frames
from shape3d_amodal.structures import Viewpoint

CONFIG = BankConfig(azimuths=4, elevations_deg=(0.0, 30.0))


def test_categories_and_sizes() -> None:
    bank = ShapeBank(BoxMeshes(), CONFIG)
    assert bank.categories == ("chair", "dresser", "lamp", "sofa", "table")
    shapes = bank.shapes("chair")
    assert shapes.names == ("chair/four_legs", "chair/one_arm")
    assert shapes.mesh.tolist() == [0] * 8 + [1] * 8
    assert np.degrees(shapes.azimuth[:8]).round(3).tolist() == [0, 90, 180, 270] * 2
    assert np.degrees(shapes.elevation[:8]).round(3).tolist() == [0] * 4 + [30] * 4
    assert shapes.integral.shape == (16, FRAME + 1, FRAME + 1)
    assert shapes.integral.dtype == np.uint16
    assert bank.shapes("chair") is shapes  # drawn once


def test_a_box_fills_its_frame() -> None:
    """Seen from the front at no elevation the near face of a box is a rectangle."""
    mesh = box_mesh(PARTS["dresser/box"])
    masks, low, high = silhouette_frames(mesh.verts, mesh.faces, np.zeros(1), np.zeros(1))
    assert masks.all()
    half = mesh.verts.max(axis=0)
    near = 1 / math.tan(math.radians(15)) / (2.732 - half[2])
    np.testing.assert_allclose(high[0], half[:2] * near, rtol=1e-5)
    np.testing.assert_allclose(low[0], -half[:2] * near, rtol=1e-5)


def test_a_mesh_of_one_face_has_the_face_as_its_silhouette() -> None:
    """A right triangle whose legs are the lower and the left side of its box: the frame below its diagonal."""
    verts = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    (mask,), _, _ = silhouette_frames(verts, np.array([[0, 1, 2]], np.int32), np.zeros(1), np.zeros(1))
    assert mask.shape == (48, 48)
    row, column = np.indices(mask.shape)
    assert mask[row > column].all() and not mask[row < column].any()


def test_every_face_counts() -> None:
    """Strips side by side make a full frame, whichever comes first; without one there is a gap of its width."""
    strips = [[(x, 0, 0), (x + 1, 0, 0), (x + 1, 1, 0), (x, 1, 0)] for x in range(4)]
    verts = np.array(strips, np.float32).reshape(-1, 3)
    faces = np.array(
        [[4 * i, 4 * i + 1, 4 * i + 2] for i in range(4)] + [[4 * i, 4 * i + 2, 4 * i + 3] for i in range(4)]
    )
    for turn in range(8):
        (mask,), _, _ = silhouette_frames(verts, np.roll(faces, turn, 0).astype(np.int32), np.zeros(1), np.zeros(1))
        assert mask.all()
    (mask,), _, _ = silhouette_frames(verts, faces[[0, 2, 3, 4, 6, 7]].astype(np.int32), np.zeros(1), np.zeros(1))
    assert mask.all(axis=0).tolist() == [True] * 12 + [False] * 12 + [True] * 24


def test_frames_are_upright_and_not_mirrored() -> None:
    """A step: high on the object's +x side, which a camera at azimuth 0 has on its right."""
    mesh = box_mesh([((0, 0, 0), (1, 1, 0.1)), ((1, 0, 0), (2, 2, 0.1))])
    (mask,), _, _ = silhouette_frames(mesh.verts, mesh.faces, np.zeros(1), np.zeros(1))
    half = FRAME // 2
    assert not mask[: half - 2, : half - 2].any()
    assert mask[: half - 2, half + 2 :].all()
    assert mask[half + 2 :].all()


def test_integral_images_count_pixels() -> None:
    shapes = ShapeBank(BoxMeshes(["chair/one_arm"]), CONFIG).shapes("chair")
    mesh = box_mesh(PARTS["chair/one_arm"])
    masks, low, high = silhouette_frames(
        mesh.verts, mesh.faces, shapes.azimuth.astype(float), shapes.elevation.astype(float)
    )
    for table, mask in zip(shapes.integral.astype(int), masks, strict=True):
        assert table[-1, -1] == mask.sum()
        assert table[20, 31] - table[5, 31] - table[20, 7] + table[5, 7] == mask[5:20, 7:31].sum()
    np.testing.assert_array_equal(low, shapes.low)
    np.testing.assert_array_equal(high, shapes.high)


def test_boxes_are_those_of_the_projected_vertices() -> None:
    shapes = ShapeBank(BoxMeshes(["chair/four_legs"]), CONFIG).shapes("chair")
    verts = torch.from_numpy(box_mesh(CHAIR).verts)[None]
    for i in (1, 6):
        azimuth, elevation = (torch.tensor([float(angle[i])]) for angle in (shapes.azimuth, shapes.elevation))
        view = Viewpoint(azimuth, elevation, torch.zeros(1), torch.ones(1), torch.zeros(1, 2))
        flat = project(verts, view)[0, :, :2].numpy()
        np.testing.assert_allclose(shapes.low[i], flat.min(axis=0), atol=1e-6)
        np.testing.assert_allclose(shapes.high[i], flat.max(axis=0), atol=1e-6)


def test_of_many_meshes_an_even_selection_and_a_word_of_it(caplog: pytest.LogCaptureFixture) -> None:
    source = BoxMeshes(["chair/four_legs", "chair/one_arm"])
    assert ShapeBank(source, BankConfig(azimuths=1, meshes=1)).shapes("chair").names == ("chair/four_legs",)
    assert "chair: the bank takes 1 of 2 meshes" in caplog.text


def test_a_bank_of_just_so_many_meshes_leaves_none_out(caplog: pytest.LogCaptureFixture) -> None:
    source = BoxMeshes(["chair/four_legs", "chair/one_arm"])
    shapes = ShapeBank(source, BankConfig(azimuths=1, meshes=2)).shapes("chair")
    assert shapes.names == ("chair/four_legs", "chair/one_arm") and not caplog.records


def test_unknown_category() -> None:
    with pytest.raises(DataError, match="no mesh of category 'car'; the bank knows chair"):
        ShapeBank(BoxMeshes(["chair/one_arm"]), CONFIG).shapes("car")
