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
    assert listed["skipped"]["chair/empty.obj"] == "expected a mesh, got an empty file; replace it"
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


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_was_left_out_is_listed(
    workers: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / "chair" / "good.obj").open("a") as file:
        file.write("l 1 2\nl 2 3\np 1\n")
    out = tmp_path / "meshes.json"
    assert main(["meshes", "--meshes", str(folder), "--out", str(out), "--workers", workers]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"2 meshes in 2 categories; 3 cannot be used; 1 read with notes: {out}\n"
    assert printed.err == ""
    expected = {"chair/good.obj": ["2 statements of lines left out", "1 statement of points left out"]}
    listed = json.loads(out.read_text())
    assert listed["notes"] == expected
    source = mesh_source(str(out))
    assert source.manifest()["notes"] == {}  # of a source, the notes of what it has loaded
    for name in source.names:
        source.load(name)
    assert source.manifest()["notes"] == expected


def test_links_are_counted_apart_and_one_is_no_plural(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out, again = tmp_path / "meshes", tmp_path / "meshes.json", tmp_path / "again.json"
    write_obj(root / "chair" / "good.obj", box_mesh(CHAIR))
    for name in ("loop", "another"):
        (root / "chair" / name).symlink_to(root)
    command = ["meshes", "--out"]
    assert main([*command, str(out), "--meshes", str(root)]) == 0
    links = "2 links or other entries passed over"
    assert capsys.readouterr().out == f"1 mesh in 1 category; 0 cannot be used; {links}: {out}\n"
    assert main([*command, str(out), "--meshes", str(root), "--strict"]) == 3
    assert capsys.readouterr().err.endswith(f"(0 cannot be used; {links}; see {out})\n")
    (root / "chair" / "another").unlink()
    (root / "chair" / "bad.obj").write_text("")
    for source, listed in ((root, out), (out, again)):  # what a list leaves out is told as before
        assert main([*command, str(listed), "--meshes", str(source)]) == 0
        one = f"1 cannot be used; 1 link or other entry passed over: {listed}"
        assert capsys.readouterr().out == f"1 mesh in 1 category; {one}\n"
        assert json.loads(listed.read_text())["unusable"] == ["chair/bad.obj"]
        assert main([*command, str(listed), "--meshes", str(source), "--strict"]) == 3
        assert capsys.readouterr().err.startswith("error: chair/bad.obj: expected a mesh, got an empty file")
    (root / "chair" / "good.obj").write_text("")
    assert main([*command, str(out), "--meshes", str(root)]) == 3
    assert (
        "none of 2 meshes can be used, such as chair/bad.obj (expected a mesh, got an empty" in capsys.readouterr().err
    )


def test_a_list_of_an_older_version_has_no_notes(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "meshes.json"
    assert main(["meshes", "--meshes", str(folder), "--out", str(out)]) == 0
    listed = json.loads(out.read_text())
    del listed["notes"]
    out.write_text(json.dumps(listed))
    assert len(mesh_source(str(out)).names) == 2


def test_nothing_usable_is_one_line_and_status_3(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("chair", "dresser"):
        (folder / name / "good.obj").unlink()
    out = tmp_path / "meshes.json"
    assert main(["meshes", "--meshes", str(folder), "--out", str(out)]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith(f"error: {folder}: none of 3 meshes can be used, such as chair/empty.obj (expected a mesh")
    assert line.endswith(f"; see {out}")
    assert len(json.loads(out.read_text())["skipped"]) == 3
    assert main(["meshes", "--meshes", str(out), "--out", str(tmp_path / "again.json")]) == 3


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
    with (folder / "chair" / "good.obj").open("a") as file:
        file.write("l 1 2\n")
    command = ["scenes", "--meshes", str(folder), "--out", str(tmp_path / "out")]
    options = ["--set", "scenes.image_size=64", "per_category=3"]
    assert main([*command, "--strict", *options]) == 3
    assert not (tmp_path / "out").exists()
    assert main([*command, *options]) == 0
    listed = json.loads((tmp_path / "out" / "meshes.json").read_text())
    assert listed["notes"] == {"chair/good.obj": ["1 statement of lines left out"]}
    assert set(listed["skipped"]) <= {"chair/empty.obj", "chair/zero.obj", "dresser/cut.glb"}
    assert listed["skipped"]
    annotations = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert {one["mesh"] for one in annotations["annotations"]} == {"chair/good.obj", "dresser/good.obj"}


def test_meshes_of_other_formats_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out, again = tmp_path / "meshes", tmp_path / "meshes.json", tmp_path / "again.json"
    write_obj(root / "chair" / "good.obj", box_mesh(CHAIR))
    (root / "chair" / "other.stl").write_text("solid")
    for source, listed in ((root, out), (out, again)):
        assert main(["meshes", "--meshes", str(source), "--out", str(listed)]) == 0
        told = f"1 mesh in 1 category; 0 cannot be used; 1 mesh of other formats not read: {listed}\n"
        assert capsys.readouterr().out == told
        why = "not a format that is read; convert it to .glb or .obj"
        assert json.loads(listed.read_text())["skipped"] == {"chair/other.stl": why}
