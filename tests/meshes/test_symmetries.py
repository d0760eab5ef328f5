"""Symmetries of shapes whose rotations are known: boxes, prisms, round bodies, and things without any."""

from __future__ import annotations

import math

import numpy as np
import pytest
from boxes import ARMCHAIR, box_mesh

from shape3d_amodal.geometry.templates import icosphere
from shape3d_amodal.meshes.sources import open13
from shape3d_amodal.meshes.symmetries import rotation_angle, symmetry_motions, symmetry_rotations, turn

IDENTITY = np.eye(3)
Solid = tuple[np.ndarray, np.ndarray]


def prism(corners: np.ndarray, height: float) -> Solid:
    """A solid with the outline ``corners`` [N,2], all seen from the origin, at z from -height / 2 to height / 2."""
    count = len(corners)
    low, high = (np.column_stack([corners, np.full(count, end)]) for end in (-height / 2, height / 2))
    verts = np.concatenate([low, high, [[0, 0, -height / 2], [0, 0, height / 2]]])
    faces = []
    for i in range(count):
        j = (i + 1) % count
        faces += [
            [i, j, count + j],
            [i, count + j, count + i],
            [j, i, 2 * count],
            [count + i, count + j, 2 * count + 1],
        ]
    return verts, np.array(faces)


def regular(sides: int, height: float = 1.0) -> Solid:
    """A prism over a regular polygon with corners 1 from its middle, the first on the x axis."""
    angles = 2 * math.pi / sides * np.arange(sides)
    return prism(np.column_stack([np.cos(angles), np.sin(angles)]), height)


def box(*sides: float) -> Solid:
    mesh = box_mesh([((0, 0, 0), sides)])  # type: ignore[list-item]
    return mesh.verts, mesh.faces


def l_shape(first: float, second: float) -> Solid:
    """Two bars of width 1 and depth 1.5 that meet in a corner, one along x and one along y, without inner walls."""
    outline = np.array([(0, 0), (first, 0), (first, 1), (1, 1), (1, second), (0, second)]) - 0.5
    return prism(outline, 1.5)


def cone(sides: int = 48) -> Solid:
    verts, faces = regular(sides)
    verts[sides : 2 * sides, :2] = 0  # the upper side shrinks to a point
    return verts, faces


def tilted(solid: Solid) -> Solid:
    """Turned by 40 degrees about an odd axis, and moved."""
    axis = np.array([0.36, 0.48, 0.8])
    return solid[0] @ turn(axis, math.radians(40)).T + [5, 6, 7], solid[1]


def ball() -> Solid:
    sphere = icosphere(3)
    return sphere.verts.numpy(), sphere.faces.numpy()


@pytest.mark.parametrize(
    ("solid", "count"),
    [
        (box(1, 1.5, 2.2), 4),
        (box(1, 1, 2), 8),
        (box(1, 1, 1), 24),
        (tilted(box(1, 1.5, 2.2)), 4),
        (regular(3), 6),
        (regular(5), 10),
        (regular(6), 12),
        (regular(8, 0.5), 16),
        (l_shape(3, 2), 1),
        (l_shape(3, 3), 2),
        (regular(64), 72),
        (tilted(regular(64)), 72),
        (cone(), 36),
        (ball(), 36 + 17 * 36**2 + 36),
    ],
    ids=[
        *("box", "square box", "cube", "tilted box", "triangle", "pentagon", "hexagon", "octagon", "L", "even L"),
        *("cylinder", "tilted cylinder", "cone", "ball"),
    ],
)
def test_the_number_of_rotations(solid: Solid, count: int) -> None:
    """Of the box the half turns, of the square one D4, of the cube the octahedral group, of n-sided prisms Dn."""
    found = symmetry_rotations(*solid)
    assert found.shape == (count, 3, 3)
    np.testing.assert_array_equal(found[0], IDENTITY)
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.broadcast_to(IDENTITY, found.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(found), 1)


