"""Vertex clustering: nothing moves further than a cell's diagonal, nothing degenerate stays."""

from __future__ import annotations

import numpy as np
import pytest
from boxes import CHAIR, box_mesh

from shape3d_amodal.geometry.templates import icosphere
from shape3d_amodal.meshes.simplify import cluster_vertices, reduce_faces
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.rendering.zbuffer import rasterize


def silhouette(verts: np.ndarray, faces: np.ndarray, size: int = 96) -> np.ndarray:
    screen = np.stack([(0.5 + verts[:, 0]) * size, (0.5 - verts[:, 1]) * size, 2 - verts[:, 2]], axis=1)
    return rasterize(screen.astype(np.float32), faces.astype(np.int32), size, size)[1] >= 0


def test_a_box_keeps_its_eight_corners() -> None:
    mesh = box_mesh([((0, 0, 0), (1, 1, 1))])
    verts, faces = cluster_vertices(mesh.verts, mesh.faces, 4)
    assert verts.shape == (8, 3)
    assert verts.dtype == np.float32
    assert faces.dtype == np.int64
    assert {tuple(v) for v in np.round(verts, 5)} == {tuple(v) for v in np.round(mesh.verts, 5)}
    assert len(faces) == 12


def test_four_vertices_in_two_cells() -> None:
    """Two vertices merge into their mean, the face that held both vanishes, the unused vertex is dropped."""
    verts = np.array([[0, 0, 0], [0.1, 0, 0], [1, 0, 0], [1, 1, 0], [50, 50, 50]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3], [1, 2, 3]])
    found, corners = cluster_vertices(verts, faces, 2)
    np.testing.assert_allclose(found[found[:, 0].argsort()][0], [0.05, 0, 0], atol=1e-6)
    assert len(found) == 3
    assert corners.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("cells", [8, 16, 32])
def test_no_vertex_moves_further_than_a_cell(cells: int) -> None:
    sphere = icosphere(4)
    verts, faces = sphere.verts.numpy() / 2, sphere.faces.numpy()
    found, corners = cluster_vertices(verts, faces, cells)
    apart = np.linalg.norm(verts[:, None] - found[None], axis=2).min(axis=1)
    assert apart.max() <= np.sqrt(3) / cells
    a, b, c = corners.T
    assert ((a != b) & (b != c) & (c != a)).all()
    assert len(np.unique(np.sort(corners, axis=1), axis=0)) == len(corners)
    assert sorted(np.unique(corners)) == list(range(len(found)))


def test_thin_parts_and_holes_stay() -> None:
    mesh = box_mesh(CHAIR)
    verts, faces = cluster_vertices(mesh.verts, mesh.faces, 32)
    before, after = silhouette(mesh.verts, mesh.faces), silhouette(verts, faces)
    assert (before & after).sum() / (before | after).sum() > 0.95


def test_faces_are_reduced_as_little_as_needed() -> None:
    sphere = icosphere(4)
    verts, faces = sphere.verts.numpy(), sphere.faces.numpy()
    counts = [len(reduce_faces(verts, faces, count)[1]) for count in (10_000, 2_000, 500)]
    assert counts[0] == len(faces)
    assert all(found <= asked for found, asked in zip(counts[1:], (2_000, 500), strict=True))
    assert counts[1] > 800  # a grid a step finer would have had more than asked for


def test_wires_stay() -> None:
    """Three-sided tubes a thousandth as thick as long: any coarse grid would merge all their cross-sections."""
    along = np.linspace(0, 1, 41)
    ring = np.array([[0, 0], [1e-3, 0], [0, 1e-3]])
    verts = np.array([[x, *point] for x in along for point in ring], np.float32)
    quads = [(3 * i + a, 3 * i + (a + 1) % 3) for i in range(40) for a in range(3)]
    faces = np.array([face for a, b in quads for face in ((a, b, a + 3), (b, b + 3, a + 3))], np.int32)
    found, corners = reduce_faces(verts, faces, 10)
    assert len(corners) > 0
    assert np.ptp(found[:, 0]) == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_the_silhouettes_of_open13_change_little() -> None:
    source = mesh_source("open13:train")
    scores = []
    for name in source.names[::5]:
        mesh = source.load(name)
        verts, faces = reduce_faces(mesh.verts, mesh.faces, 1500)
        before, after = silhouette(mesh.verts, mesh.faces), silhouette(verts, faces)
        scores.append((before & after).sum() / (before | after).sum())
    assert np.mean(scores) > 0.93
    assert min(scores) > 0.6
