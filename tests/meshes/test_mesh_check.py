"""Mesh sources checked once, and what scenes make of a source with bad meshes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from boxes import CHAIR, PARTS, box_mesh, write_obj

from shape3d_amodal.cli import main
from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.sources import mesh_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good meshes and three bad ones."""
    root = tmp_path / "meshes"
    write_obj(root / "chair" / "good.obj", box_mesh(CHAIR))
    write_obj(root / "dresser" / "good.obj", box_mesh(PARTS["dresser/box"]))
    (root / "chair" / "empty.obj").write_text("")
    (root / "chair" / "zero.obj").write_text("v 0 0 0\nf 0 0 0\n")
    (root / "dresser" / "cut.glb").write_bytes(b"glTF")
    return root


def test_the_list_is_a_source_without_what_cannot_be_used(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "meshes.json"
    assert main(["meshes", "--meshes", str(folder), "--out", str(out)]) == 0
    assert "2 meshes in 2 categories; 3 cannot be used" in capsys.readouterr().out
    listed = json.loads(out.read_text())
    assert (listed["usable"], listed["meshes"]) == (2, 5)
    assert list(listed["skipped"]) == ["chair/empty.obj", "chair/zero.obj", "dresser/cut.glb"]
    assert "at least one face" in listed["skipped"]["chair/empty.obj"]
    assert "line 2" in listed["skipped"]["chair/zero.obj"]
    assert listed["object_frame"].startswith("up +y, front +z")
    source = mesh_source(str(out), strict=True)
    assert list(source.names) == ["chair/good.obj", "dresser/good.obj"]
    assert all(len(source.load(name).faces) for name in source.names)
    assert source.manifest()["skipped"] == listed["skipped"]
    write_obj(folder / "dresser" / "another.obj", box_mesh(CHAIR))
    with pytest.raises(DataError, match="has changed since it was checked"):
        mesh_source(str(out))


def test_strict(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "meshes.json"
    assert main(["meshes", "--meshes", str(folder), "--out", str(out), "--strict"]) == 3
    assert "chair/empty.obj" in capsys.readouterr().err
    assert json.loads(out.read_text())["usable"] == 2


@pytest.mark.parametrize(
    ("out", "status", "message"),
    [
        ("list.txt", 2, "--out: expected a name that ends with .json"),
        ("chair/good.obj/a.json", 3, "cannot make the folder"),
    ],
)
def test_where_the_list_goes_is_known_before_meshes_are_read(
    out: str, status: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["meshes", "--meshes", str(folder), "--out", str(folder / out)]) == status
    assert message in capsys.readouterr().err
    assert main(["meshes", "--meshes", str(folder), "--out", str(folder / "new" / "folder" / "a.json")]) == 0


@pytest.mark.parametrize("content", ["[]", "{}", '{"source": 3}', '{"source": "other.json", "skipped": {}}'])
def test_other_json_is_no_source(content: str, tmp_path: Path) -> None:
    (tmp_path / "meshes.json").write_text(content)
    with pytest.raises(DataError, match=r"meshes\.json: expected what"):
        mesh_source(str(tmp_path / "meshes.json"))


def test_a_benchmark_set_lists_what_it_passed_over(folder: Path, tmp_path: Path) -> None:
    command = ["scenes", "--meshes", str(folder), "--out", str(tmp_path / "out")]
    options = ["--set", "scenes.image_size=64", "per_category=3"]
    assert main([*command, "--strict", *options]) == 3
    assert not (tmp_path / "out").exists()
    assert main([*command, *options]) == 0
    listed = json.loads((tmp_path / "out" / "meshes.json").read_text())
    assert set(listed["skipped"]) <= {"chair/empty.obj", "chair/zero.obj", "dresser/cut.glb"}
    assert listed["skipped"]
    annotations = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert {one["mesh"] for one in annotations["annotations"]} == {"chair/good.obj", "dresser/good.obj"}
