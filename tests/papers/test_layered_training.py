"""The training of layered embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from shape3d_amodal.config import from_mapping
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.papers.layered.network import LayeredConfig, LayeredNetwork
from shape3d_amodal.papers.layered.shapes2d import CLASSES, Shapes2dConfig, depth_layers, make_shapes
from shape3d_amodal.papers.layered.training import LayeredTask, LayeredTraining, collate
from shape3d_amodal.training.run import run_training

TINY = {
    "stage": "layered_embeddings",
    "model": {"image_size": 64, "backbone": "resnet18", "features": 16, "heads": [16], "embedding": 3},
    "shapes": {"size": 64, "per_class": 1},
    "validation_count": 2,
    "loop": {"steps": 2, "batch_size": 2, "threads": 1, "device": "cpu", "warmup_steps": 0, "seed": 0},
}


def tiny(**changes: object) -> LayeredTraining:
    merged = {**TINY, **{key: {**TINY[key], **value} for key, value in changes.items() if isinstance(value, dict)}}
    merged |= {key: value for key, value in changes.items() if not isinstance(value, dict)}
    return from_mapping(merged, LayeredTraining, source="test")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"shapes": {"size": 128}}, r"model.image_size: expected shapes.size \(128\), got 64"),
        ({"model": {"classes": ["circle"]}}, "model.classes: expected names of circle, triangle, rectangle"),
        ({"model": {"classes": [*CLASSES, "star"]}}, "model.classes: expected names"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], problem: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=problem):
        tiny(**changes).task(tmp_path, workers=0)


def test_a_batch_holds_the_steps_own_scenes(tmp_path: Path) -> None:
    task = tiny().task(tmp_path, workers=0)
    batch, ids = task.batch(3, np.random.default_rng(0), 2)
    assert ids == ["scene 6", "scene 7"]
    for row, number in enumerate((6, 7)):
        scene = make_shapes(Shapes2dConfig(size=64, per_class=1), 0, 2**40 + number)
        whole, classes = scene.on_grid(4)
        assert np.array_equal(batch["images"][row].numpy(), scene.image)
        assert np.array_equal(batch["instances"][row].numpy(), depth_layers(whole, 2))
        assert batch["classes"][row, : len(classes)].tolist() == classes.tolist()


def test_classes_are_places_in_the_models_list() -> None:
    model = tiny(model={"classes": ["rectangle", "circle"]}, shapes={"classes": ["rectangle"]}).model
    scene = make_shapes(Shapes2dConfig(size=64, per_class=2, classes=("rectangle",)), 0, 0)
    assert collate([scene], model)["classes"].unique().tolist() == [0]


def test_a_batch_may_have_an_empty_scene(tmp_path: Path) -> None:
    task = tiny(shapes={"per_class": 0}).task(tmp_path, workers=0)
    batch, _ = task.batch(0, np.random.default_rng(0), 2)
    losses = task.losses(batch, 0, 0.0)
    assert float(losses["variance"].detach() + losses["distance"].detach()) == 0
    sum(losses.values()).backward()


def test_a_training_goes_from_configuration_to_weights(tmp_path: Path) -> None:
    config = tiny()
    result = run_training(config, tmp_path / "out", cache=tmp_path)
    # The AP of hidden parts is there where something is hidden, which in two scenes of three shapes need not be.
    assert set(result.metrics) - {"occluded_ap"} == {"amodal_ap", "amodal_ap50", "amodal_ar100"}
    assert load_network(tmp_path / "out" / "weights", LayeredConfig, LayeredNetwork)[1] == config.model


@pytest.mark.slow
def test_four_images_are_learned_by_heart(tmp_path: Path) -> None:
    """Two shapes a class on 64 x 64 pixels: each instance is found, and most of what can be known of it."""
    config = tiny(
        model={"features": 32, "heads": [32, 32], "embedding": 6}, shapes={"per_class": 2}, validation_count=4
    )
    task = config.task(tmp_path, workers=0)
    scenes = [make_shapes(config.shapes, config.validation_seed, index) for index in range(4)]
    losses = _learn(task, scenes, steps=200)
    assert losses["variance"] < 0.05 and losses["distance"] < 0.1 and losses["class"] < 0.3
    task.modules().eval()
    assert task.validate(0)["amodal_ap"] > 80


def _learn(task: LayeredTask, scenes: list, steps: int) -> dict[str, float]:
    batch = collate(scenes, task.config.model)
    optimizer = torch.optim.AdamW(task.modules().parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        optimizer.zero_grad()
        losses = task.losses(batch, step, 0.0)
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(task.modules().parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return {name: float(value.detach()) for name, value in losses.items()}
