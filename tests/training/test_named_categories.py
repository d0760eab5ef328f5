"""Trainings of detectors and of VRSP's shapes that take their categories from a file remember them by their names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rcnn_small import CATEGORIES, small_config, write_drawn

from shape3d_amodal.baselines.rcnn.vrsp_shapes import ShapeMemoryConfig
from shape3d_amodal.errors import UsageError
from shape3d_amodal.segmentation.images import ImagesConfig
from shape3d_amodal.training.loop.interface import LoopConfig, TrainingConfig
from shape3d_amodal.training.run import run_training
from shape3d_amodal.training.tasks.rcnn import RcnnTraining
from shape3d_amodal.training.tasks.vrsp_shapes import VrspShapesTraining

LOOP = LoopConfig(steps=1, batch_size=2, warmup_steps=0, precision="float32", threads=1, ema_decay=0)


@pytest.fixture(params=["rcnn", "vrsp_shapes"])
def training(request: pytest.FixtureRequest, tmp_path: Path) -> TrainingConfig:
    folder = tmp_path / "drawn"
    folder.mkdir()
    write_drawn(folder, (3, 5))
    images = ImagesConfig(annotations=str(folder / "annotations.json"), images=str(folder))
    shared = {"stage": request.param, "train": images, "validation": images, "loop": LOOP}
    if request.param == "rcnn":
        return RcnnTraining(**shared, detector=replace(small_config().detector, categories=()))
    return VrspShapesTraining(**shared, memory=ShapeMemoryConfig(convs=3, channels=2, codes=2))


def test_a_resume_wants_the_categories_that_it_began_with(training: TrainingConfig, tmp_path: Path) -> None:
    """The networks know them by number: renamed, or in another order of the file, they would mean others."""
    run_training(training, tmp_path / "out", cache=tmp_path)
    run_training(training, tmp_path / "out", cache=tmp_path)  # nothing has changed
    file = Path(str(training.train.annotations))
    content = json.loads(file.read_text())
    content["categories"].reverse()
    file.write_text(json.dumps(content))
    there, now = list(CATEGORIES), list(CATEGORIES[::-1])
    with pytest.raises(UsageError) as caught:
        run_training(training, tmp_path / "out", cache=tmp_path)
    assert f"categories is {there!r} there and {now!r} now" in str(caught.value)
