"""Meshes made of boxes, and a source of them: small, known to the last corner, and asymmetric where that matters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shape3d_amodal.meshes.mesh import Mesh

Box = tuple[tuple[float, float, float], tuple[float, float, float]]
_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
_QUADS = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
_FACES = np.array([face for a, b, c, d in _QUADS for face in ((a, b, c), (a, c, d))])

CHAIR: tuple[Box, ...] = (
    ((-0.5, 0.9, -0.5), (0.5, 1.0, 0.5)),
    ((-0.5, 1.0, -0.5), (0.5, 2.0, -0.4)),
    ((-0.5, 0.0, -0.5), (-0.4, 0.9, -0.4)),
    ((0.4, 0.0, -0.5), (0.5, 0.9, -0.4)),
    ((-0.5, 0.0, 0.4), (-0.4, 0.9, 0.5)),
    ((0.4, 0.0, 0.4), (0.5, 0.9, 0.5)),
)
ARMCHAIR: tuple[Box, ...] = (*CHAIR, ((0.4, 1.0, -0.5), (0.5, 1.5, 0.5)))
"""One arm only, on its own left (+x): a mirrored picture of it differs."""
PARTS: dict[str, tuple[Box, ...]] = {
    "chair/four_legs": CHAIR,
    "chair/one_arm": ARMCHAIR,
    "dresser/box": (((-0.5, 0.0, -0.3), (0.5, 1.2, 0.3)),),
    "sofa/bench": (((-1.0, 0.0, -0.4), (1.0, 0.4, 0.4)), ((-1.0, 0.4, -0.4), (1.0, 0.9, -0.2))),
    "table/one_leg": (((-0.8, 0.7, -0.5), (0.8, 0.8, 0.5)), ((-0.1, 0.0, -0.1), (0.1, 0.7, 0.1))),
    "lamp/pole": (((-0.03, 0.0, -0.03), (0.03, 1.5, 0.03)), ((-0.2, 1.2, -0.2), (0.2, 1.6, 0.2))),
}


def box_mesh(parts: Sequence[Box], name: str = "mesh", category: str = "chair") -> Mesh:
    """The boxes (low, high) as one mesh in the object frame; every box has a colour of its own."""
    low, high = (np.array([part[end] for part in parts], float)[:, None] for end in (0, 1))
    verts = (low + _CORNERS * (high - low)).reshape(-1, 3)
    faces = (_FACES + 8 * np.arange(len(parts))[:, None, None]).reshape(-1, 3)
    verts -= (verts.min(axis=0) + verts.max(axis=0)) / 2
    verts /= np.linalg.norm(verts.max(axis=0) - verts.min(axis=0))
    colors = np.repeat(np.random.default_rng(0).integers(0, 256, (len(parts), 3), dtype=np.uint8), len(_FACES), axis=0)
    return Mesh(name, category, verts.astype(np.float32), faces.astype(np.int32), colors)


class BoxMeshes:
    """A ``MeshSource`` in memory."""

    def __init__(self, names: Sequence[str] = tuple(PARTS)) -> None:
        self.names = tuple(names)
        self._meshes = {name: box_mesh(PARTS[name], name, name.partition("/")[0]) for name in names}

    def category(self, name: str) -> str:
        return self._meshes[name].category

    def load(self, name: str) -> Mesh:
        return self._meshes[name]


def write_obj(path: Path, mesh: Mesh) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x} {y} {z}" for x, y, z in mesh.verts.tolist()]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in mesh.faces.tolist()]
    path.write_text("\n".join(lines) + "\n")
