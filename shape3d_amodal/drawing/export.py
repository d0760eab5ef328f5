"""Mesh files that every 3D viewer opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from shape3d_amodal.drawing.overlays import BLUE, Color
from shape3d_amodal.files.atomic import write_atomic


def write_glb(
    path: str | Path, verts: NDArray[np.float32], faces: NDArray[np.int64], *, color: Color = BLUE, name: str = "object"
) -> None:
    """Write one mesh as binary glTF; its folder must exist.

    Args:
        verts: [V,3] float32, object frame (y up, front +z, as in glTF). Stored to the bit, in their order.
        faces: [F,3] int.
        color: of the whole mesh, RGB.
        name: of the mesh in the file.

    Raises:
        DataError: the file cannot be written.
    """
    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=[*color, 255], metallicFactor=0.0, roughnessFactor=0.8, doubleSided=True
    )
    mesh = trimesh.Trimesh(np.asarray(verts), np.asarray(faces), process=False)
    mesh.visual = trimesh.visual.TextureVisuals(material=material)
    scene = trimesh.Scene()
    scene.add_geometry(mesh, node_name=name, geom_name=name)
    write_atomic(path, scene.export(file_type="glb"))
