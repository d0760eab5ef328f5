from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import ARMCHAIR, PARTS, box_mesh, write_obj

from shape3d_amodal.data import meshes
from shape3d_amodal.data.meshes import CATEGORIES, SYNSETS, FileMeshes, mesh_folder, mesh_source, open13, read_mesh
from shape3d_amodal.errors import DataError

TRIANGLE = "v 0 0 0\nv 4 0 0\nv 0 3 0\nf 1 2 3\n"


def test_mesh_is_brought_into_the_object_frame(tmp_path: Path) -> None:
    """A 3-4-5 triangle: centred, diagonal 1, neither turned nor mirrored; a vertex that no face uses has no say."""
    (tmp_path / "a.obj").write_text("v 100 100 100\n" + TRIANGLE.replace("f 1 2 3", "f 2 3 4"))
    mesh = read_mesh(tmp_path / "a.obj", name="a", category="chair")
    assert (mesh.name, mesh.category) == ("a", "chair")
    corners = mesh.verts[mesh.faces[0]]
    np.testing.assert_allclose(corners, [[-0.4, -0.3, 0], [0.4, -0.3, 0], [-0.4, 0.3, 0]], atol=1e-6)
    assert mesh.verts.dtype == np.float32
    assert mesh.faces.dtype == np.int32
    assert mesh.colors.shape == (1, 3)
    assert mesh.colors.dtype == np.uint8


def test_mesh_read_back_equals_mesh_written(tmp_path: Path) -> None:
    mesh = box_mesh(ARMCHAIR)
    write_obj(tmp_path / "a.obj", mesh)
    back = read_mesh(tmp_path / "a.obj", name="a", category="chair")
    np.testing.assert_allclose(back.verts[back.faces], mesh.verts[mesh.faces], atol=1e-6)


def test_mesh_without_extent(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 1 2 3\nv 1 2 3\nv 1 2 3\nf 1 2 3\n")
    with pytest.raises(DataError, match=r"a\.obj"):
        read_mesh(tmp_path / "a.obj", name="a", category="chair")


def test_folder_names_and_categories(tmp_path: Path) -> None:
    for path in ("chair/b.obj", "chair/a.obj", "03001627/id/models/model_normalized.obj", "top.OBJ", "vase/readme.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(TRIANGLE)
    source = mesh_folder(tmp_path)
    found = {name: source.category(name) for name in source.names}
    assert found == {
        "03001627/id/models/model_normalized.obj": "chair",
        "chair/a.obj": "chair",
        "chair/b.obj": "chair",
        "top.OBJ": tmp_path.name,
    }
    assert list(source.names) == sorted(source.names)
    assert source.load("chair/a.obj").category == "chair"


@pytest.mark.parametrize(("path", "message"), [("missing", "expected a folder"), (".", "found none")])
def test_folder_without_meshes(path: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no mesh")
    with pytest.raises(DataError, match=message):
        mesh_folder(tmp_path / path)


def test_meshes_are_kept_in_memory_up_to_a_number(box_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meshes, "_KEPT", 2)
    source = mesh_folder(box_folder)
    first, second, third = source.names[:3]
    kept = source.load(second)
    assert source.load(second) is kept
    oldest = source.load(first)
    source.load(third)  # pushes out the second, which came first
    assert source.load(first) is oldest
    assert source.load(second) is not kept


def test_source_by_name(box_folder: Path) -> None:
    assert len(mesh_source(str(box_folder)).names) == len(PARTS)
    assert isinstance(mesh_source("open13:val"), FileMeshes)
    both = set(mesh_source("open13:train+val").names)
    assert both == set(open13("train").names) | set(open13("val").names)


@pytest.mark.parametrize("spec", ["open13", "open13:", "open13:all", "open13:train+"])
def test_unknown_split(spec: str) -> None:
    with pytest.raises(DataError, match="expected train, val, test or a sum of them"):
        mesh_source(spec)


def test_missing_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.tsv"):
        open13("train", tmp_path)


def test_the_13_categories() -> None:
    assert len(CATEGORIES) == len(set(CATEGORIES)) == len(set(SYNSETS.values())) == 13
    assert tuple(SYNSETS) == CATEGORIES
    assert SYNSETS["airplane"] == "02691156"
    assert SYNSETS["vessel"] == "04530566"
