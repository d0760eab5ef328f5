"""``complete`` end to end, and every way of giving it something bad."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from boxes import PARTS, box_mesh, write_obj
from PIL import Image
from tiny import tiny_config, tiny_model

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import read_results
from shape3d_amodal.cli import main
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.pipeline import ShapePriorPipeline

SHAPE = (60, 80)


def rle(rows: slice, columns: slice, shape: tuple[int, int] = SHAPE) -> dict:
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return masks.encode(mask).to_coco()


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Path]:
    """Weights, one image and its annotations."""
    ShapePriorPipeline.from_model(tiny_model()).save_pretrained(tmp_path / "weights")
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 80, "height": 60}],
        "categories": [{"id": 3, "name": "chair"}, {"id": 4, "name": "table"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "visible_mask": rle(slice(20, 40), slice(10, 40))},
            {"id": 2, "image_id": 7, "category_id": 4, "visible_mask": [[40, 15, 60, 15, 60, 45, 40, 45]]},
        ],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return {"root": tmp_path, "annotations": tmp_path / "annotations.json"}


def run(job: dict[str, Path], *more: str) -> int:
    root = job["root"]
    return main(
        [
            "complete",
            *("--images", str(root / "images"), "--annotations", str(job["annotations"])),
            *("--weights", str(root / "weights"), "--out", str(root / "out" / "results.json"), *more),
        ]
    )


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Meshes by category; "robot" is one that no weights know."""
    for name in ("chair/four_legs", "table/one_leg"):
        write_obj(tmp_path / "shapes" / f"{name}.obj", box_mesh(PARTS[name]))
    write_obj(tmp_path / "shapes" / "robot" / "arm.obj", box_mesh(PARTS["chair/one_arm"]))
    return tmp_path / "shapes"


def rename_categories(job: dict[str, Path], *names: str) -> None:
    content = json.loads(job["annotations"].read_text())
    for category, name in zip(content["categories"], names, strict=True):
        category["name"] = name
    job["annotations"].write_text(json.dumps(content))


def bank(job: dict[str, Path], *more: str) -> int:
    root = job["root"]
    files = ["--images", str(root / "images"), "--annotations", str(job["annotations"])]
    return main(["complete", "--prior", "bank", *files, "--out", str(root / "out" / "results.json"), *more])


@pytest.mark.parametrize("steps", ["0", "2"])
def test_a_bank_completes_categories_that_no_weights_know(job: dict[str, Path], shapes: Path, steps: str) -> None:
    rename_categories(job, "robot", "table")
    folder = job["root"] / "found"
    assert bank(job, "--meshes", str(shapes), "--fit-steps", steps, "--save-meshes", str(folder)) == 0
    results = read_results(job["root"] / "out" / "results.json")
    assert [result.annotation_id for result in results] == [1, 2]
    robot = masks.decode(results[0].segmentation)
    visible = np.zeros(SHAPE, bool)
    visible[20:40, 10:40] = True
    assert (robot & visible).sum() == visible.sum()
    assert not robot[:, 61:].any()  # known background stays out
    assert len(trimesh.load(folder / str(results[0].mesh), force="mesh").faces) == len(
        box_mesh(PARTS["chair/one_arm"]).faces
    )


def test_a_bank_and_the_refinement_together(job: dict[str, Path], shapes: Path) -> None:
    config = tiny_config()
    config = replace(config, refinement=replace(config.refinement, priors=("learned", "bank")), meshes="elsewhere")
    AmodalModel(config).save(job["root"] / "both")
    weights = ["--weights", str(job["root"] / "both")]  # their own bank is not looked for
    assert bank(job, "--meshes", str(shapes), "--refine", "full", *weights) == 0
    assert len(read_results(job["root"] / "out" / "results.json")) == 2


def test_meshes_with_weights_are_asked_without_more_options(job: dict[str, Path], shapes: Path) -> None:
    config = tiny_config()
    config = replace(config, refinement=replace(config.refinement, priors=("learned", "bank")), meshes="elsewhere")
    AmodalModel(config).save(job["root"] / "both")
    found = []
    for options in ((), ("--prior", "bank"), ("--refine", "full"), ("--prior", "bank", "--refine", "full")):
        assert run(job, "--weights", str(job["root"] / "both"), "--meshes", str(shapes), *options) == 0
        found.append((job["root"] / "out" / "results.json").read_bytes())
    assert found == found[:1] * 4


