"""All stages on annotated sets: with amodal masks, with some, and with none at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_masks import drawn_dataset, write_drawn
from tiny import tiny_config

from shape3d_amodal import masks
from shape3d_amodal.crops.augmentation import AugmentationConfig
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.doubt import DoubtConfig
from shape3d_amodal.crops.sources import open_crops
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.priors.learned.criterion import PriorLossConfig
from shape3d_amodal.structures import AmodalDataset
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.run import run_training
from shape3d_amodal.training.tasks.hidden_again import hidden_again
from shape3d_amodal.training.tasks.scores import completion_scores
from shape3d_amodal.training.tasks.stages import StageConfig, build_task

LOOP = LoopConfig(steps=2, batch_size=4, warmup_steps=0, precision="float32", threads=1, ema_decay=0, log_every=1)
STAGES = ("prior", "reconstruction", "viewpoint", "completion2d", "refinement", "end_to_end")


def bare(dataset: AmodalDataset, numbers: range) -> AmodalDataset:
    """The set without the amodal masks of some images."""
    images = list(dataset.images)
    for number in numbers:
        shown = [one for one in images[number].instances if masks.area(one.visible)]
        instances = [replace(one, amodal=None, occlude_rate=None) for one in shown]
        images[number] = replace(images[number], instances=tuple(instances))
    return replace(dataset, images=tuple(images))


def config_of(folder: Path, dataset: AmodalDataset, stage: str, **changes: object) -> StageConfig:
    annotations = write_drawn(folder, dataset)
    crops = CropsConfig(annotations=str(annotations), images=str(folder / "images"), size=32, min_visible_px=10)
    names = tuple(dict.fromkeys(category.name for category in dataset.categories))
    config = StageConfig(
        stage=stage,
        model=replace(tiny_config(), categories=names),
        train=crops,
        validation=crops,
        prior_loss=PriorLossConfig(choose_px=16),
        loop=LOOP,
    )
    return replace(config, **changes)


@pytest.mark.parametrize("stage", STAGES)
def test_a_set_without_amodal_masks(stage: str, tmp_path: Path) -> None:
    dataset = bare(drawn_dataset(), range(4))
    config = config_of(tmp_path / "set", dataset, stage, supervision="visible")
    result = run_training(config, tmp_path / "out", cache=tmp_path)
    names = set(result.metrics)
    assert ("certain_iou" in names) == (stage != "completion2d")
    assert any(name.startswith("rehidden_") and name.endswith("_occluded_iou") for name in names)
    assert all(0 <= value <= 100 for value in result.metrics.values())
    if stage == "completion2d":
        amodal = replace(config, supervision="amodal")
        with pytest.raises(DataError, match=r"with an amodal mask .*; set supervision to visible"):
            run_training(amodal, tmp_path / "no", cache=tmp_path)


@pytest.mark.parametrize("group", ["train", "validation"])
def test_a_folder_of_images_that_lacks_is_named_in_full(group: str, tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", drawn_dataset(), "completion2d")
    lacking = replace(config, **{group: replace(getattr(config, group), images=None)})
    with pytest.raises(UsageError, match=rf"^{group}\.images: crops of annotations need the folder of their images"):
        lacking.task(tmp_path, workers=0)


@pytest.mark.parametrize("stage", ["prior", "refinement"])
def test_amodal_supervision_draws_what_has_an_amodal_mask(stage: str, tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", bare(drawn_dataset(), range(2)), stage, supervision="amodal")
    pool = open_crops(config.train, tmp_path, categories=config.model.categories, workers=0)
    task = build_task(config, AmodalModel(config.model), pool, pool)
    _, ids = task.batch(0, np.random.default_rng(0), 64)
    drawn = {int(label.split()[-1]) for label in ids}
    known = set(np.flatnonzero(np.isfinite(pool.hidden)).tolist())
    assert drawn <= known and len(known) < len(pool.hidden)


def test_the_prior_is_judged_inside_each_image(tmp_path: Path) -> None:
    """Beyond its own image, whatever its size, nothing is known of an object."""
    dataset = drawn_dataset(images=2)
    wide = drawn_dataset(images=4, side=64).images[3]
    dataset = replace(dataset, images=(*dataset.images, replace(wide, id=3, file_name="2.png")))
    config = config_of(tmp_path / "set", dataset, "prior", supervision="amodal")
    pool = open_crops(config.train, tmp_path, categories=config.model.categories, workers=0)
    task = build_task(config, AmodalModel(config.model), pool, pool)
    rows = np.arange(len(pool.category))
    found = task.maker._inside(pool.supervised(rows).crops, rows).numpy()
    sides = np.where(pool.scene == 2, 64, 48)
    for row, side in enumerate(sides):
        x0, y0, x1, y1 = pool.window[row].tolist()
        fine = (np.arange(32 * 16) + 0.5) / (32 * 16)
        inside = [
            (low + (high - low) * fine >= 0) & (low + (high - low) * fine < side) for low, high in ((x0, x1), (y0, y1))
        ]
        share = (inside[1][:, None] & inside[0][None]).reshape(32, 16, 32, 16).mean(axis=(1, 3))
        np.testing.assert_allclose(found[row], share, atol=0.08)
    assert found.min() == 0


def test_what_is_hidden_again_is_always_the_same_and_known(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", bare(drawn_dataset(images=8), range(8)), "completion2d")
    pool = open_crops(config.train, tmp_path, workers=0, amodal=False)
    first, second = (list(hidden_again(pool)) for _ in range(2))
    assert len(first) == 1 and len(first[0].amodal) > 3
    torch.testing.assert_close(first[0].crops.visible, second[0].crops.visible, rtol=0, atol=0)
    batch = first[0]
    whole, left = (batch.amodal * batch.known).sum((1, 2)), (batch.crops.visible * batch.known).sum((1, 2))
    assert (left < 0.9 * whole).all()
    truth = {"truth": batch.amodal, "seen": batch.crops.visible}
    scores = completion_scores([(batch, truth)])
    assert scores["truth_iou"] == 100 and scores["seen_iou"] < 90 and scores["seen_occluded_iou"] == 0


def test_unknown_pixels_do_not_count() -> None:
    from shape3d_amodal.structures import InstanceCrops, SupervisedCrops

    amodal, found, known = (torch.zeros(1, 8, 8) for _ in range(3))
    amodal[:, :4], found[:, 2:6], known[:, :, :4] = 1, 1, 1
    found[:, :, 4:] = 1  # where nothing is known
    crops = InstanceCrops(
        torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8), amodal, torch.zeros(1).long(), torch.zeros(1, 4)
    )
    scores = completion_scores([(SupervisedCrops(crops, amodal, known), {"a": found})])
    assert scores["a_iou"] == pytest.approx(100 * 2 / 6)


def test_switches_change_what_the_stages_see(tmp_path: Path) -> None:
    """Border, doubt and sloppy masks reach the batches; the prior is judged by careful masks, stage 5 by whole ones."""
    config = config_of(tmp_path / "set", drawn_dataset(), "prior")
    names = config.model.categories
    background = replace(config.train, border="background")
    pool, other = (open_crops(one, tmp_path, categories=names, workers=0) for one in (config.train, background))
    width, height = np.indices((32, 32))[::-1] + 0.5
    x0, y0, x1, _ = np.moveaxis(pool.window[:, :, None, None], 1, 0)
    x, y = x0 + (x1 - x0) * width / 32, y0 + (x1 - x0) * height / 32
    pixel = (x1 - x0) / 32
    beyond = (np.minimum(x, y) < -pixel) | (np.maximum(x, y) > 48 + pixel)
    inside = (np.minimum(x, y) > pixel) & (np.maximum(x, y) < 48 - pixel)
    assert (pool.occluder[beyond] == 255).all() and not other.occluder[beyond].any() and beyond.any()
    np.testing.assert_array_equal(pool.occluder[inside], other.occluder[inside])
    with pytest.raises(UsageError, match=r"train\.border: expected background, as model\.border says, got unknown"):
        replace(config, model=replace(config.model, border="background")).check_options()

    changed = replace(
        config,
        model=replace(config.model, doubt=DoubtConfig(px=2.0, certainty=0.75)),
        augmentation=AugmentationConfig(warp=0.0, sloppy=1.0),
    )
    batches = []
    for one in (config, changed):
        maker = build_task(one, AmodalModel(one.model), pool, pool).maker
        batches.append(maker.make(maker.plan(0, np.random.default_rng(0), 16)))
    plain, sloppy = batches
    assert plain.target is None and plain.crops.doubt is None
    assert torch.equal(sloppy.target.visible, plain.crops.visible), "judged by careful masks"
    assert (sloppy.crops.visible != plain.crops.visible).any(dim=(1, 2)).float().mean() > 0.7
    assert set(sloppy.target.doubt.unique().tolist()) >= {0.0, 0.25}
    torch.testing.assert_close(sloppy.target.occluder - sloppy.target.doubt, plain.crops.occluder)

    fifth = replace(changed, stage="completion2d")
    maker = build_task(fifth, AmodalModel(fifth.model), pool, pool).maker
    batch = maker.make(maker.plan(0, np.random.default_rng(0), 16))
    careful = build_task(
        replace(fifth, augmentation=AugmentationConfig(warp=0.0)), AmodalModel(fifth.model), pool, pool
    )
    exact = careful.maker.make(careful.maker.plan(0, np.random.default_rng(0), 16))
    assert torch.equal(batch.amodal, exact.amodal) and not torch.equal(batch.crops.visible, exact.crops.visible)


@pytest.mark.parametrize("stage", ["prior", "completion2d", "end_to_end"])
def test_all_switches_together(stage: str, tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", drawn_dataset(), stage, balance=0.5)
    model = replace(config.model, border="background", doubt=DoubtConfig(), asymmetric=("chair",))
    crops = replace(config.train, border="background")
    config = replace(
        config, model=model, train=crops, validation=crops, augmentation=AugmentationConfig(sloppy=0.5, sloppy_px=1.0)
    )
    result = run_training(config, tmp_path / "out", cache=tmp_path)
    assert np.isfinite(list(result.metrics.values())).all()
    pipeline = ShapePriorPipeline.from_pretrained(tmp_path / "out" / "weights")
    assert pipeline.model.config.doubt == DoubtConfig() and pipeline.model.config.border == "background"


def told_of(dataset: AmodalDataset) -> AmodalDataset:
    """The set with a camera for each image but the first, and tracks through the images."""
    images = []
    for number, image in enumerate(dataset.images):
        instances = [replace(one, track=None if place == 2 else place) for place, one in enumerate(image.instances)]
        camera = None if number == 0 else (60.0, 60.0, 24.0, 4.0)
        images.append(replace(image, instances=tuple(instances), intrinsics=camera))
    return replace(dataset, images=tuple(images))


def test_the_ground_tells_elevations(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", told_of(drawn_dataset()), "prior")
    config = replace(config, prior_loss=replace(config.prior_loss, ground=2.0))
    pool = open_crops(config.train, tmp_path, categories=config.model.categories, workers=0)
    task = build_task(config, AmodalModel(config.model), pool, pool)
    plan = task.maker.plan(0, np.random.default_rng(0), 16)
    batch = task.maker.make(plan)
    first = torch.from_numpy(pool.scene[plan.rows] == 0)
    assert torch.equal(batch.slopes.isnan().all(dim=1), first) and first.any() and not first.all()
    losses = task.losses(batch, 0, 0.5)
    task.model.zero_grad()
    losses["ground"].backward()
    last = task.model.prior.viewpoint.parameters_of[-1]
    moved = last.bias.grad.view(6, -1).abs().sum(dim=1) > 0
    assert moved.tolist() == [False, True, False, False, False, False], "elevations alone"
    result = run_training(config, tmp_path / "out", cache=tmp_path)
    assert result.step == 2
    bare = config_of(tmp_path / "bare", drawn_dataset(), "prior", prior_loss=config.prior_loss)
    with pytest.raises(UsageError, match=r"prior_loss\.ground: needs annotated images whose cameras are known; give"):
        run_training(bare, tmp_path / "no", cache=tmp_path)
    with pytest.raises(UsageError, match=r"prior_loss\.ground: goes with the stages"):
        replace(config, stage="end_to_end").check_options()


def test_pairs_of_the_same_track(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", told_of(drawn_dataset()), "prior", pair_share=1.0)
    config = replace(config, prior_loss=replace(config.prior_loss, pairs=1.0))
    pool = open_crops(config.train, tmp_path, categories=config.model.categories, workers=0)
    task = build_task(config, AmodalModel(config.model), pool, pool)
    rows = task.maker.plan(0, np.random.default_rng(0), 32).rows
    first, second = pool.track[rows[::2]], pool.track[rows[1::2]]
    assert (first == second).all() and (first >= 0).all() and (rows[::2] != rows[1::2]).all()
    assert set(first.tolist()) == {0, 1}
    assert run_training(config, tmp_path / "out", cache=tmp_path).step == 2
    bare = config_of(tmp_path / "bare", drawn_dataset(), "prior", prior_loss=config.prior_loss)
    with pytest.raises(UsageError, match=r"expected crops of the same track, none of \d+ share one; give track_id"):
        run_training(bare, tmp_path / "no", cache=tmp_path)
