"""What pose scores know of a model: from BOP's list, or from the mesh itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bop_set import MODELS_INFO, edit, write_bop, write_ply
from boxes import box_mesh, write_obj

from shape3d_amodal.errors import DataError
from shape3d_amodal.geometry.templates import icosphere
from shape3d_amodal.meshes.mesh import Mesh
from shape3d_amodal.meshes.pose_models import read_pose_model


def test_bops_list_counts(tmp_path: Path) -> None:
    write_bop(tmp_path)
    edit(tmp_path / "models_eval" / "models_info.json", lambda info: info["1"].update(diameter=7))
    model = read_pose_model(tmp_path / "models_eval" / "obj_000001.ply")
    assert model.diameter == 7 and model.is_symmetric and len(model.symmetries) == 2
    np.testing.assert_array_equal(np.abs(model.points), np.ones((8, 3)))
    assert not read_pose_model(tmp_path / "models_eval" / "obj_000002.ply").is_symmetric
    assert list(MODELS_INFO) == ["1", "2"]


@pytest.mark.parametrize("name", ["cube.ply", "obj_000003.ply"])
def test_what_it_does_not_list_is_measured(tmp_path: Path, name: str) -> None:
    """A cube of side 2 has 24 rotations, and 2 sqrt(3) from corner to corner."""
    write_bop(tmp_path)
    write_ply(tmp_path / "models_eval" / name)
    model = read_pose_model(tmp_path / "models_eval" / name)
    assert len(model.symmetries) == 24 and model.diameter == pytest.approx(2 * 3**0.5)


def test_coordinates_are_those_of_the_file(tmp_path: Path) -> None:
    """Neither centred nor scaled, without vertices that no face has; a chair's side of 3, 4 and 12 measures 13."""
    mesh = box_mesh([((0, 0, 0), (3, 4, 12))])
    verts = mesh.verts * 13 + np.array([100, 0, 0])
    write_obj(tmp_path / "a.obj", Mesh("a", "a", verts, mesh.faces, mesh.colors))
    (tmp_path / "a.obj").write_text("v 999 999 999\n" + "\n".join(_shifted(tmp_path / "a.obj")))
    model = read_pose_model(tmp_path / "a.obj")
    assert model.diameter == pytest.approx(13, rel=1e-5)
    np.testing.assert_allclose(sorted({round(x, 2) for x in model.points[:, 0]}), [98.5, 101.5])


def _shifted(path: Path) -> list[str]:
    """The lines of an OBJ file, each vertex one number later."""
    lines = path.read_text().splitlines()
    return [
        line if line[0] == "v" else "f " + " ".join(str(int(one) + 1) for one in line.split()[1:]) for line in lines
    ]


def test_the_diameter_of_many_points(tmp_path: Path) -> None:
    sphere = icosphere(4)  # 2562 points
    verts, faces = sphere.verts.numpy() * np.float32(5), sphere.faces.numpy().astype(np.int32)
    write_obj(tmp_path / "a.obj", Mesh("a", "a", verts, faces, np.zeros((len(faces), 3), np.uint8)))
    assert read_pose_model(tmp_path / "a.obj").diameter == pytest.approx(10, rel=1e-3)


def test_a_mesh_without_extent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 1 2 3\nv 1 2 3\nv 1 2 3\nf 1 2 3\n")
    with pytest.raises(DataError, match=r"a.obj: expected a mesh with an extent, all its vertices coincide"):
        read_pose_model(tmp_path / "a.obj")
