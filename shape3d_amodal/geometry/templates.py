"""Template meshes: an icosphere with its mirror symmetry and its Laplacian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_LONG, _SHORT = 0.8507, 0.5257
_ICOSAHEDRON = (
    *((-_SHORT, _LONG, 0.0), (_SHORT, _LONG, 0.0), (-_SHORT, -_LONG, 0.0), (_SHORT, -_LONG, 0.0)),
    *((0.0, -_SHORT, _LONG), (0.0, _SHORT, _LONG), (0.0, -_SHORT, -_LONG), (0.0, _SHORT, -_LONG)),
    *((_LONG, 0.0, -_SHORT), (_LONG, 0.0, _SHORT), (-_LONG, 0.0, -_SHORT), (-_LONG, 0.0, _SHORT)),
)
_ICOSAHEDRON_FACES = (
    *((0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11)),
    *((1, 5, 9), (5, 11, 4), (11, 10, 2), (10, 7, 6), (7, 1, 8)),
    *((3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9)),
    *((4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1)),
)
"""The icosahedron in PyTorch3D's numbers and order: weights are tied to the order of a template's vertices."""


@dataclass(frozen=True)
class Template:
    """Topology of a closed mesh that is symmetric about x = 0.

    Attributes:
        verts: [V,3] float32, on the unit sphere.
        faces: [F,3] int64.
        mirror: [V] int64, index of the vertex at (-x, y, z).
        laplacian: [V,V] sparse float32, uniform Laplacian (Desbrun et al., 1999; PyTorch3D's): mean of the neighbours
            less the vertex.
        edge_faces: [E,4] int64, for each edge its two vertices and the vertex opposite to it in either face.
    """

    verts: Tensor
    faces: Tensor
    mirror: Tensor
    laplacian: Tensor
    edge_faces: Tensor


def icosphere(level: int) -> Template:
    """Subdivide an icosahedron ``level`` times: 42, 162, 642, 2562 vertices for levels 1 to 4.

    The vertices are in PyTorch3D's order, to which trained weights belong; trimesh has another one.
    """
    verts, faces = torch.tensor(_ICOSAHEDRON), torch.tensor(_ICOSAHEDRON_FACES)
    for _ in range(level):
        verts, faces = _subdivided(verts, faces)
    mirrored = verts * verts.new_tensor([-1.0, 1.0, 1.0])
    distance, mirror = torch.cdist(mirrored, verts, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
    assert float(distance.max()) < 1e-4, "the icosphere is symmetric about x = 0"
    return Template(verts, faces, mirror, _laplacian(faces), _edge_faces(faces))


def symmetrize(verts: Tensor, mirror: Tensor) -> Tensor:
    """The mirror-symmetric part of vertices [...,V,3]: each is averaged with the reflection of its mirror vertex."""
    reflected = verts[..., mirror, :] * verts.new_tensor([-1.0, 1.0, 1.0])
    return (verts + reflected) / 2


def _subdivided(verts: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Each edge's midpoint becomes a vertex on the sphere, and each face four."""
    edges, of_face = _edges(faces)
    middle = len(verts) + of_face
    verts = torch.cat([verts, verts[edges].mean(dim=1)])
    corners = (torch.stack([faces[:, i], middle[:, i - 1], middle[:, i - 2]], dim=1) for i in range(3))
    return verts / verts.norm(dim=1, keepdim=True), torch.cat([*corners, middle])


def _edges(faces: Tensor) -> tuple[Tensor, Tensor]:
    """The edges [E,2] in ascending order, and for each face the places [F,3] of those opposite to its vertices."""
    opposite = torch.cat([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]]).sort(dim=1).values
    edges, place = opposite.unique(dim=0, return_inverse=True)
    return edges, place.view(3, -1).T


def _laplacian(faces: Tensor) -> Tensor:
    """[V,V] sparse: 1 / degree for each neighbour, -1 on the diagonal; PyTorch3D's, in the same order of entries."""
    edges, _ = _edges(faces)
    both = torch.cat([edges, edges.flip(1)]).T
    degree = both[0].bincount()
    diagonal = torch.arange(len(degree)).expand(2, -1)
    with torch.sparse.check_sparse_tensor_invariants(True):  # said outright, or torch warns
        return torch.sparse_coo_tensor(both, 1 / degree[both[0]]) - torch.sparse_coo_tensor(
            diagonal, torch.ones(len(degree))
        )


def _edge_faces(faces: Tensor) -> Tensor:
    """For each edge of a closed manifold mesh: its two vertices, then the opposite vertex in either face.

    trimesh's ``face_adjacency`` lists the same edges in another order, in which a sum over them is rounded otherwise.
    """
    opposite: dict[tuple[int, int], list[int]] = {}
    for a, b, c in faces.tolist():
        for u, v, other in ((a, b, c), (b, c, a), (c, a, b)):
            opposite.setdefault((min(u, v), max(u, v)), []).append(other)
    return torch.tensor([[u, v, *others] for (u, v), others in opposite.items()])
