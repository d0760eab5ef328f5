"""Folders behind links, and what in a folder cannot be read."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.check import check_meshes
from shape3d_amodal.meshes.folders import MAX_VISITS, list_folder
from shape3d_amodal.meshes.sources import mesh_folder, mesh_source

TRIANGLE = "v 0 0 0\nv 4 0 0\nv 0 3 0\nf 1 2 3\n"


def put(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TRIANGLE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of one mesh, beside a store that others can link to."""
    put(tmp_path / "meshes" / "chair" / "b.obj", tmp_path / "store" / "a" / "model.obj")
    return tmp_path / "meshes"


LINKS = {
    "itself": ("chair/self", ".", "a link to a folder in which it lies"),
    "its parent": ("chair/up", "..", "a link to a folder in which it lies"),
    "a parent of the root": ("chair/up", "../..", "a link to a folder in which it lies"),
    "the root of all": ("all", "/", "a link to a folder in which it lies"),
    "nowhere": ("chair/gone", "nowhere", "a link that leads nowhere (No such file or directory): 'nowhere'"),
    "a mesh that is gone": ("chair/gone.obj", "../nowhere.obj", "a link that leads nowhere"),
    "its own name": ("chair/ring.obj", "ring.obj", "a link that leads nowhere"),
    "a device": ("chair/zero.obj", "/dev/zero", "expected a regular file, got a pipe or device"),
}


@pytest.mark.parametrize("what", LINKS)
@pytest.mark.timeout(20)
def test_a_link_that_is_not_followed_is_listed(what: str, root: Path) -> None:
    name, target, why = LINKS[what]
    (root / name).symlink_to(target)
    source = mesh_folder(root)
    assert source.names == ("chair/b.obj",)
    assert list(source.skipped) == [name]
    assert source.skipped[name].startswith(why)
    assert source.manifest()["skipped"] == source.skipped


def test_links_to_files_and_a_linked_root_are_followed(root: Path) -> None:
    (root / "chair" / "c.obj").symlink_to("../../store/a/model.obj")
    (root.parent / "linked").symlink_to("meshes")
    source = mesh_folder(root.parent / "linked")
    assert source.names == ("chair/b.obj", "chair/c.obj")
    assert source.skipped == {}


def test_a_loop_over_two_links_ends(root: Path) -> None:
    (root / "table").symlink_to("../store")
    (root.parent / "store" / "a" / "back").symlink_to("../../meshes")
    source = mesh_folder(root)
    assert source.names == ("chair/b.obj", "table/a/model.obj")
    assert list(source.skipped) == ["table/a/back"]


def test_two_links_to_one_folder_are_two_categories(root: Path) -> None:
    for name in ("table", "bench"):
        (root / name).symlink_to("../store")
    source = mesh_folder(root)
    assert {name: source.category(name) for name in source.names} == {
        "bench/a/model.obj": "bench",
        "chair/b.obj": "chair",
        "table/a/model.obj": "table",
    }


@pytest.mark.timeout(30)
def test_a_web_of_links_ends(root: Path) -> None:
    """Three links in each of 25 folders to the next: 3^25 paths."""
    layers = [root.parent / f"layer{k}" for k in range(26)]
    put(*(layer / f"{k}.obj" for k, layer in enumerate(layers)))
    for here, following in pairwise(layers):
        for name in "xyz":
            (here / name).symlink_to(following)
    (root / "web").symlink_to(layers[0])
    source = mesh_folder(root)
    files = [name.rpartition("/")[2] for name in source.names]
    assert set(files) == {"b.obj", *(f"{k}.obj" for k in range(26))}
    assert max(map(files.count, files)) == MAX_VISITS
    whys = set(source.skipped.values())
    assert len(whys) == 23  # of all layers but the first three, to which 1, 3 and 9 links lead
    assert all(why.startswith(f"more than {MAX_VISITS} links lead to this folder") for why in whys)


def test_a_folder_is_found_by_its_own_name_however_many_links_lead_to_it(root: Path) -> None:
    for k in range(MAX_VISITS + 4):
        (root / f"a{k:02d}").symlink_to("chair")
    source = mesh_folder(root)
    assert "chair/b.obj" in source.names
    assert len(source.names) == 1 + MAX_VISITS
    assert list(source.skipped) == [f"a{k}" for k in range(MAX_VISITS, MAX_VISITS + 4)]


