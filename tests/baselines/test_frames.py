"""Silhouettes as the z-buffer draws them, in frames that are their bounding boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from boxes import CHAIR, PARTS, BoxMeshes, box_mesh

from shape3d_amodal.baselines import frames
from shape3d_amodal.baselines.frames import FRAME, category_frames, silhouette_frames
from shape3d_amodal.errors import DataError
from shape3d_amodal.geometry.cameras import project
from shape3d_amodal.structures import Viewpoint

VIEWS = (4, (0.0, 30.0))


def surface(name: str) -> tuple[np.ndarray, np.ndarray]:
    mesh = box_mesh(PARTS[name])
    return mesh.verts, mesh.faces


def test_meshes_follow_one_another_elevation_by_elevation() -> None:
    found = category_frames(BoxMeshes(), "chair", *VIEWS)
    angle = np.radians([0, 90, 180, 270] * 2), np.radians([0] * 4 + [30] * 4)
    expected = [silhouette_frames(*surface(name), *angle) for name in ("chair/four_legs", "chair/one_arm")]
    for i, part in enumerate((found.mask, found.low, found.high)):
        np.testing.assert_array_equal(part, np.concatenate([one[i] for one in expected]))
    assert found.mask.shape == (16, FRAME, FRAME)


def test_by_default_three_rings_of_sixteen() -> None:
    """The eighteenth is the second ring's second: elevation 20 degrees, azimuth 22.5 degrees."""
    found = category_frames(BoxMeshes(["chair/one_arm"]), "chair")
    assert len(found.mask) == 48
    mask, low, _ = silhouette_frames(*surface("chair/one_arm"), np.radians([22.5]), np.radians([20.0]))
    np.testing.assert_array_equal(found.mask[17], mask[0])
    np.testing.assert_array_equal(found.low[17], low[0])


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


def test_boxes_are_those_of_the_projected_vertices() -> None:
    found = category_frames(BoxMeshes(["chair/four_legs"]), "chair", *VIEWS)
    verts = torch.from_numpy(box_mesh(CHAIR).verts)[None]
    for i, (azimuth, elevation) in {1: (90, 0), 6: (180, 30)}.items():
        angles = (torch.tensor([math.radians(angle)]) for angle in (azimuth, elevation))
        view = Viewpoint(*angles, torch.zeros(1), torch.ones(1), torch.zeros(1, 2))
        flat = project(verts, view)[0, :, :2].numpy()
        np.testing.assert_allclose(found.low[i], flat.min(axis=0), atol=1e-6)
        np.testing.assert_allclose(found.high[i], flat.max(axis=0), atol=1e-6)


@pytest.mark.parametrize("most", [1, 2])
def test_of_many_meshes_an_even_selection_and_a_word_of_it(
    most: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(frames, "MOST", most)
    found = category_frames(BoxMeshes(["chair/four_legs", "chair/one_arm"]), "chair", 1, (0.0,))
    assert len(found.mask) == most
    assert ("chair: the mean mask takes 1 of 2 meshes" in caplog.text) == (most == 1)


def test_unknown_category() -> None:
    with pytest.raises(DataError, match="no mesh of category 'car'; the meshes are of chair"):
        category_frames(BoxMeshes(["chair/one_arm"]), "car")
