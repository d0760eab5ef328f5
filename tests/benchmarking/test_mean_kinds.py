"""The mean mask and the mean shape as methods of a benchmark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dresser import BAR, PICTURE, RECORD, VISIBLE

from shape3d_amodal import masks
from shape3d_amodal.baselines.mean_shape import MeanShapes
from shape3d_amodal.benchmarking.methods import BuiltOptions, method_options
from shape3d_amodal.meshes.mesh import MeshFile, read_mesh
from shape3d_amodal.meshes.parsers import read_mesh_file
from shape3d_amodal.meshes.sources import mesh_source


@pytest.mark.parametrize("kind", ["mean_mask", "mean_shape"])
def test_what_is_visible_is_kept_and_known_background_left_out(kind: str, box_folder: Path) -> None:
    options = method_options({"kind": kind, "meshes": str(box_folder)}, source="methods.mean")
    assert isinstance(options, BuiltOptions)
    method = options.build({1: "dresser", 2: "occluder"}, "cpu")
    (result,) = method.complete(PICTURE, RECORD)
    found = masks.decode(result.segmentation)
    assert found[VISIBLE].all() and not found[~VISIBLE & ~BAR].any()
    assert method.parameters == 0
    assert len(options.inputs()) == 1
    assert replace(options, meshes="open13:val").inputs() != options.inputs()


def test_the_mean_shape_is_posed_and_not_deformed(box_folder: Path, tmp_path: Path) -> None:
    """However little it explains, such as of a cross."""
    cross = np.zeros((64, 64), bool)
    cross[5:34, 28:36] = cross[15:20, 10:50] = True
    first, bar = RECORD.instances
    record = replace(RECORD, instances=(replace(first, visible=masks.encode(cross)), bar))
    options = method_options({"kind": "mean_shape", "meshes": str(box_folder)}, source="methods.mean")
    assert isinstance(options, BuiltOptions)
    method = options.build({1: "dresser", 2: "occluder"}, "cpu")
    method.meshes = tmp_path
    method.complete(PICTURE, record)
    mesh = MeanShapes(mesh_source(str(box_folder))).load("dresser")
    found = read_mesh_file(tmp_path / "3_1.obj")
    np.testing.assert_allclose(found.verts, mesh.verts, atol=1e-5)


def test_the_mean_shape_has_a_viewpoint_and_leaves_its_mesh(box_folder: Path, tmp_path: Path) -> None:
    options = method_options({"kind": "mean_shape", "meshes": str(box_folder)}, source="methods.mean")
    assert isinstance(options, BuiltOptions)
    method = options.build({1: "dresser", 2: "occluder"}, "cpu")
    method.meshes = tmp_path / "meshes"
    method.meshes.mkdir()
    (result,) = method.complete(PICTURE, RECORD)
    assert result.viewpoint is not None and 0 <= result.viewpoint["azimuth_deg"] < 360
    assert result.mesh is not None
    mesh = read_mesh(MeshFile("", tmp_path / result.mesh), name=result.mesh)
    sides = np.ptp(mesh.verts, axis=0)
    np.testing.assert_allclose(sides / sides.max(), [1 / 1.2, 1, 0.6 / 1.2], atol=0.06)
