"""The demo and the commands around it, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from boxes import CHAIR, PARTS, box_mesh, write_obj
from PIL import Image
from tiny import tiny_model

from shape3d_amodal.cli import main
from shape3d_amodal.pipeline import ShapePriorPipeline


@pytest.fixture
def weights(tmp_path: Path) -> str:
    ShapePriorPipeline.from_model(tiny_model()).save_pretrained(tmp_path / "weights")
    return str(tmp_path / "weights")


def test_demo_evaluate_and_render(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    for _ in range(2):  # the second replaces the first
        assert main(["demo", "--per-category", "1", "--weights", weights, "--out", str(out)]) == 0
    assert "None of these meshes was used in training" in (out / "report.html").read_text()
    annotations = out / "data" / "scenes" / "annotations.json"
    content = json.loads(annotations.read_text())
    assert len(content["images"]) == 13
    assert sum(not one.get("ignore", 0) for one in content["annotations"]) == 13
    assert Image.open(out / "gallery.png").width > 600
    capsys.readouterr()

    folder = out / "results" / "scenes-masks"
    results = [str(folder / f"{name}.json") for name in ("visible_only", "convex_hull", "silhouette", "ours")]
    status = main(["evaluate", *results, "--annotations", str(annotations), "--out", str(tmp_path / "scores")])
    assert status == 0
    assert (tmp_path / "scores" / "completion.md").read_text().strip() in capsys.readouterr().out
    assert json.loads((tmp_path / "scores" / "completion.json").read_text())["visible_only"]["overall"]["missing"] == 0

    pictures = ["--images", str(out / "data" / "scenes" / "images"), "--annotations", str(annotations)]
    command = ["render", *pictures, "--weights", weights, "--out", str(tmp_path / "render")]
    assert main([*command, "--limit", "1"]) == 0
    first = content["annotations"][0]["id"]
    for name in ("1_amodal.png", f"1_{first}_projection.png", f"1_{first}_turntable.png", f"1_{first}.glb"):
        assert (tmp_path / "render" / name).stat().st_size > 0

    (out / "data" / "scenes" / "images" / "000001.png").write_bytes(b"no picture")
    broken = ["render", *pictures, "--weights", weights, "--out", str(tmp_path / "broken")]
    assert main([*broken, "--limit", "2"]) == 0  # the other image is drawn
    skipped = json.loads((tmp_path / "broken" / "skipped.json").read_text())
    assert {one["image_id"] for one in skipped} == {2} and "000001.png" in skipped[0]["reason"]
    assert (tmp_path / "broken" / "1_amodal.png").exists() and not (tmp_path / "broken" / "2_amodal.png").exists()
    (out / "data" / "scenes" / "images" / "000000.png").write_bytes(b"no picture")
    assert main([*broken, "--limit", "2"]) == 3  # nothing is left


def test_demo_removes_nobodys_files(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "data" / "scenes" / "mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("dear to me")
    assert main(["demo", "--per-category", "1", "--weights", weights, "--out", str(tmp_path)]) == 3
    assert mine.exists()
    assert "expected scenes that a benchmark made" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["composed", "bars"])
def test_scenes_of_own_meshes(kind: str, tmp_path: Path) -> None:
    write_obj(tmp_path / "meshes" / "robot" / "a.obj", box_mesh(CHAIR))
    write_obj(tmp_path / "meshes" / "crate" / "a.obj", box_mesh(PARTS["dresser/box"]))
    options = [f"meshes={tmp_path / 'meshes'}", "per_category=2", f"scenes.kind={kind}", "scenes.image_size=96"]
    assert main(["scenes", "--out", str(tmp_path / "out"), "--set", *options]) == 0
    content = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert [one["name"] for one in content["categories"]] == ["crate", "robot", "occluder"]
    assert len(content["images"]) == 4
    assert sum(one["category_id"] == 3 for one in content["annotations"]) == (4 if kind == "bars" else 0)


@pytest.mark.parametrize(
    "option",
    [
        "per_category=0",
        "scenes.image_size=0",
        "scenes.image_size=100000",
        "scenes.min_hidden=-1",
        "scenes.kind=cubes",
        "nothing=1",
    ],
)
def test_bad_scene_options(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenes", "--out", str(tmp_path / "out"), "--set", option]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
