from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import ARMCHAIR, PARTS, box_mesh, write_obj

from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.files.atomic import write_json_atomic
from shape3d_amodal.meshes import mesh as mesh_module
from shape3d_amodal.meshes.check import check_meshes
from shape3d_amodal.meshes.mesh import FileMeshes, Frame, MeshFile, UnusableMeshError, read_mesh
from shape3d_amodal.meshes.sources import CATEGORIES, OPEN13, SYNSETS, mesh_folder, mesh_source, open13, source_paths
from shape3d_amodal.scenes.compose import SceneConfig, make_scene

TRIANGLE = "v 0 0 0\nv 4 0 0\nv 0 3 0\nf 1 2 3\n"


def test_mesh_is_brought_into_the_object_frame(tmp_path: Path) -> None:
    """A 3-4-5 triangle: centred, diagonal 1, neither turned nor mirrored; a vertex that no face uses has no say."""
    (tmp_path / "a.obj").write_text("v 100 100 100\n" + TRIANGLE.replace("f 1 2 3", "f 2 3 4"))
    mesh = read_mesh(MeshFile("chair", tmp_path / "a.obj"), name="a")
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
    back = read_mesh(MeshFile("chair", tmp_path / "a.obj"), name="a")
    np.testing.assert_allclose(back.verts[back.faces], mesh.verts[mesh.faces], atol=1e-6)