@pytest.mark.parametrize("seed", range(12))
def test_random_links_lead_to_what_find_sees(seed: int, tmp_path: Path) -> None:
    """Links from folders to later ones, so that there is no loop: the files of ``find -L``."""
    rng = np.random.default_rng(seed)
    folders = [tmp_path / "root", *(tmp_path / f"store{k % 2}" / f"f{k}" for k in range(6))]
    for k, folder in enumerate(folders):
        names = [f"{'ab.c'[: i + 1]}{k}{suffix}" for i, suffix in enumerate((".obj", ".PLY", ".txt", ""))]
        put(*(folder / name for name in names if rng.random() < 0.6), folder / "sub" / "x.glb")
        for other in folders[k + 1 :]:
            if rng.random() < 0.5:
                (folder / rng.choice(["", "sub"]) / f"to_{other.name}").symlink_to(other)
    found = subprocess.run(["find", "-L", folders[0], "-type", "f"], capture_output=True, text=True, check=True)
    paths = [Path(line).relative_to(folders[0]) for line in found.stdout.splitlines()]
    expected = [path.as_posix() for path in sorted(paths) if path.suffix.lower() in (".obj", ".ply", ".glb")]
    listing = list_folder(folders[0], (".obj", ".ply", ".glb"))
    assert list(listing.files) == expected
    assert listing.skipped == {}
    assert all(path.is_file() for path in listing.files.values())


def test_names_and_order_are_those_of_a_plain_search(tmp_path: Path) -> None:
    put(*(tmp_path / name for name in ("b/a.obj", "b-/a.obj", "b.obj/a.obj", ".hid/a.obj", "B/z/a.obj", "b/a/a.obj")))
    paths = (path for path in sorted(tmp_path.rglob("*")) if path.suffix == ".obj" and path.is_file())
    assert list(list_folder(tmp_path, (".obj",)).files.values()) == list(paths)


@pytest.fixture
def closed(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that cannot be read, by whomever."""
    folder = root / "locked"
    put(folder / "a.obj")
    scandir = os.scandir

    def refuse(path: str | os.PathLike[str]) -> object:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        yield folder


def test_a_folder_that_cannot_be_read_is_listed(closed: Path) -> None:
    source = mesh_folder(closed.parent)
    assert source.names == ("chair/b.obj",)
    assert source.skipped == {"locked": "cannot read the folder (Permission denied)"}
    with pytest.raises(DataError, match=r"locked: cannot read the folder \(Permission denied\); check its rights"):
        mesh_folder(closed)


def test_pipes_and_sockets_are_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)  # a socket's path must be short
    os.mkfifo("chair/pipe.obj")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("chair/socket.ply")
        assert list(mesh_folder(Path()).skipped) == ["chair/pipe.obj", "chair/socket.ply"]


def test_where_nothing_is_found_what_was_passed_over_is_told(tmp_path: Path) -> None:
    (tmp_path / "chair").symlink_to("moved")
    with pytest.raises(DataError, match=r"found none; 1 passed over, such as chair: a link that leads nowhere"):
        mesh_source(str(tmp_path))


def test_a_source_that_is_used_says_once_what_was_passed_over(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("sofa", "table"):
        (root / name).symlink_to("moved")
    source = mesh_folder(root)
    assert not caplog.records
    for _ in range(2):
        source.load("chair/b.obj")
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith("sofa: a link that leads nowhere")
    assert f"2 skipped of {root}" in line
    caplog.clear()
    (tmp_path / "list.json").write_text(json.dumps(check_meshes(str(root))))
    mesh_source(str(tmp_path / "list.json")).load("chair/b.obj")  # whoever made the list has been told
    assert not caplog.records


UNREAD = ["stl", "gltf", "DAE", "fbx", "3ds", "usd", "usdz", "x3d", "wrl", "blend", "step", "stp", "iges"]
PACKED = ("a.obj.gz", "a.ply.zip", "A.GLB.GZ")


def test_meshes_of_other_formats_are_listed(root: Path) -> None:
    put(*(root / "chair" / f"a.b.{suffix}" for suffix in UNREAD), *(root / name for name in PACKED))
    put(root / "chair" / "b.mtl", root / "texts.zip", root / "stl")
    source = mesh_folder(root)
    assert source.names == mesh_source(root).names == ("chair/b.obj",)
    expected = {f"chair/a.b.{suffix}": "not a format that is read; convert it to .glb or .obj" for suffix in UNREAD}
    expected |= dict.fromkeys(PACKED, "a packed file, which is not read; unpack it")
    assert source.skipped == expected


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a.stl"], "found none; 1 .stl cannot be read; convert it"),
        (["b.stl", "a.STL", "c.dae"], "found none; 1 .dae and 2 .stl cannot be read; convert them"),
        (["a.obj.gz"], "found none; 1 .obj.gz cannot be read; unpack it"),
        (["a.dae", "a.obj.zip"], "found none; 1 .dae cannot be read; convert it; 1 .obj.zip cannot be read; unpack it"),
    ],
)
def test_a_folder_without_meshes_that_are_read_names_the_others(names: list[str], told: str, tmp_path: Path) -> None:
    put(*(tmp_path / "chair" / name for name in names))
    with pytest.raises(DataError) as caught:
        mesh_source(str(tmp_path))
    assert str(caught.value).endswith(told)
    (tmp_path / "sofa").symlink_to("moved")
    with pytest.raises(DataError, match="; 1 passed over, such as sofa: a link that leads nowhere") as caught:
        mesh_source(str(tmp_path))
    assert told in str(caught.value)