@pytest.mark.parametrize("solid", [box(1, 1, 1), regular(6), regular(64)], ids=["cube", "hexagon", "cylinder"])
def test_they_are_a_group(solid: Solid) -> None:
    """One after the other gives another one of them; no two are the same."""
    found = symmetry_rotations(*solid)
    apart = rotation_angle(found[:, None] @ found.transpose(0, 2, 1)[None])
    assert (apart + 9 * np.eye(len(found))).min() > math.radians(9.9)
    products = (found[:, None] @ found[None]).reshape(-1, 3, 3)[:: len(found) // 8 + 1]
    nearest = rotation_angle(products[:, None] @ found.transpose(0, 2, 1)[None]).min(axis=1)
    assert nearest.max() < math.radians(0.01)


def test_a_box_has_the_half_turns_about_its_axes() -> None:
    found = symmetry_rotations(*box(1, 1.5, 2.2))
    expected = [np.diag(signs) for signs in ([1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1])]
    np.testing.assert_allclose(sorted(found.tolist()), sorted(np.array(expected).tolist()), atol=1e-9)


def test_an_even_l_turns_about_its_diagonal() -> None:
    """x and y change places, and z turns round."""
    found = symmetry_rotations(*l_shape(3, 3))
    np.testing.assert_allclose(found[1], [[0, 1, 0], [1, 0, 0], [0, 0, -1]], atol=0.05)


def test_the_steps_of_a_round_body() -> None:
    found = symmetry_rotations(*cone(), step_deg=50)
    assert len(found) == 8  # the least number of steps of at most 50 degrees
    np.testing.assert_allclose(np.degrees(rotation_angle(found)), [0, 45, 90, 135, 180, 135, 90, 45], atol=1e-6)
    np.testing.assert_allclose(found[:, 2, 2], 1)  # all about z


@pytest.mark.parametrize(
    ("knob", "tolerance", "count"),
    [(0.02, 0.02, 8), (0.05, 0.02, 4), (0.05, 0.04, 8), (0.05, 0.05, 24)],
)
def test_what_is_smaller_than_the_tolerance_is_overlooked(knob: float, tolerance: float, count: int) -> None:
    """A cube drawn out to 1.06, with a knob on top: the diagonal is 1.8, 2 % of it 0.036, 4 % 0.072, 5 % 0.09.

    Turned over, the knob sticks out by its height; turned to a side, by 0.03 more.
    """
    mesh = box_mesh([((0, 0, 0), (1, 1, 1.06)), ((0.45, 0.45, 1.06), (0.55, 0.55, 1.06 + knob))])
    assert len(symmetry_rotations(mesh.verts, mesh.faces, tolerance=tolerance)) == count


def test_furniture_without_symmetry() -> None:
    mesh = box_mesh(ARMCHAIR)
    np.testing.assert_array_equal(symmetry_rotations(mesh.verts, mesh.faces), [IDENTITY])


@pytest.mark.parametrize("name", ["chair/Armchair", "chair/Chair_3", "chair/Winchester_armchair"])
def test_chairs_have_a_front(name: str) -> None:
    mesh = open13("test").load(name)
    np.testing.assert_array_equal(symmetry_rotations(mesh.verts, mesh.faces), [IDENTITY])


def test_motions_leave_the_middle_where_it_is() -> None:
    """A box from 3 to 4, 5 to 6.5 and 7 to 9.2: its corners go to corners."""
    verts, faces = box(1, 1.5, 2.2)
    verts = verts.astype(np.float64) / np.ptp(verts[:, 0]) + [3.5, 5.75, 8.1]
    motions = symmetry_motions(verts, faces)
    assert len(motions) == 4
    moved = np.einsum("kij,vj->kvi", motions.rotations, verts) + motions.translations[:, None]
    distances = np.linalg.norm(moved[:, :, None] - verts[None, None], axis=3).min(axis=2)
    assert distances.max() < 0.02  # the middle is that of points on the surface
    np.testing.assert_array_equal(motions.translations[0], [0, 0, 0])
