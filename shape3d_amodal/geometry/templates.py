"""Template meshes: an icosphere with its mirror symmetry and its Laplacian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pytorch3d.ops import laplacian
from pytorch3d.utils import ico_sphere
from torch import Tensor


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

    Trained weights belong to the order of PyTorch3D's vertices; trimesh has another one, and another icosahedron.
    """
    sphere = ico_sphere(level)
    verts, faces = sphere.verts_packed(), sphere.faces_packed()
    mirrored = verts * verts.new_tensor([-1.0, 1.0, 1.0])
    distance, mirror = torch.cdist(mirrored, verts, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
    assert float(distance.max()) < 1e-4, "the icosphere is symmetric about x = 0"
    with torch.sparse.check_sparse_tensor_invariants(True):  # said outright, or torch warns at each import
        smoothing = laplacian(verts, sphere.edges_packed())
    return Template(verts, faces, mirror, smoothing, _edge_faces(faces))


def symmetrize(verts: Tensor, mirror: Tensor) -> Tensor:
    """The mirror-symmetric part of vertices [...,V,3]: each is averaged with the reflection of its mirror vertex."""
    reflected = verts[..., mirror, :] * verts.new_tensor([-1.0, 1.0, 1.0])
    return (verts + reflected) / 2


def _edge_faces(faces: Tensor) -> Tensor:
    """For each edge of a closed manifold mesh: its two vertices, then the opposite vertex in either face.

    trimesh's ``face_adjacency`` lists the same edges in another order, in which a sum over them is rounded otherwise.
    """
    opposite: dict[tuple[int, int], list[int]] = {}
    for a, b, c in faces.tolist():
        for u, v, other in ((a, b, c), (b, c, a), (c, a, b)):
            opposite.setdefault((min(u, v), max(u, v)), []).append(other)
    return torch.tensor([[u, v, *others] for (u, v), others in opposite.items()])
