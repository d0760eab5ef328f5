"""The mean of known shapes: by hand on small grids, and as a mesh with the volume and the side of its grid."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from boxes import BoxMeshes, box_mesh

from shape3d_amodal.baselines.mean_shape import MeanShapes, mean_shape
from shape3d_amodal.meshes.voxels import to_unit_cube, voxel_iou, voxels


def grid(*filled: int) -> np.ndarray:
    cells = np.zeros(8, bool)
    cells[list(filled)] = True
    return cells.reshape(2, 2, 2)


def test_the_level_is_that_of_the_best_mean_iou():
    # Cell 0 is in all four, cell 1 in three, cell 2 in one, cells 3 to 7 in one other.
    grids = np.stack([grid(0, 1), grid(0, 1), grid(0, 1, 2), grid(0, 3, 4, 5, 6, 7)])
    mean, level = mean_shape(grids)
    np.testing.assert_allclose(mean.ravel(), [1, 0.75, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25])
    # {0, 1}: (1 + 1 + 2/3 + 1/7) / 4 = 0.70; {0}: (1/2 + 1/2 + 1/3 + 1/6) / 4 = 0.375; all: (2/8 + 2/8 + 3/8 + 6/8) / 4
    np.testing.assert_array_equal(mean >= level, grid(0, 1))


@pytest.mark.parametrize("count", [1, 3, 7, 11])
def test_the_mean_of_the_same_is_the_same(count):
    same = np.stack([grid(0, 2, 5)] * count)
    mean, level = mean_shape(same)
    np.testing.assert_array_equal(mean >= level, same[0])


class Boxes(BoxMeshes):
    """Boxes that differ in height alone, as one category; and a chair."""

    def __init__(self) -> None:
        super().__init__(["chair/one_arm"])
        for height in (0.5, 0.6, 1.0):
            name = f"box/{height}"
            self.names = (*self.names, name)
            self._meshes[name] = box_mesh([((0, 0, 0), (1, height, 0.5))], name, "box")


@pytest.mark.slow
def test_the_mesh_is_the_surface_of_the_mean():
    shapes = MeanShapes(Boxes())
    assert shapes.names == ("box", "chair")
    mesh = shapes.load("box")
    assert (mesh.name, mesh.category, shapes.category("box")) == ("box", "box", "box")
    solid = trimesh.Trimesh(mesh.verts, mesh.faces)
    assert solid.is_watertight and solid.volume > 0  # its faces look outwards
    low, high = mesh.verts.min(axis=0), mesh.verts.max(axis=0)
    np.testing.assert_allclose(low + high, 0, atol=1e-6)
    assert np.linalg.norm(high - low) == pytest.approx(1, abs=1e-5)
    sides = (high - low) / (high - low).max()
    np.testing.assert_allclose(sides, [1, 0.6, 0.5], atol=0.06)  # cut where two of three boxes reach


def test_the_mean_of_one_mesh_is_that_mesh_as_voxels():
    """Not mirrored, not turned: the armchair has one arm."""
    source = BoxMeshes(["chair/one_arm"])
    mean, chair = MeanShapes(source).load("chair"), source.load("chair/one_arm")
    grids = [voxels(to_unit_cube(mesh.verts), mesh.faces) for mesh in (mean, chair)]
    assert voxel_iou(*grids) > 0.95
    assert voxel_iou(grids[0], grids[1][::-1]) < 0.8