def test_meshes_that_none_are_made_of_are_not_promised(job: dict[str, Path], capsys) -> None:
    assert run(job, "--refine", "2d", "--save-meshes", str(job["root"] / "meshes")) == 2
    line = "error: --save-meshes and --refine 2d: it makes no meshes; leave out one of the two\n"
    assert capsys.readouterr().err == line
    assert not (job["root"] / "meshes").exists() and not (job["root"] / "out").exists()
    assert run(job, "--refine", "2d") == 0
    results = read_results(job["root"] / "out" / "results.json")
    assert len(results) == 2 and all(one.mesh is None and one.viewpoint is None for one in results)


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        ((), 2, "--prior bank: the weights open13 know no bank; give --meshes FOLDER, or --weights open13_bank"),
        (("--meshes", "missing"), 3, "missing: expected a folder of meshes, there is none"),
        (("--meshes", "SHAPES"), 3, "unknown category 'dragon'; it only hides others; known are chair, robot, table"),
        (("--meshes", "SHAPES", "--refine", "2d", "--weights", "WEIGHTS"), 2, "2d looks at no shapes"),
        (("--meshes", "SHAPES", "--refine", "full", "--weights", "WEIGHTS"), 2, "has not learned to use a bank"),
        (("--meshes", "SHAPES", "--weights", "WEIGHTS"), 2, "give --weights open13_bank, or leave out --weights"),
    ],
)
def test_a_bank_that_cannot_be_used(
    job: dict[str, Path],
    shapes: Path,
    options: tuple[str, ...],
    status: int,
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rename_categories(job, "dragon", "dragon")
    known = {"SHAPES": str(shapes), "WEIGHTS": str(job["root"] / "weights")}
    assert bank(job, *(known.get(option, option) for option in options)) == status
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert not (job["root"] / "out").exists()


def test_results_and_meshes(job: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(job, "--fit-steps", "2", "--save-meshes", str(job["root"] / "meshes")) == 0
    assert "2 objects in 1 image;" in capsys.readouterr().out
    first, second = read_results(job["root"] / "out" / "results.json")
    assert (first.image_id, first.annotation_id, first.category_id) == (7, 1, 3)
    assert second.annotation_id == 2
    assert first.viewpoint is not None
    assert set(first.viewpoint) == {"azimuth_deg", "elevation_deg", "roll_deg", "scale", "offset"}
    assert first.visible is not None and first.occluded is not None
    whole, seen, hidden = (masks.decode(one) for one in (first.segmentation, first.visible, first.occluded))
    assert seen.sum() == 600
    assert (whole == (seen | hidden)).all() and not (seen & hidden).any()
    for name in ("7_1.glb", "7_2.glb"):
        mesh = trimesh.load(job["root"] / "meshes" / name, force="mesh")
        assert len(mesh.faces) == 80
    assert first.mesh == "7_1.glb"
    assert sorted(path.name for path in (job["root"] / "out").iterdir()) == ["results.json"]


def edit(job: dict[str, Path], change) -> None:
    content = json.loads(job["annotations"].read_text())
    change(content)
    job["annotations"].write_text(json.dumps(content))


def set_annotation(key: str, value: object):
    return lambda job: edit(job, lambda content: content["annotations"][0].__setitem__(key, value))


def set_image(key: str, value: object):
    return lambda job: edit(job, lambda content: content["images"][0].__setitem__(key, value))


def truncate_image(job: dict[str, Path]) -> None:
    path = job["root"] / "images" / "a.png"
    path.write_bytes(path.read_bytes()[:-200])


def damage_weights(job: dict[str, Path]) -> None:
    path = job["root"] / "weights" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


BAD_OBJECT = {
    "empty visible mask": (
        set_annotation("visible_mask", rle(slice(0, 0), slice(0, 0))),
        "annotations[0].visible_mask",
    ),
    "missing visible mask": (
        lambda job: edit(job, lambda content: content["annotations"][0].pop("visible_mask")),
        "annotations[0].visible_mask",
    ),
    "unknown category name": (
        lambda job: edit(job, lambda content: content["categories"][0].update(name="dragon")),
        "unknown category 'dragon'; it only hides others",
    ),
    "unknown category id": (set_annotation("category_id", 99), "annotations[0].category_id"),
    "malformed RLE": (
        set_annotation("visible_mask", {"size": [60, 80], "counts": "zz~~"}),
        "annotations[0].visible_mask",
    ),
    "RLE of another size": (
        set_annotation("visible_mask", rle(slice(0, 5), slice(0, 5), (10, 10))),
        "annotations[0].visible_mask",
    ),
    "another image, which is missing": (
        lambda job: edit(job, lambda content: add_image(content, "absent.png")),
        "absent.png: cannot read the file",
    ),
}
"""The first of two objects, and what is said of it."""
BAD_FILE = {
    "unreadable image": (truncate_image, "a.png"),
    "missing image": (lambda job: (job["root"] / "images" / "a.png").unlink(), "a.png"),
    "sizes that differ": (lambda job: Image.new("RGB", (64, 64)).save(job["root"] / "images" / "a.png"), "64"),
    "file name leaving the folder": (set_image("file_name", "../annotations.json"), "file_name"),
    "malformed JSON": (lambda job: job["annotations"].write_text('{"images": ['), "annotations.json"),
    "missing weights": (lambda job: (job["root"] / "weights" / "model.safetensors").unlink(), "model.safetensors"),
    "damaged weights": (damage_weights, "model.safetensors"),
}
"""What leaves nothing to complete."""


def add_image(content: dict, name: str) -> None:
    """Move the first object to an image of its own."""
    content["images"].append({"id": 8, "file_name": name, "width": 80, "height": 60})
    content["annotations"][0]["image_id"] = 8


@pytest.mark.parametrize("name", BAD_OBJECT)
@pytest.mark.parametrize("strict", [False, True])
def test_a_bad_object_is_skipped_with_a_reason(
    job: dict[str, Path], name: str, strict: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, expected = BAD_OBJECT[name]
    spoil(job)
    assert run(job, *["--strict"] * strict) == (3 if strict else 0)
    captured = capsys.readouterr()
    assert "1 object in" in captured.out
    assert "1 skipped, listed in" in captured.err and expected in captured.err
    (result,) = read_results(job["root"] / "out" / "results.json")
    assert result.annotation_id == 2
    (skipped,) = json.loads((job["root"] / "out" / "results.skipped.json").read_text())
    assert expected in skipped["reason"]
    if "category name" in name or "image" in name:
        assert skipped["annotation_id"] == 1


def test_objects_of_unknown_categories_hide_others(job: dict[str, Path]) -> None:
    """A pedestrian in front of the table counts as what may hide it, as an occluder would."""
    rename_categories(job, "pedestrian", "table")
    assert run(job) == 0
    (strange,) = read_results(job["root"] / "out" / "results.json")
    rename_categories(job, "occluder", "table")
    assert run(job) == 0
    (hidden,) = read_results(job["root"] / "out" / "results.json")
    assert strange == hidden
    assert not (job["root"] / "out" / "results.skipped.json").exists()  # the list of the run before is gone


@pytest.mark.parametrize("name", BAD_FILE)
def test_where_nothing_is_left_there_is_one_line_and_no_file(
    job: dict[str, Path], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, expected = BAD_FILE[name]
    spoil(job)
    assert run(job, "--save-meshes", str(job["root"] / "meshes")) == 3
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ") and expected in lines[0], lines[0]
    assert not (job["root"] / "meshes").exists()
    assert not (job["root"] / "out").exists() or list((job["root"] / "out").iterdir()) == []


def test_results_to_standard_output(job: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(job) == 0
    in_file = json.loads((job["root"] / "out" / "results.json").read_text())
    capfd.readouterr()
    assert run(job, "--out", "-") == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out) == in_file
    assert "2 objects in 1 image; results in -" in captured.err


def test_the_annotations_are_never_overwritten(job: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = job["annotations"].read_bytes()
    link = job["root"] / "link.json"
    link.symlink_to(job["annotations"])
    for name in (job["annotations"], link):
        assert run(job, "--out", str(name)) == 2
        assert "would overwrite the input" in capsys.readouterr().err
    assert job["annotations"].read_bytes() == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\n", "face"),
        ("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "finite"),
        ("v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "extent"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", "index"),
    ],
    ids=["no faces", "NaN", "no extent", "index 0"],
)
def test_bad_meshes(tmp_path: Path, text: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "meshes" / "thing").mkdir(parents=True)
    (tmp_path / "meshes" / "thing" / "bad.obj").write_text(text)
    status = main(
        ["scenes", "--out", str(tmp_path / "out"), "--set", f"meshes={tmp_path / 'meshes'}", "per_category=1"]
    )
    assert status == 3
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "bad.obj" in lines[0] and expected in lines[0], lines
    assert not (tmp_path / "out" / "annotations.json").exists()


@pytest.mark.parametrize("command", ["complete", "render"])
def test_crowds_that_are_completed_are_counted(job: dict[str, Path], capsys, command: str) -> None:
    content = json.loads(job["annotations"].read_text())
    content["annotations"][0]["iscrowd"] = 1
    job["annotations"].write_text(json.dumps(content))
    root = job["root"]
    given = ["--images", str(root / "images"), "--annotations", str(job["annotations"])]
    assert main([command, *given, "--weights", str(root / "weights"), "--out", str(root / "out")]) == 0
    line = "1 of 2 objects is a crowd (iscrowd 1), completed as if it were one object\n"
    assert line in capsys.readouterr().err