def test_mesh_without_extent(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 1 2 3\nv 1 2 3\nv 1 2 3\nf 1 2 3\n")
    with pytest.raises(DataError, match=r"a\.obj"):
        read_mesh(MeshFile("chair", tmp_path / "a.obj"), name="a")


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


def test_no_source() -> None:
    with pytest.raises(UsageError, match="meshes: expected a source"):
        mesh_source("")


@pytest.mark.parametrize(("path", "message"), [("missing", "expected a folder"), (".", "found none")])
def test_folder_without_meshes(path: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no mesh")
    with pytest.raises(DataError, match=message):
        mesh_folder(tmp_path / path)


def test_meshes_are_kept_in_memory_up_to_a_size(box_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = mesh_folder(box_folder)
    first, second, third = source.names[:3]
    sizes = {name: mesh_folder(box_folder).load(name).nbytes for name in (first, second, third)}
    monkeypatch.setattr(mesh_module, "_KEPT_BYTES", max(sizes[first] + sizes[second], sizes[first] + sizes[third]))
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


def test_open13_alone_is_all_of_it() -> None:
    source = mesh_source("open13")
    with (OPEN13 / "index.tsv").open() as lines:
        rows = [line.split("\t") for line in lines][1:]
    assert sorted(source.names) == sorted(f"{category}/{name}" for category, name, *_ in rows)
    assert source.manifest()["source"] == "open13"


@pytest.mark.parametrize("spec", ["open13:", "open13:all", "open13:train+"])
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


def with_bad_ones(folder: Path) -> Path:
    """Two good chairs, one of them in a file that is no mesh, and a category in which nothing can be used."""
    write_obj(folder / "chair" / "good.obj", box_mesh(ARMCHAIR))
    write_obj(folder / "dresser" / "good.obj", box_mesh(PARTS["dresser/box"]))
    (folder / "chair" / "bad.obj").write_text("v 0 0 0\n")
    (folder / "void").mkdir()
    (folder / "void" / "bad.off").write_text("OFF")
    return folder


def test_a_bad_mesh_is_always_unusable_and_a_strict_source_says_it_plainly(tmp_path: Path) -> None:
    source = mesh_source(str(with_bad_ones(tmp_path)))
    for _ in range(2):
        with pytest.raises(UnusableMeshError, match=r"chair/bad\.obj: faces: expected at least one face"):
            source.load("chair/bad.obj")
    with pytest.raises(DataError, match="at least one face") as caught:
        mesh_source(str(tmp_path), strict=True).load("chair/bad.obj")
    assert not isinstance(caught.value, UnusableMeshError)


def test_scenes_pass_over_bad_meshes_whatever_was_drawn_before(tmp_path: Path) -> None:
    config = SceneConfig(image_size=32)
    folder = str(with_bad_ones(tmp_path))

    def picture(source: FileMeshes, index: int) -> bytes:
        return make_scene(source, config, 0, index).image.tobytes()

    forwards, backwards = mesh_source(folder), mesh_source(folder)
    one = [picture(forwards, k) for k in range(6)]
    assert [picture(backwards, k) for k in reversed(range(6))] == one[::-1]
    used = {one.mesh for k in range(6) for one in make_scene(forwards, config, 0, k).instances}
    assert used == {"chair/good.obj", "dresser/good.obj"}
    with pytest.raises(DataError, match=r"bad\.(obj|off).*"):
        for k in range(6):
            make_scene(mesh_source(folder, strict=True), config, 0, k)


def test_a_category_in_which_nothing_can_be_used_ends_in_an_error(tmp_path: Path) -> None:
    source = mesh_source(str(with_bad_ones(tmp_path)))
    with pytest.raises(DataError, match=r"void/bad\.off.*none of 100 meshes drawn can be used"):
        make_scene(source, SceneConfig(image_size=32), 0, 0, target_category="void")


@pytest.mark.parametrize(
    ("up", "front", "expected"),
    [
        ("+y", "+z", [1, 2, 3]),
        ("+y", "+x", [-3, 2, 1]),  # ShapeNet v1: what lies in front (x) comes to z
        ("+y", "-z", [-1, 2, -3]),  # ShapeNet v2
        ("+z", "-y", [1, 3, -2]),  # Blender
        ("+z", "+x", [2, 3, 1]),  # robots
    ],
)
def test_frames(up: str, front: str, expected: list[int]) -> None:
    rotation = Frame(up, front).rotation
    np.testing.assert_array_equal(rotation @ [1, 2, 3], expected)
    assert np.linalg.det(rotation) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [("up=w", "up: expected one of"), ("up=+z", "different axes"), ("left=x", "unknown option 'left'")],
)
def test_frames_that_are_none(options: str, message: str, box_folder: Path) -> None:
    with pytest.raises(UsageError, match=message):
        mesh_source(f"{box_folder}?{options}")


@pytest.mark.parametrize("options", ["up=+z&front=-y", "up=z&front=-y"])
def test_a_folder_in_another_frame(options: str, tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 4 0 0\nv 0 0 3\nf 1 2 3\n")  # 3 high, 4 wide, z up
    source = mesh_source(f"{tmp_path}?{options}")
    np.testing.assert_allclose(np.ptp(source.load("a.obj").verts, axis=0), [0.8, 0.6, 0], atol=1e-6)
    assert source.manifest()["file_frames"] == {"up +z, front -y": 1}


def test_manifest_and_listing(tmp_path: Path, box_folder: Path) -> None:
    manifest = mesh_source(str(box_folder)).manifest()
    assert manifest["meshes"] == len(PARTS)
    assert manifest["categories"] == {"chair": 2, "dresser": 1, "lamp": 1, "sofa": 1, "table": 1}
    assert manifest["skipped"] == {}
    for name in PARTS:  # a copy elsewhere has the same listing, one with another mesh has not
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.obj").write_bytes((box_folder / f"{name}.obj").read_bytes())
    assert mesh_source(str(tmp_path)).listing_sha256() == manifest["listing_sha256"]
    (tmp_path / "chair" / "one_arm.obj").write_text(TRIANGLE)
    assert mesh_source(str(tmp_path)).listing_sha256() != manifest["listing_sha256"]


def test_notes_are_kept_and_the_first_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"chair/{k}.obj" for k in range(6)]
    for k, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(TRIANGLE + "l 1 2\n" * k)
    source = mesh_folder(tmp_path)
    for name in (*names, *names):
        source.load(name)
    several = {f"chair/{k}.obj": (f"{k} statements of lines left out",) for k in range(2, 6)}
    assert source.notes == {"chair/1.obj": ("1 statement of lines left out",), **several}
    assert source.load("chair/2.obj").notes == source.notes["chair/2.obj"]
    told = [record.getMessage() for record in caplog.records]
    assert [f"chair/{k}.obj" in line for k, line in enumerate(told[:3], 1)] == [True] * 3
    assert told[3:] == [f"more meshes of {tmp_path} have notes; `shape3d-amodal meshes` lists them all"]
    source.notes = {}  # a new list tells again of meshes that are already in memory
    source.load("chair/1.obj")
    assert list(source.notes) == ["chair/1.obj"]


@pytest.mark.parametrize(
    ("spec", "places"),
    [
        ("open13", []),
        ("open13:train+val", []),
        ("shapenet:/data/Core", ["/data/Core"]),
        ("shapenet13:/data/Core:test", ["/data/Core"]),
        ("shapenet:/data/a:b:train+val", ["/data/a:b"]),
        ("shapenet:/data/a:b", ["/data/a:b"]),
        ("my/meshes", ["my/meshes"]),
        ("my/meshes?up=+z&front=-y", ["my/meshes"]),
    ],
)
def test_where_the_meshes_of_a_source_lie(spec: str, places: list[str]) -> None:
    """Whether there is anything or not."""
    assert source_paths(spec) == [Path(place) for place in places]


def test_where_the_meshes_of_a_list_lie(box_folder: Path, tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "list.json", check_meshes(f"{box_folder}?up=+z&front=-y"))
    assert source_paths(str(tmp_path / "list.json")) == [tmp_path / "list.json", box_folder]
    (tmp_path / "other.json").write_text('{"source": 3, "skipped": {}}')
    with pytest.raises(DataError, match="expected what `shape3d-amodal meshes` writes, got other JSON"):
        source_paths(str(tmp_path / "other.json"))
