"""The commands of README and the guides do their work as they are typed, in a fresh clone and in a folder elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bop_set import write_bop
from pages import ROOT, blocks, steps
from PIL import Image

from shape3d_amodal.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PREAMBLE = """
set -euo pipefail
shape3d-amodal() {
    case "$*" in *outputs/kins/*|"data kins "*) return ;; esac  # of what is trained on KINS
    case "$1 ${2:-}" in
        "shapes2d show"|"samples outputs/systems/"*) ;;  # of what is trained for hours
        "train configs/kins/"*|"train configs/shapenet/"*) command shape3d-amodal "$@" --print-config >/dev/null ;;
        train*) case "$*" in *annotations=my/*) set -- "$@" --print-config ;; *) set -- "$@" --dry-run ;; esac
            command shape3d-amodal "$@" >/dev/null ;;
        "benchmark configs/"*) command shape3d-amodal "$@" --print-config >/dev/null ;;
        "data validate") command shape3d-amodal "$@" || [ $? = 3 ] ;;  # these are not the published KINS
        *) command shape3d-amodal "$@" ;;
    esac
}
sbatch() { eval "${@: -1}"; }
"""
"""Trainings are tried with one batch; shipped benchmarks, which take long, and what needs KINS are only read."""
SMALL = (
    (r"bash scripts/(setup|train_open13|train_kins)\.sh|source \.venv/bin/activate", ":"),
    (r"python benchmarks/layered_sweep\.py|(torchrun|srun)(?= )|export MASTER_ADDR=.*", ":"),
    (r"bash scripts/demo\.sh", "shape3d-amodal demo --per-category 1"),
    (r"train configs/open13/c2f_seg\.yaml", r"\g<0> --set codebook=null"),  # of a training before it
    (r"--set per_category=2 ", "--set per_category=1 "),
    (r"--count 1000000(?= )", "--count 16"),  # as many as a dry run looks at
    (r"--count (2000|1000|20|\$count)(?= )", "--count 8"),
    (r"--workers (8|16)", "--workers 2"),
    (r"--detector outputs/kins/mask_rcnn/weights", "--detector open13_detector"),
    (r"5:can .* 12:holepuncher", "2:can"),
    (r"shape3d-amodal evaluate ours\.json .* --track pose .*", ":"),
    (r"bounds --config configs/shapes2d/test.yaml", r"\g<0> --set count=20"),
)
"""What is typed in place of what takes long, or of what the reader has."""
DIR = {"configs/open13/test.yaml": "set", "--layout kins": "kins", "nmr ": "nmr"}
"""Folders for commands of docs/scenes.md that all write to DIR."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fresh") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take the reader to have: images with annotations in some formats, results, meshes, a BOP set."""
    root = tmp_path_factory.mktemp("files")
    scenes, meshes = root / "scenes", ROOT / "assets" / "open13" / "cc0"
    assert main(["scenes", "--out", str(scenes), "--set", "per_category=1", "seed=3"]) == 0
    truth = scenes / "annotations.json"
    given = ["--images", str(scenes / "images"), "--annotations", str(truth)]
    assert main(["complete", *given, "--out", str(root / "results.json"), "--fit-steps", "0"]) == 0
    for name in ("ours", "other"):
        shutil.copy(root / "results.json", root / f"{name}.json")
    for name in ("annotations", "visible"):
        shutil.copy(truth, root / f"{name}.json")
    plain = json.loads(truth.read_text())
    keys = ("id", "image_id", "category_id")
    plain["annotations"] = [
        {**{key: one[key] for key in keys}, "segmentation": one["visible_mask"]} for one in plain["annotations"]
    ]
    (root / "instances.json").write_text(json.dumps(plain))
    for name, form in (("update_train_2020", "kins2020"), ("COCO_amodal_val2014", "cocoa")):
        assert main(["data", "convert", str(truth), "--to", form, "--out", str(root / f"{name}.json")]) == 0
    shutil.copy(root / "update_train_2020.json", root / "instances_train.json")
    found = json.loads((root / "results.json").read_text())
    keys = ("image_id", "category_id", "score")
    detections = [{**{key: one[key] for key in keys}, "segmentation": one["visible_mask"]} for one in found]
    (root / "detections.json").write_text(json.dumps(detections))
    for folder in ("DIR", "folder/of/images", "training/image_2", "data/kins/testing/image_2"):
        shutil.copytree(scenes / "images", root / folder)
    shutil.copy(root / "update_train_2020.json", root / "data" / "kins" / "update_test_2020.json")
    Image.open(min((root / "DIR").iterdir())).save(root / "photograph.jpg")
    for folder in ("FOLDER", "SOURCE"):
        shutil.copytree(meshes, root / folder)
    write_bop(root / "lmo")
    assert main(["scenes", "--meshes", str(meshes), "--count", "16", "--out", str(root / "shards")]) == 0
    lists, benchmark = (blocks(ROOT / "docs" / "bop.md", "yaml")[number] for number in (0, -1))
    (root / "lmo.yaml").write_text(lists.replace("obj_000005", "obj_000002"))
    (root / "lmo_pose.yaml").write_text(benchmark)
    return root


CLONE = (
    "README usage known_shapes bop data scenes rcnn metrics mask_completion training layered_embeddings benchmarking"
)
ELSEWHERE = "README usage data scenes rcnn metrics mask_completion training layered_embeddings benchmarking"


@pytest.mark.parametrize(
    ("place", "page"),
    [*(("clone", page) for page in CLONE.split()), *(("elsewhere", page) for page in ELSEWHERE.split())],
)
def test_all_that_a_page_tells_to_type(clone: Path, files: Path, tmp_path: Path, place: str, page: str) -> None:
    folder = clone if place == "clone" else tmp_path
    shutil.copytree(files, folder, dirs_exist_ok=True)
    for made in ("outputs", "images", "set", "kins", "nmr"):
        shutil.rmtree(folder / made, ignore_errors=True)
    path = clone / ("README.md" if page == "README" else f"docs/{page}.md")
    for number, block in enumerate(steps(path)):
        script = "\n".join(map(_elsewhere if place == "elsewhere" else str, _small(block, page).splitlines()))
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(clone),
        }
        done = subprocess.run(
            ["bash", "-c", PREAMBLE + script],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"block {number} of {path.name}:\n{script}\n{done.stdout}\n{done.stderr}"


def _small(block: str, page: str) -> str:
    block = block.replace("\\\n", " ")
    if page == "training":  # in other pages the reader has just made them
        block = block.replace("train.shards=DIR", "train.shards=shards")
    for pattern, instead in SMALL:
        block = re.sub(pattern, instead, block)
    if page != "scenes":
        return block
    lines = block.splitlines()
    for sign, name in DIR.items():
        lines = [line.replace("--out DIR", f"--out {name}") if sign in line else line for line in lines]
    return "rm -rf DIR images\n" * ("scenes --meshes" in block) + "\n".join(lines)


def _elsewhere(line: str) -> str:
    """Scripts and pictures of the pages belong to the checkout."""
    return ":" if line.startswith("python ") else line
