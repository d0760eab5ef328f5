"""ShapeNetCore in both layouts, made by hand as it is published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.mesh import SHAPENET_V1, SHAPENET_V2
from shape3d_amodal.meshes.sources import mesh_source

ARROW = {1: "v -2 0 0\nv 2 0 1\nv 2 1 -1\nf 1 2 3\n", 2: "v 0 0 2\nv 1 0 -2\nv -1 1 -2\nf 1 2 3\n"}
"""The same triangle in the frames of the two versions: its first corner behind, the second to the right."""
SPLIT = """id,synsetId,subSynsetId,modelId,split
000001,02691156,02690373,plane_a,train
000002,02691156,02690373,plane_b,val
000003,03001627,03001627,chair_a,test
000004,2946921,2946921,can_a,train
000005,02946921,02946921,can_gone,train
"""
TAXONOMY = [
    {"synsetId": "02691156", "name": "airplane,aeroplane,plane", "children": [], "numInstances": 2},
    {"synsetId": "02946921", "name": "can,tin,tin can", "children": ["03001627"], "numInstances": 2},
]


def published(root: Path, version: int) -> Path:
    for name in ("02691156/plane_a", "02691156/plane_b", "03001627/chair_a", "02946921/can_a", "02946921/can_b"):
        path = root / name / ("model.obj" if version == 1 else "models/model_normalized.obj")
        path.parent.mkdir(parents=True)
        path.write_text(ARROW[version])
    (root / "02691156" / "plane_c" / "images").mkdir(parents=True)
    (root / "02691156.csv").write_text("fullId,wnsynset\n")
    (root / "all.csv").write_text(SPLIT)
    (root / "taxonomy.json").write_text(json.dumps(TAXONOMY))
    return root


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("prefix", ["", "shapenet:"])
def test_all_that_is_on_disk(version: int, prefix: str, tmp_path: Path) -> None:
    source = mesh_source(f"{prefix}{published(tmp_path, version)}")
    assert {name: source.category(name) for name in source.names} == {
        "02691156/plane_a": "airplane",
        "02691156/plane_b": "airplane",
        "02946921/can_a": "can",
        "02946921/can_b": "can",
        "03001627/chair_a": "chair",
    }
    manifest = source.manifest()
    assert manifest["file_frames"] == {str(SHAPENET_V1 if version == 1 else SHAPENET_V2): 5}
    assert list(manifest["skipped"]) == ["02691156/plane_c"]
    assert "model_normalized.obj" in manifest["skipped"]["02691156/plane_c"]


@pytest.mark.parametrize("version", [1, 2])
def test_the_front_comes_to_plus_z(version: int, tmp_path: Path) -> None:
    mesh = mesh_source(str(published(tmp_path, version))).load("02691156/plane_a")
    tip, base, high = mesh.verts
    assert tip[2] < 0 < base[2] == high[2]
    assert high[1] > base[1]
    assert base[0] < 0 < high[0]
    low, top = mesh.verts.min(axis=0), mesh.verts.max(axis=0)
    np.testing.assert_allclose(low + top, 0, atol=1e-6)
    assert np.linalg.norm(top - low) == pytest.approx(1)


@pytest.mark.parametrize(
    ("spec", "expected", "skipped"),
    [
        ("shapenet:{}:train", ["02691156/plane_a", "02946921/can_a"], ["02691156/plane_c", "02946921/can_b"]),
        ("shapenet13:{}:train", ["02691156/plane_a"], ["02691156/plane_c"]),
        ("shapenet13:{}:val+test", ["02691156/plane_b", "03001627/chair_a"], ["02691156/plane_c"]),
        ("shapenet13:{}", ["02691156/plane_a", "02691156/plane_b", "03001627/chair_a"], ["02691156/plane_c"]),
    ],
)
def test_official_split(spec: str, expected: list[str], skipped: list[str], tmp_path: Path) -> None:
    source = mesh_source(spec.format(published(tmp_path, 2)))
    assert list(source.names) == expected
    assert sorted(source.skipped) == skipped


@pytest.mark.parametrize("prefix", ["", "shapenet:"])
def test_without_a_taxonomy_categories_are_those_known_or_the_synsets(prefix: str, tmp_path: Path) -> None:
    (published(tmp_path, 2) / "taxonomy.json").unlink()
    source = mesh_source(f"{prefix}{tmp_path}")
    assert {source.category(name) for name in source.names} == {"airplane", "chair", "02946921"}
    assert source.manifest()["file_frames"] == {str(SHAPENET_V2): 5}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("all.csv", "a,b\n1,2\n", r"all\.csv: line 1: expected columns modelId, split, synsetId"),
        ("all.csv", SPLIT.replace("val", "validation"), r"all\.csv: line 3: expected one split"),
        ("all.csv", SPLIT + "9,02691156,02690373,plane_a,test\n", r"all\.csv: line 7: expected one split"),
        ("all.csv", SPLIT.replace("train", '"train'), r"all\.csv: "),
        ("all.csv", "id\0\n", r"all\.csv: "),
        ("taxonomy.json", "{}", r"taxonomy\.json: expected a list"),
        ("taxonomy.json", '[{"synsetId": 2691156, "name": "airplane"}]', r"taxonomy\.json: \[0\]"),
        ("taxonomy.json", "[[]]", r"taxonomy\.json: \[0\]"),
    ],
)
def test_damaged_tables(name: str, content: str, message: str, tmp_path: Path) -> None:
    (published(tmp_path, 2) / name).write_text(content)
    with pytest.raises(DataError, match=message):
        mesh_source(f"shapenet:{tmp_path}:train")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("shapenet:{}/none", "expected ShapeNetCore's folder"),
        ("shapenet:{}/02691156", "none"),
        ("shapenet:{}:exam", ":exam: expected ShapeNetCore's folder .*SPLIT"),
        ("shapenet:", "none"),
    ],
)
def test_no_shapenet(spec: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        mesh_source(spec.format(published(tmp_path, 2)))


@pytest.mark.parametrize(
    ("link", "target", "why"),
    [
        ("03211117", "gone", "a link that leads nowhere"),
        ("02691156/plane_z", "gone", "a link that leads nowhere"),
        ("02691156/plane_z.obj", "/dev/null", "expected a regular file"),
        ("02691156/plane_z/models", "gone", "models: a link that leads nowhere"),
        ("02691156/plane_z/models/model_normalized.obj", "gone", "models/model_normalized.obj: a link that leads"),
        ("02691156/plane_z/model.obj", "/dev/null", "model.obj: expected a regular file"),
        ("chairs", "gone", "a link that leads nowhere"),
        ("02691156/loose.obj", "../03001627/chair_a/model.obj", "not in a folder <synset>/<model>"),
        ("loose.glb", "all.csv", "not in a folder <synset>/<model>"),
        ("02691156/loose.stl", "../03001627/chair_a/model.obj", "not a format that is read; convert it"),
        ("chairs", "03001627", "its name is no synset; 1 mesh file in it left out"),
    ],
)
def test_what_is_not_read_is_listed(link: str, target: str, why: str, tmp_path: Path) -> None:
    published(tmp_path, 1)
    (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / link).symlink_to(target)
    source = mesh_source(str(tmp_path))
    assert len(source.names) == 5
    (name,) = set(source.skipped) - {"02691156/plane_c"}
    assert link == name or link.startswith(f"{name}/")
    assert source.skipped[name].startswith(why)
    if name[0].isdigit():  # it is not lost among those of one split
        assert name in mesh_source(f"shapenet13:{tmp_path}:train").skipped


def test_linked_synsets_and_models_are_read(tmp_path: Path) -> None:
    published(tmp_path / "store", 2)
    root = tmp_path / "root"
    (root / "03001627").mkdir(parents=True)
    (root / "02691156").symlink_to("../store/02691156")
    (root / "03001627" / "chair_a").symlink_to("../../store/03001627/chair_a")
    source = mesh_source(str(root))
    assert source.names == ("02691156/plane_a", "02691156/plane_b", "03001627/chair_a")
    assert source.spec == f"shapenet:{root}"


def test_only_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "03001627").symlink_to("gone")
    with pytest.raises(DataError, match=r"there are none \(03001627: a link that leads nowhere"):
        mesh_source(f"shapenet:{tmp_path}")


def test_a_synset_that_cannot_be_read_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iterdir = Path.iterdir

    def refuse(self: Path) -> Iterator[Path]:
        if self.name == "02946921":
            raise PermissionError(13, "Permission denied", str(self))
        return iterdir(self)

    published(tmp_path, 2)
    monkeypatch.setattr(Path, "iterdir", refuse)
    source = mesh_source(str(tmp_path))
    assert source.names == ("02691156/plane_a", "02691156/plane_b", "03001627/chair_a")
    assert source.skipped["02946921"] == "cannot read the folder (Permission denied)"
