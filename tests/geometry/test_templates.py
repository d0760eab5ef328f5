from __future__ import annotations

import pytest
import torch
from pytorch3d.ops import laplacian
from pytorch3d.utils import ico_sphere

from shape3d_amodal.geometry.templates import Template, icosphere, symmetrize

LEVELS = (0, 1, 2, 3)


@pytest.fixture(params=LEVELS)
def template(request: pytest.FixtureRequest) -> Template:
    return icosphere(request.param)


@pytest.mark.parametrize(("level", "verts", "faces"), [(1, 42, 80), (2, 162, 320), (3, 642, 1280)])
def test_sizes(level: int, verts: int, faces: int) -> None:
    sphere = icosphere(level)
    assert sphere.verts.shape == (verts, 3)
    assert sphere.faces.shape == (faces, 3)
    torch.testing.assert_close(sphere.verts.norm(dim=1), torch.ones(verts))


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4])
def test_equals_pytorch3ds_icosphere_and_laplacian(level: int) -> None:
    """To the last bit and in the same order, entries of the sparse matrix included: shipped weights depend on it."""
    ours, theirs = icosphere(level), ico_sphere(level)
    assert torch.equal(ours.verts, theirs.verts_packed())
    assert torch.equal(ours.faces, theirs.faces_packed())
    expected = laplacian(theirs.verts_packed(), theirs.edges_packed())
    assert torch.equal(ours.laplacian._indices(), expected._indices())
    assert torch.equal(ours.laplacian._values(), expected._values())


def test_faces_look_outwards(template: Template) -> None:
    a, b, c = template.verts[template.faces].unbind(dim=1)
    assert ((torch.cross(b - a, c - a, dim=1) * (a + b + c)).sum(dim=1) > 0).all()


def test_edges_are_complete(template: Template) -> None:
    """Each face's three edges, each between exactly two faces: E = 3F / 2 and V - E + F = 2."""
    V, F, E = len(template.verts), len(template.faces), len(template.edge_faces)
    assert 2 * E == 3 * F
    assert V - E + F == 2
    rows = template.edge_faces.tolist()
    assert len({frozenset(row[:2]) for row in rows}) == E
    from_edges = [frozenset((u, v, other)) for u, v, *others in rows for other in others]
    faces = {frozenset(face) for face in template.faces.tolist()}
    assert len(from_edges) == 3 * F
    assert set(from_edges) == faces
    assert all(left != right for _, _, left, right in rows)


def test_mirror_is_an_exact_involution(template: Template) -> None:
    mirror = template.mirror
    assert torch.equal(mirror[mirror], torch.arange(len(mirror)))
    reflected = template.verts * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(template.verts[mirror], reflected, rtol=0, atol=1e-6)


def test_mirror_maps_faces_to_faces(template: Template) -> None:
    faces = {frozenset(face) for face in template.faces.tolist()}
    assert {frozenset(face) for face in template.mirror[template.faces].tolist()} == faces


def test_symmetrize_is_exact_and_idempotent(template: Template) -> None:
    verts = torch.randn(3, len(template.verts), 3)
    once = symmetrize(verts, template.mirror)
    assert torch.equal(once[:, template.mirror], once * torch.tensor([-1.0, 1.0, 1.0]))
    assert torch.equal(symmetrize(once, template.mirror), once)


def test_symmetrize_is_the_nearest_symmetric_mesh(template: Template) -> None:
    """It is an orthogonal projection: what it takes away is orthogonal to every symmetric mesh."""
    verts, other = torch.randn(2, len(template.verts), 3, dtype=torch.float64)
    removed = verts - symmetrize(verts, template.mirror)
    assert (removed * symmetrize(other, template.mirror)).sum().item() == pytest.approx(0, abs=1e-10)


def test_laplacian_is_mean_of_neighbours_less_vertex(template: Template) -> None:
    neighbours: dict[int, set[int]] = {}
    for face in template.faces.tolist():
        for vertex in face:
            neighbours.setdefault(vertex, set()).update(set(face) - {vertex})
    verts = torch.randn(len(template.verts), 3)
    expected = torch.stack([verts[sorted(neighbours[i])].mean(dim=0) - verts[i] for i in range(len(verts))])
    torch.testing.assert_close(template.laplacian @ verts, expected, rtol=1e-4, atol=1e-5)


def test_laplacian_of_a_sphere_points_inwards(template: Template) -> None:
    inwards = -((template.laplacian @ template.verts) * template.verts).sum(dim=1)
    assert (inwards > 0).all()
