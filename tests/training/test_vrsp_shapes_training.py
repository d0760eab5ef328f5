"""The training of VRSP's shapes: how masks are cut and varied, what is left behind, and what starts with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rcnn_small import CATEGORIES, small_config, write_drawn

from shape3d_amodal import masks
from shape3d_amodal.baselines.rcnn.vrsp_shapes import ShapeMemory, ShapeMemoryConfig, ShapesConfig
from shape3d_amodal.config import parse_config
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.weights import load_weights
from shape3d_amodal.segmentation.images import ImagesConfig
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.run import run_training
from shape3d_amodal.training.tasks.rcnn import RcnnTraining
from shape3d_amodal.training.tasks.vrsp_shapes import Variation, VrspShapesTraining, cut_mask

LOOP = LoopConfig(steps=2, batch_size=4, warmup_steps=0, precision="float32", threads=1, ema_decay=0, log_every=1)
MEMORY = ShapeMemoryConfig(convs=3, channels=2, codes=2)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImagesConfig:
    folder = write_drawn(tmp_path_factory.mktemp("drawn"), (3, 0, 5, 2))
    return ImagesConfig(annotations=str(folder / "annotations.json"), images=str(folder))


def training(images: ImagesConfig, **changes: object) -> VrspShapesTraining:
    config = VrspShapesTraining(stage="vrsp_shapes", memory=MEMORY, train=images, validation=images, loop=LOOP)
    return replace(config, **changes)


def test_a_mask_is_cut_in_its_box() -> None:
    mask = np.zeros((90, 80), bool)
    mask[10:66, 20:48] = True  # 56 x 28
    mask[10:38, 20:34] = False  # without its upper left quarter
    cut = cut_mask(masks.encode(mask))
    expected = torch.ones(28, 28)
    expected[:14, :14] = 0
    assert torch.equal(cut, expected)


def test_the_sides_of_the_box_may_be_moved() -> None:
    mask = np.zeros((80, 80), bool)
    mask[20:48, 20:48] = True
    outwards = cut_mask(masks.encode(mask), np.array([-0.5, -0.5, 0.5, 0.5]))
    assert outwards.sum() == 14 * 14
    assert outwards[7:21, 7:21].all()
    left_half = cut_mask(masks.encode(mask), np.array([-1.0, 0.0, 0.0, 0.0]))
    assert not left_half[:, :14].any() and left_half[:, 14:].all()


def test_masks_are_mirrored_and_perhaps_turned() -> None:
    corner = torch.zeros(60, 28, 28)
    corner[:, :5, :3] = 1
    generator = np.random.default_rng(0)
    upright, turned = (Variation.draw(generator, 60, turned=turned).of(corner) for turned in (False, True))
    assert {tuple(one.nonzero().amin(dim=0).tolist()) for one in upright} == {(0, 0), (0, 25)}
    assert len(turned.unique(dim=0)) == 8


def test_batches_hang_on_the_generator_alone(images: ImagesConfig, tmp_path: Path) -> None:
    task = training(images).task(tmp_path, workers=0)
    (one, ids), (two, _) = (task.batch(step, np.random.default_rng(3), 6) for step in (0, 5))
    assert torch.equal(one, two) and one.shape == (6, 28, 28)
    assert len(ids) == 6 and ids[0].startswith("annotation ")


def test_the_loss_is_the_squared_difference(images: ImagesConfig, tmp_path: Path) -> None:
    task = training(images).task(tmp_path, workers=0)
    torch.nn.init.zeros_(task.memory.last.weight)
    torch.nn.init.zeros_(task.memory.last.bias)  # all masks are 1/2 everywhere
    loss = task.losses(torch.ones(2, 28, 28), 0, 0.0)["squared"]
    assert loss.item() == pytest.approx(0.25)


def test_the_weights_hold_the_codebook_and_a_system_starts_with_them(images: ImagesConfig, tmp_path: Path) -> None:
    result = run_training(training(images), tmp_path / "shapes", cache=tmp_path)
    assert 0 <= result.metrics["iou"] <= 100
    text, state = load_weights(tmp_path / "shapes" / "weights")
    beside = parse_config(text, ShapesConfig)
    assert beside == ShapesConfig(categories=CATEGORIES, memory=MEMORY)
    assert state["known"].tolist() == [2, 2, 2]
    assert state["codebook"].shape == (3, 2, 2 * 4 * 4)
    memory = ShapeMemory(3, MEMORY)
    memory.load_state_dict(state)
    system = RcnnTraining(
        stage="rcnn",
        system="vrsp",
        options={"shapes": str(tmp_path / "shapes" / "weights"), "memory": {"convs": 3, "channels": 2, "codes": 2}},
        detector=small_config().detector,
        train=images,
        validation=images,
        loop=LOOP,
    )
    model = system.task(tmp_path, workers=0).model
    assert torch.equal(model.state_dict()["mask_head.shapes.codebook"], memory.codebook)
    assert not any(p.requires_grad for p in model.mask_head.shapes.parameters())
    assert system.network().options.keys() == {"memory"}


def test_samples_are_shown(images: ImagesConfig, tmp_path: Path) -> None:
    picture = training(images).task(tmp_path, workers=0).sample_images(1)["samples"]
    assert picture.shape[1:] == (2 * 88 - 4, 3) and picture.dtype == np.uint8
    assert picture.shape[0] > 10 * 88 - 4, "ten masks and titles"


def test_categories_without_a_mask_are_refused(images: ImagesConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train: expected amodal masks of car, found none"):
        training(images, categories=("car",)).task(tmp_path, workers=0)
