"""Files that went wrong in other tools, with the right values worked out by hand or by shapely."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.parsers import read_mesh_file
from shape3d_amodal.meshes.sources import mesh_folder

CASES = Path(__file__).resolve().parents[1] / "cases"


@pytest.mark.parametrize(
    ("name", "area", "right"),
    [
        ("concave_polygon_faces/u.obj", 7, 3),
        ("concave_polygon_faces/u.ply", 7, 3),
        ("concave_polygon_faces/arrow_bad.obj", 1, 2),
        ("concave_polygon_faces/arrow_good.obj", 1, 2),
        ("concave_polygon_faces/arrow.off", 1, 2),
        ("glb_normalized_integers/normalized.glb", 2, 3),
        ("glb_normalized_integers/plain.glb", 2, 3),
        ("glb_required_extensions/instancing.glb", 3, 7),
        ("glb_triangle_fans/triangles_and_fan.glb", 2, 6),
        ("glb_triangle_fans/triangles_and_strip.glb", 2, 6),
        ("binary_ply_mixed_polygons/quad_triangle_le.ply", 1.5, 2),
        ("binary_ply_mixed_polygons/quad_triangle_be.ply", 1.5, 2),
        ("binary_ply_mixed_polygons/trailing.ply", 1, 1),
        ("off_variants/comment_behind_data.off", 1, 1),
        ("off_variants/noff.off", 1, 1),
        ("off_variants/stoff.off", 1, 1),
        ("obj_comment_ends_with_backslash/comment.obj", 0.5, 1),
        ("obj_byte_order_mark/bom.obj", 4, 4),
        ("empty_and_null_values/primitive_without_positions.glb", 1, 1),
    ],
)
def test_case(name: str, area: float, right: float) -> None:
    """The area, and how far to the right the used corners reach."""
    mesh = read_mesh_file(CASES / name)
    corners = mesh.verts[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.linalg.norm(normals, axis=1).sum() / 2 == pytest.approx(area, rel=1e-4)
    assert corners[..., 0].max() == pytest.approx(right, rel=1e-4)


@pytest.mark.parametrize("name", ["meshopt_fallback.glb", "meshopt_one_buffer.glb"])
def test_compressed_arrays_are_named(name: str) -> None:
    with pytest.raises(DataError, match="EXT_meshopt_compression"):
        read_mesh_file(CASES / "glb_required_extensions" / name)


def test_the_comment_swallows_no_vertex() -> None:
    mesh = read_mesh_file(CASES / "obj_comment_ends_with_backslash/comment.obj")
    np.testing.assert_array_equal(mesh.verts[mesh.faces[0]][:, :2], [[0, 0], [1, 0], [1, 1]])


def test_what_is_left_out_is_said() -> None:
    mesh = read_mesh_file(CASES / "empty_and_null_values/primitive_without_positions.glb")
    assert mesh.notes == ("1 primitive without POSITION left out",)


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ({}, {"chair/b.obj": "chair"}),
        ({"table": "store/table"}, {"chair/b.obj": "chair", "table/a/model.obj": "table"}),
        ({"table": "store/table/a"}, {"chair/b.obj": "chair", "table/model.obj": "table"}),
        ({"chair/more": "store/chair"}, {"chair/b.obj": "chair", "chair/more/a/model.obj": "chair"}),
        ({"chair/c.obj": "store/chair/a/model.obj"}, {"chair/b.obj": "chair", "chair/c.obj": "chair"}),
        ({"04379243": "store/table"}, {"04379243/a/model.obj": "table", "chair/b.obj": "chair"}),
    ],
)
def test_categories_behind_links(links: dict[str, str], expected: dict[str, str], tmp_path: Path) -> None:
    root = tmp_path / "meshes"
    for name in ("meshes/chair/b.obj", "store/chair/a/model.obj", "store/table/a/model.obj"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    for name, target in links.items():
        (root / name).symlink_to(tmp_path / target)
    source = mesh_folder(root)
    assert {name: source.category(name) for name in source.names} == expected
    assert source.skipped == {}
    assert all(len(source.load(name).faces) == 1 for name in source.names)


def test_all_categories_behind_links(tmp_path: Path) -> None:
    for name in ("chair", "table"):
        (tmp_path / "store" / name).mkdir(parents=True)
        (tmp_path / "store" / name / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
        (tmp_path / "meshes").mkdir(exist_ok=True)
        (tmp_path / "meshes" / name).symlink_to(tmp_path / "store" / name)
    assert mesh_folder(tmp_path / "meshes").names == ("chair/a.obj", "table/a.obj")
