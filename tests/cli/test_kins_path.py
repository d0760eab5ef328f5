"""KINS from end to end on scenes in its form: train, resume, predict, evaluate, and the benchmark's instance track."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from shape3d_amodal.cli import main

DETECTOR = {
    "input": {"short_side": 64, "long_side": 256},
    "backbone": {"depth": 18, "norm": "GN", "frozen_stages": 0, "channels": 32},
    "proposals": {"sizes": [8, 16, 32, 64, 128], "before_nms": [100, 100], "after_nms": [50, 50], "sampled": 32},
    "regions": {"sampled": 24, "box_width": 32, "mask_channels": 16},
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_train_resume_predict_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kins, out = tmp_path / "kins", tmp_path / "out"
    scenes = ["scenes", "--layout", "kins", "--count", "6", "--out", str(kins), "--set", "scenes.image_size=64"]
    assert main(scenes) == 0
    annotations, images = str(kins / "update_train_2020.json"), str(kins / "images")
    given = {"annotations": annotations, "images": images}
    config = {"stage": "rcnn", "options": {"masks": "both"}, "detector": DETECTOR}
    loop = {"steps": 60, "batch_size": 2, "warmup_steps": 5, "ema_decay": 0, "threads": 1}
    (tmp_path / "kins.yaml").write_text(
        yaml.safe_dump({**config, "pictures": given, "validation": given, "loop": loop})
    )
    train = ["train", str(tmp_path / "kins.yaml"), "--out", str(out)]
    assert main([*train, "--set", "loop.steps=30"]) == 0
    assert main(train) == 0
    assert "rcnn: 60 steps done" in capsys.readouterr().out
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").open()]
    assert steps == sorted(steps) and steps[-1] == 60

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
    assert 0 <= json.loads((tmp_path / "scores" / "instance.json").read_text())["results"]["overall"]["amodal_ap"] <= 1

    benchmark = {
        "data": {"kins": given},
        "methods": {
            "mask_rcnn": {"kind": "rcnn", "weights": str(out / "weights")},
            "ours": {"kind": "predict", "detector": str(out / "weights")},
        },
        "runs": [{"data": "kins", "track": "instance"}, {"data": "kins", "methods": ["mask_rcnn"]}],
    }
    (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump(benchmark))
    assert main(["benchmark", str(tmp_path / "benchmark.yaml"), "--out", str(tmp_path / "tables")]) == 0
    tables = (tmp_path / "tables" / "tables.md").read_text()
    assert "mask_rcnn" in tables and "ours" in tables and "amodal AP" in tables
