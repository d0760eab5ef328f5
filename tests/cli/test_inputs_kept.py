"""Whatever the outputs of a command are called, its inputs are the same files with the same bytes afterwards."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from boxes import PARTS, BoxMeshes, write_obj
from PIL import Image
from tiny import tiny_model

from shape3d_amodal import masks
from shape3d_amodal.cli import main
from shape3d_amodal.cli.dispatch import COMMANDS
from shape3d_amodal.files.atomic import write_json_atomic
from shape3d_amodal.meshes.check import check_meshes
from shape3d_amodal.pipeline import ShapePriorPipeline

CLASSES = "classes:\n  - {id: 1, name: chair, names: [chair]}\nothers: occluder\n"
BENCHMARK = """
data: {mine: {annotations: IN/annotations.json, images: IN/images}}
methods: {visible: {kind: visible_only}}
runs: [{data: mine, title: Mine, methods: [visible]}]
title: Test
"""
KNOWN = """
data: {mine: {annotations: IN/annotations.json, images: IN/images}, made: {scenes: IN/set.yaml}}
methods: {bank: {kind: bank, meshes: IN/list.json}, ours: {kind: pipeline, weights: IN/weights}}
runs: [{data: mine, title: Mine, methods: [bank, ours]}]
"""
"""A benchmark whose meshes and weights are named nowhere else."""
TRAINING = """
stage: prior
train: {meshes: IN/list.json, count: 4}
validation: {meshes: IN/meshes, count: 4}
loop: {steps: 1, device: cpu}
"""


def block(rows: slice, columns: slice) -> dict:
    mask = np.zeros((60, 80), bool)
    mask[rows, columns] = True
    return masks.encode(mask).to_coco()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, boxes: BoxMeshes) -> Path:
    """Inputs of all commands."""
    root = tmp_path_factory.mktemp("inputs")
    ShapePriorPipeline.from_model(tiny_model()).save_pretrained(root / "weights")
    (root / "images").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(root / "images/a.png")
    (root / "calib").mkdir()
    (root / "calib/a.txt").write_text("P2: 70 0 40 0 0 70 30 0 0 0 1 0\n")
    for name in PARTS:
        write_obj(root / "meshes" / f"{name}.obj", boxes.load(name))
    whole = block(slice(20, 40), slice(10, 40))
    common = {"image_id": 7, "category_id": 3, "segmentation": whole}
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 80, "height": 60}],
        "categories": [{"id": 3, "name": "chair"}],
        "annotations": [{"id": 1, **common, "visible_mask": block(slice(20, 30), slice(10, 40))}],
    }
    (root / "annotations.json").write_text(json.dumps(content))
    result = {**common, "annotation_id": 1, "score": 0.5}
    (root / "results.json").write_text(
        json.dumps([result, {**result, "segmentation": block(slice(18, 40), slice(10, 40))}])
    )
    (root / "classes.yaml").write_text(CLASSES)
    (root / "benchmark.yaml").write_text(BENCHMARK)
    (root / "set.yaml").write_text("meshes: IN/meshes\nper_category: 1\n")
    (root / "known.yaml").write_text(KNOWN)
    (root / "composed.yaml").write_text("base: known.yaml\n")
    (root / "given.yaml").write_text("base: set.yaml\n")
    (root / "drawn.yaml").write_text("base: shapes.yaml\n")
    write_json_atomic(root / "detections.json", [{**common, "score": 0.9}])
    (root / "start.yaml").write_text("base: train.yaml\ninit: {prior: IN/weights}\n")
    (root / "shapes.yaml").write_text("count: 2\n")
    (root / "shards.yaml").write_text("meshes: IN/meshes\ncount: 2\nshard_size: 2\n")
    write_json_atomic(root / "list.json", check_meshes(str(root / "meshes")))
    (root / "train.yaml").write_text(TRAINING)
    return root


GIVEN = "--images IN/images --annotations IN/annotations.json"
COMPLETE = f"complete {GIVEN} --weights IN/weights"
PICTURE = "images/a.png"
FILES = {
    f"{COMPLETE} --out OUT": ("annotations.json", PICTURE, "weights/model.safetensors", "weights/config.yaml"),
    "complete --images IN/images --annotations IN/detections.json --image-info IN/annotations.json --out OUT": (
        "detections.json",
        "annotations.json",
    ),
    "data convert IN/annotations.json --to kins2020 --classes IN/classes.yaml --out OUT": (
        "annotations.json",
        "classes.yaml",
    ),
    "data convert IN/annotations.json --to coco_amodal --calibration IN/calib --out OUT": ("calib/a.txt",),
    "data validate IN/annotations.json --images IN/images --out OUT": ("annotations.json", PICTURE),
    "data poses IN/results.json --annotations IN/annotations.json --out OUT": ("results.json", "annotations.json"),
    "meshes --meshes IN/list.json --out OUT": ("list.json",),
    f"complete {GIVEN} --meshes IN/list.json --out OUT": ("list.json",),
    "shapes2d show --weights IN/weights --config IN/shapes.yaml --out OUT": (
        "weights/model.safetensors",
        "shapes.yaml",
    ),
    "meshes --meshes IN/meshes --out OUT": ("meshes/chair/four_legs.obj",),
    f"samples IN/results.json {GIVEN} --out OUT": ("results.json", "annotations.json", PICTURE),
    "benchmark IN/benchmark.yaml --out IN/scores --markdown OUT": ("benchmark.yaml", "annotations.json", PICTURE),
    "benchmark IN/composed.yaml --out IN/scores --markdown OUT": (
        "composed.yaml",
        "known.yaml",
        "set.yaml",
        "list.json",
        "meshes/chair/four_legs.obj",
        "weights/config.yaml",
    ),
}
"""Commands that write a file, and what they read."""
FOLDERS = (
    f"{COMPLETE} --out IN/new.json --save-meshes OUT",
    "predict IN/images --weights IN/weights --min-score 0.9 --out OUT",
    f"render {GIVEN} --weights IN/weights --turntable 1 --out OUT",
    "evaluate IN/results.json --track multimodal --annotations IN/annotations.json --out OUT",
    "data stats IN/annotations.json --out OUT",
    "scenes --config IN/set.yaml --out OUT",
    "scenes --meshes IN/meshes --count 2 --shard-size 2 --out OUT",
    "train IN/train.yaml --dry-run --out OUT",
    "train IN/start.yaml --out OUT",
    "benchmark IN/benchmark.yaml --out OUT",
    "demo --config IN/set.yaml --per-category 1 --weights IN/weights --out OUT",
    "nmr --meshes IN/meshes --split test --out OUT",
    "shapes2d make --config IN/shapes.yaml --out OUT",
)
"""Commands that write a folder."""
COLLISIONS = (
    (
        f"complete {GIVEN} --meshes IN/meshes --out IN/meshes/chair/four_legs.obj",
        "meshes/chair/four_legs.obj",
        "meshes/chair/four_legs.obj",
    ),
    (
        f"complete {GIVEN} --meshes IN/meshes --out IN/new.json --save-meshes IN/meshes/chair",
        "meshes/chair/four_legs.obj",
        "meshes/chair/7_1.glb",
    ),
    (
        f"render {GIVEN} --meshes IN/meshes --turntable 1 --out IN/meshes/chair",
        "meshes/chair/four_legs.obj",
        "meshes/chair/7_1.glb",
    ),
    ("predict IN/images --meshes IN/meshes --out IN", "meshes/chair/four_legs.obj", "meshes/1_a_1.glb"),
    (f"{COMPLETE} --out IN/new.json", "annotations.json", "new.skipped.json"),
    (f"{COMPLETE} --out IN/new.json", "annotations.json", "new.json.part.jsonl"),
    (
        f"predict IN/images {GIVEN.split()[2]} IN/annotations.json --weights IN/weights --out IN",
        "annotations.json",
        "images.json",
    ),
    ("predict IN/overlays --weights IN/weights --out IN", PICTURE, "overlays/1_a.png"),
    (f"render {GIVEN} --weights IN/weights --turntable 1 --out IN/images", PICTURE, "images/7_amodal.png"),
    (
        "evaluate IN/results.json --track multimodal --annotations IN/annotations.json --out IN",
        "results.json",
        "multimodal.json",
    ),
    (
        "evaluate IN/results.json --track shape --meshes IN/list.json --annotations IN/annotations.json --out IN",
        "list.json",
        "shape.json",
    ),
    (f"complete {GIVEN} --meshes IN/list.json --out IN/new.json", "list.json", "new.skipped.json"),
    ("predict IN/images --meshes IN/list.json --min-score 0.9 --out IN", "list.json", "images.json"),
    ("nmr --meshes IN/list.json --split test --out IN", "list.json", "03001627_test.json"),
    ("data stats IN/annotations.json --out IN", "annotations.json", "statistics.json"),
    ("scenes --config IN/set.yaml --out IN", "set.yaml", "annotations.json"),
    ("scenes --config IN/set.yaml --out IN/new", "set.yaml", "new/images/000000.png"),
    ("scenes --config IN/set.yaml --out IN/new", "set.yaml", "new/meshes.json"),
    ("scenes --meshes IN/list.json --set per_category=1 --out IN/new", "list.json", "new/meshes.json"),
    ("scenes --meshes IN/list.json --count 1 --layout kins --out IN/new", "list.json", "new/meshes.json"),
    ("scenes --config IN/shards.yaml --layout shards --out IN/new", "shards.yaml", "new/scenes-000000.tar"),
    ("scenes --config IN/shards.yaml --count 2 --out IN/new", "shards.yaml", "new/scenes-000000.tar"),
    ("shapes2d make --config IN/shapes.yaml --out IN/new", "shapes.yaml", "new/images/000000.png"),
    ("benchmark IN/benchmark.yaml --out IN", "benchmark.yaml", "report.html"),
    ("benchmark IN/composed.yaml --out IN", "annotations.json", "scores.json"),
    ("benchmark IN/composed.yaml --out IN", "known.yaml", "scores.json"),
    ("benchmark IN/composed.yaml --out IN", "set.yaml", "scores.json"),
    ("benchmark IN/composed.yaml --out IN", "list.json", "scores.json"),
    ("benchmark IN/composed.yaml --out IN", "images", "data"),
    ("benchmark IN/composed.yaml --out IN", "weights", "results/weights"),
    ("benchmark IN/composed.yaml --out IN/scores --markdown IN/page.md", "images", "page"),
    ("scenes --config IN/given.yaml --out IN/new", "set.yaml", "new/meshes.json"),
    ("shapes2d make --config IN/drawn.yaml --out IN/new", "shapes.yaml", "new/annotations.json"),
    ("train IN/start.yaml --out IN/run", "weights", "run/weights"),
    ("train IN/start.yaml --out IN", "train.yaml", "log.jsonl"),
    ("train IN/start.yaml --out IN/run", "list.json", "run/log.jsonl"),
    ("demo --config IN/given.yaml --per-category 1 --weights IN/weights --out IN", "set.yaml", "scores.json"),
    ("demo --config IN/set.yaml --per-category 1 --weights IN/weights --out IN", "set.yaml", "gallery.png"),
)
"""Commands, an input, and the name of an output in its place."""


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    """A copy of the inputs; its configurations name its own files."""
    root = tmp_path / "in"
    shutil.copytree(original, root)
    for file in root.glob("*.yaml"):
        file.write_text(file.read_text().replace("IN/", f"{root}/"))
    return root


def run(command: str, root: Path, out: Path) -> int:
    words = (str(root) if word == "IN" else word.replace("IN/", f"{root}/") for word in command.split())
    return main([str(out) if word == "OUT" else word for word in words])


def state(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def check_refused(status: int, errors: str) -> None:
    """For the place of an output, and nothing else."""
    assert status in (2, 3)
    assert re.search(r"^error: --(out|markdown|save-meshes): ", errors, re.MULTILINE)


def check_kept(before: dict[str, bytes], root: Path) -> None:
    after = state(root)
    assert [name for name in before if after.get(name) != before[name]] == []


def test_every_command_is_here() -> None:
    assert {command.split()[0] for command in (*FILES, *FOLDERS)} | {"doctor"} == set(COMMANDS)


@pytest.mark.parametrize("alias", ["same", "dotted", "hard", "symbolic"])
@pytest.mark.parametrize(("command", "victim"), [(one, name) for one, read in FILES.items() for name in read])
def test_an_output_file_that_is_an_input(
    root: Path, tmp_path: Path, capsys, command: str, victim: str, alias: str
) -> None:
    target, link = root / victim, tmp_path / f"link{Path(victim).suffix}"
    if alias == "hard":
        link.hardlink_to(target)
    elif alias == "symbolic":
        link.symlink_to(target)
    before = state(root)
    status = run(command, root, {"same": target, "dotted": root / "images" / ".." / victim}.get(alias, link))
    check_kept(before, root)
    check_refused(status, capsys.readouterr().err)


@pytest.mark.parametrize("place", [".", "images", "meshes", "weights", "annotations.json"])
@pytest.mark.parametrize("command", FOLDERS)
def test_an_output_folder_among_the_inputs(root: Path, command: str, place: str) -> None:
    """What is new may lie there; what was there stays, but for results that are not read."""
    if "IN/results.json" not in command:
        (root / "results.json").unlink()
    before = state(root)
    status = run(command, root, root / place)
    check_kept(before, root)
    assert place != "annotations.json" or status in (2, 3) or "--dry-run" in command


@pytest.mark.parametrize(("command", "victim", "name"), COLLISIONS)
def test_outputs_of_the_name_of_an_input(root: Path, capsys, command: str, victim: str, name: str) -> None:
    taken = root / name
    taken.parent.mkdir(parents=True, exist_ok=True)
    (root / victim).rename(taken)
    for file in root.glob("*.yaml"):
        file.write_text(re.sub(rf"(?<=[/ ]){re.escape(victim)}\b(?!:)", name, file.read_text()))  # no key
    if victim == PICTURE:
        content = json.loads((root / "annotations.json").read_text())
        content["images"][0]["file_name"] = taken.name
        (root / "annotations.json").write_text(json.dumps(content))
    before = state(root)
    status = run(command.replace(f"IN/{victim}", f"IN/{name}"), root, root)
    check_kept(before, root)
    check_refused(status, capsys.readouterr().err)


INTO_MESHES = (
    f"complete {GIVEN} --meshes SOURCE --out IN/new.json --save-meshes OUT",
    f"render {GIVEN} --meshes SOURCE --turntable 1 --out OUT",
    "predict IN/images --meshes SOURCE --out OUT",
    "scenes --meshes SOURCE --set per_category=1 --out OUT",
    "scenes --meshes SOURCE --count 1 --layout kins --out OUT",
    "scenes --meshes SOURCE --count 1 --out OUT",
    "nmr --meshes SOURCE --split test --out OUT",
    "train IN/train.yaml --set train.meshes=SOURCE --out OUT",
    "benchmark IN/known.yaml --set methods.bank.meshes=SOURCE --out OUT",
)
"""Commands that read meshes and write a folder."""


@pytest.mark.parametrize("source", ["IN/meshes", "IN/meshes?up=+z&front=-y", "IN/list.json"])
@pytest.mark.parametrize("command", INTO_MESHES)
def test_nothing_is_written_among_the_meshes(root: Path, capsys, command: str, source: str) -> None:
    """However the folder is named."""
    write_json_atomic(root / "list.json", check_meshes(str(root / "meshes")))
    source = source.replace("IN", str(root))
    before = state(root)
    option = "--save-meshes" if "--save-meshes" in command else "--out"
    assert run(command.replace("SOURCE", source), root, root / "meshes" / "new") == 2
    assert f"error: {option}: {root / 'meshes' / 'new'}" in capsys.readouterr().err
    assert state(root) == before
