"""KINS from end to end on scenes in its form: train, resume, predict, evaluate, and the benchmark's instance track."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from shape3d_amodal.cli import main

CONFIG = Path(__file__).parents[2] / "configs/kins/mask_rcnn.yaml"
SMALL = (
    "detector.input={short_side: 64, long_side: 256}",
    "detector.backbone={depth: 18, norm: GN, frozen_stages: 0, channels: 32}",
    "detector.proposals={sizes: [8, 16, 32, 64, 128], before_nms: [100, 100], after_nms: [50, 50], sampled: 32}",
    "detector.regions={sampled: 24, box_width: 32, mask_channels: 16}",
    "loop.batch_size=2",
    "loop.learning_rate=0.01",
    "loop.warmup_steps=5",
    "loop.threads=1",
)
"""The shipped configuration with a network and a schedule that a test can afford."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_train_resume_predict_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kins, out = tmp_path / "kins", tmp_path / "out"
    scenes = ["scenes", "--layout", "kins", "--count", "6", "--out", str(kins), "--set", "height=64", "width=212"]
    assert main(scenes) == 0
    annotations, images = str(kins / "update_train_2020.json"), str(kins / "images")
    given = {"annotations": annotations, "images": images}
    places = [f"{part}.{key}={value}" for part in ("train", "validation") for key, value in given.items()]
    train = ["train", str(CONFIG), "--out", str(out), "--set", *SMALL, *places]
    assert main([*train, "loop.steps=30"]) == 0
    assert main([*train, "loop.steps=120"]) == 0
    assert "rcnn: 120 steps done" in capsys.readouterr().out
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").open()]
    assert steps == sorted(steps) and steps[-1] == 120

    command = ["predict", images, "--annotations", annotations, "--detector", str(out / "weights"), "--no-drawings"]
    assert main([*command, "--min-score", "0.02", "--out", str(tmp_path / "found")]) == 0
    results = str(tmp_path / "found" / "results.json")
    score = [
        "evaluate",
        results,
        "--annotations",
        annotations,
        "--track",
        "instance",
        "--out",
        str(tmp_path / "scores"),
    ]
    assert main(score) == 0
    overall = json.loads((tmp_path / "scores" / "instance.json").read_text())["results"]["overall"]
    assert overall["amodal_ar100"] > 0, "something of what was shown forty times is found again"

    benchmark = {
        "data": {"kins": given},
        "methods": {
            "mask_rcnn": {"kind": "rcnn", "weights": str(out / "weights")},
            "ours": {"kind": "predict", "detector": str(out / "weights")},
        },
        "runs": [{"data": "kins", "track": "instance"}],
    }
    (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump(benchmark))
    assert main(["benchmark", str(tmp_path / "benchmark.yaml"), "--out", str(tmp_path / "tables")]) == 0
    tables = (tmp_path / "tables" / "tables.md").read_text()
    assert "mask_rcnn" in tables and "ours" in tables and "amodal AP" in tables


SMALL_TRAININGS = {
    "shape_prior_small": (),
    "completion2d_small": (),
    "refinement_small": (),
    "refinement_visible_small": (),
    "unet2d_small": (),
    "pcnet_m_small": (),
    **{f"{name}_small": SMALL[:4] for name in ("mask_rcnn", "orcnn", "asn")},
}
"""The trainings of scripts/train_kins.sh --small, in its order, with smaller detectors."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_small_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the scenes to the report of benchmark_small.yaml by the shipped configurations, each for a few steps."""
    script = (CONFIG.parents[2] / "scripts/train_kins.sh").read_text(encoding="utf-8")
    assert all(name in script for name in SMALL_TRAININGS)
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        scenes = ["scenes", "--layout", "kins", "--meshes", f"open13:{split}", "--count", str(count)]
        assert main([*scenes, "--out", f"outputs/kins_like/{split}", "--set", "height=120", "width=400"]) == 0
    short = ["loop.steps=2", "loop.batch_size=2", "loop.warmup_steps=0"]
    for name, smaller in SMALL_TRAININGS.items():
        assert main(["train", f"configs/kins/{name}.yaml", "--set", *short, *smaller]) == 0, name
        assert Path(f"outputs/kins/{name}/weights/model.safetensors").is_file()
    assert main(["benchmark", "configs/kins/benchmark_small.yaml", "--out", "report"]) == 0
    tables = Path("report/tables.md").read_text(encoding="utf-8")
    rows = ("ours, visible masks alone", "ours without silhouettes", "unet2d", "ORCNN", "ASN", "PCNet-M", "convex hull")
    assert all(row in tables for row in rows)
    assert "rider" not in tables and "occluder" not in tables
