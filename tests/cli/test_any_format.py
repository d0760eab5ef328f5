"""The commands that take annotations take them in any format."""

from __future__ import annotations

import json
from pathlib import Path

import annotated
import numpy as np
import pytest
from PIL import Image
from tiny import tiny_model

from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.results import AmodalResult, read_results, write_results
from shape3d_amodal.cli import main
from shape3d_amodal.pipeline import ShapePriorPipeline


@pytest.mark.parametrize("name", annotated.FORMATS)
def test_evaluate(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The truth scores 100 %."""
    path = tmp_path / "set.json"
    path.write_text(json.dumps(annotated.FORMATS[name]()))
    truth = [
        AmodalResult(
            image_id=image.id,
            category_id=one.category_id,
            score=1.0,
            segmentation=one.amodal,
            annotation_id=one.id,
        )
        for image in read_dataset(path).images
        for one in image.instances
        if one.amodal is not None
    ]
    write_results(tmp_path / "truth.json", truth)
    assert main(["evaluate", str(tmp_path / "truth.json"), "--annotations", str(path)]) == 0
    assert "100.0" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["kins2019", "kins2020", "cocoa_cls", "own"])
def test_complete_leaves_out_what_is_fully_hidden(name: str, tmp_path: Path) -> None:
    document = annotated.FORMATS[name]()
    for category in document["categories"]:
        category["name"] = "car"
    hidden = document["annotations"][0]
    for key in ("inmodal_seg", "i_segm", "visible_mask"):
        hidden |= {key: annotated.EMPTY_CODE} if key in hidden else {}
    (tmp_path / "set.json").write_text(json.dumps(document))
    Image.fromarray(np.full((8, 12, 3), 90, np.uint8)).save(tmp_path / "000005.png")
    ShapePriorPipeline.from_model(tiny_model()).save_pretrained(tmp_path / "weights")
    arguments = ("--images", str(tmp_path), "--annotations", str(tmp_path / "set.json"))
    options = ("--weights", str(tmp_path / "weights"), "--out", str(tmp_path / "results.json"))
    assert main(["complete", *arguments, *options]) == 0
    assert [result.annotation_id for result in read_results(tmp_path / "results.json")] == [2, 3]
