"""The training of PCNet-M: what it may see, what it is validated by, that it learns, and that a benchmark runs it."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_masks import drawn_dataset
from torch import Tensor, nn

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.baselines.pcnet_m.crops import ErasedMasks
from shape3d_amodal.baselines.pcnet_m.network import PcnetMConfig
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.pool import open_pool
from shape3d_amodal.errors import DataError
from shape3d_amodal.scenes.compose import SceneConfig
from shape3d_amodal.structures import AmodalDataset
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.loop.schedule import learning_rate
from shape3d_amodal.training.registry import load_training
from shape3d_amodal.training.run import run_training
from shape3d_amodal.training.tasks.pcnet_m import (
    PcnetMTask,
    PcnetMTraining,
    annotated_masks,
    cropped_masks,
    open_masks,
)

LOOP = LoopConfig(steps=2, batch_size=4, warmup_steps=0, precision="float32", threads=1, ema_decay=0, log_every=1)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    write_coco_amodal(tmp_path / "annotations.json", drawn_dataset())
    return tmp_path / "annotations.json"


def training(annotations: Path, **changes: object) -> PcnetMTraining:
    source = CropsConfig(annotations=str(annotations))
    config = PcnetMTraining(
        stage="pcnet_m", model=PcnetMConfig(size=32, width=1), train=source, validation=source, loop=LOOP
    )
    return replace(config, **changes)


def without_amodal(dataset: AmodalDataset) -> AmodalDataset:
    def bare(instance):
        return replace(instance, amodal=None, occlude_rate=None)

    images = [replace(image, instances=tuple(map(bare, image.instances))) for image in dataset.images]
    return replace(dataset, images=tuple(images))


def test_the_batch_has_no_place_for_an_amodal_mask() -> None:
    assert [field.name for field in fields(ErasedMasks)] == ["visible", "eraser", "target"]
    assert list(inspect.signature(cropped_masks).parameters) == ["visible"]
    assert list(inspect.signature(annotated_masks).parameters) == ["visible"]


def test_every_target_is_a_visible_mask(annotations: Path) -> None:
    """Batches are made of the visible masks alone: they are the same where no amodal mask is known."""
    dataset = drawn_dataset()
    seen = [
        [(one.id, one.visible) for image in data.images for one in image.instances]
        for data in (dataset, without_amodal(dataset))
    ]
    batches = []
    for source in (
        open_masks(CropsConfig(annotations=str(annotations)), Path(), workers=0),
        *map(annotated_masks, seen),
    ):
        task = PcnetMTask(training(annotations), source, source)
        batches.append(task.batch(0, np.random.default_rng(5), 16))
    for batch, names in batches:
        assert type(batch) is ErasedMasks and names == batches[0][1]
        for field in fields(ErasedMasks):
            assert torch.equal(getattr(batch, field.name), getattr(batches[0][0], field.name))
    areas = {masks.area(mask) for _, mask in seen[0] if masks.area(mask) >= 16}
    source = annotated_masks(seen[0])
    assert {int(source.mask(i).sum()) for i in range(len(source))} == areas


def test_crops_without_a_mask_are_left_out() -> None:
    visible = np.zeros((3, 8, 8), np.uint8)
    visible[1, 2:6, 2:6] = 128
    visible[2] = 127
    source = cropped_masks(visible)
    assert (len(source), source.name(0)) == (1, "crop 1")
    np.testing.assert_array_equal(source.mask(0), visible[1] > 0)


def test_pools_give_their_visible_masks(box_folder: Path, tmp_path: Path) -> None:
    config = CropsConfig(meshes=str(box_folder), scenes=SceneConfig(image_size=64), size=32, min_visible_px=10, count=4)
    source, pool = open_masks(config, tmp_path, workers=0), open_pool(config, tmp_path, workers=0)
    rows = [int(source.name(i).removeprefix("crop ")) for i in range(len(source))]
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(source.mask(i), pool.visible[row] > 127)
    assert any((source.mask(i) != (pool.amodal[row] > 127)).any() for i, row in enumerate(rows)), "some are hidden"


def test_one_mask_is_too_few(tmp_path: Path) -> None:
    dataset = drawn_dataset()
    image = replace(dataset.images[0], instances=dataset.images[0].instances[:1])
    write_coco_amodal(tmp_path / "one.json", replace(dataset, images=(image,)))
    with pytest.raises(DataError, match=r"one.json: expected at least two visible masks of 16 pixels or more, got 1"):
        open_masks(CropsConfig(annotations=str(tmp_path / "one.json")), tmp_path, workers=0)


class Everywhere(nn.Module):
    """Says 'object' or 'background' everywhere."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, visible: Tensor, eraser: Tensor) -> Tensor:  # noqa: ARG002
        plane = torch.ones(visible.shape) * self.logit
        return torch.stack([-plane, plane], dim=1)


def test_validation_counts_what_is_restored_and_what_grows(annotations: Path) -> None:
    task = training(annotations).task(Path(), workers=0)
    task.network = Everywhere(1.0)  # type: ignore[assignment]
    assert task.validate(0)["grown_behind"] == 100
    assert 10 < task.validate(0)["erased_iou"] < 90
    task.network = Everywhere(-1.0)  # type: ignore[assignment]
    assert task.validate(0) == {"erased_iou": 0, "grown_behind": 0}


def test_losses_are_means_over_rows(annotations: Path) -> None:
    task = training(annotations).task(Path(), workers=0)
    task.network.eval()
    batch, _ = task.batch(0, np.random.default_rng(0), 8)
    whole, first, second = (task.losses(batch[rows], 0, 0.5) for rows in (slice(None), slice(4), slice(4, None)))
    for term in whole:
        torch.testing.assert_close((first[term] + second[term]) / 2, whole[term], rtol=1e-5, atol=1e-6)


def test_a_run_leaves_weights(annotations: Path, tmp_path: Path) -> None:
    result = run_training(training(annotations), tmp_path / "out", cache=tmp_path)
    assert result.step == 2 and set(result.metrics) == {"erased_iou", "grown_behind"}
    assert (tmp_path / "out" / "weights" / "model.safetensors").is_file()
    assert next((tmp_path / "out" / "samples").rglob("*.png")).stat().st_size > 500


def test_dry_run_of_the_shipped_configuration(tmp_path: Path) -> None:
    small = ["train.count=2", "validation.count=2", "loop.batch_size=2", "model.width=1", "loop.threads=1"]
    config = load_training(ROOT / "configs/open13/pcnet_m.yaml", overrides=small)
    assert run_training(config, tmp_path / "out", cache=tmp_path, dry_run=True).step == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["kins", "cocoa"])
def test_full_configurations_are_the_published_ones(name: str) -> None:
    config = load_training(ROOT / f"configs/{name}/pcnet_m.yaml")
    assert isinstance(config, PcnetMTraining)
    assert (config.model.size, config.model.width, config.loop.batch_size) == (256, 2, 32)
    assert (config.loop.optimizer, config.loop.momentum, config.loop.weight_decay) == ("sgd", 0.9, 1e-4)
    assert config.loop.steps == {"kins": 32_000, "cocoa": 56_000}[name]
    rates = [learning_rate(step, config.loop) for step in range(config.loop.steps)]
    changes = {step: rate for step, rate in enumerate(rates) if step == 0 or rate != rates[step - 1]}
    assert changes == pytest.approx({"kins": {0: 1e-3}, "cocoa": {0: 1e-3, 32_000: 1e-4, 48_000: 1e-5}}[name])


@pytest.mark.slow
def test_four_masks_are_learned_by_heart(annotations: Path) -> None:
    torch.manual_seed(0)
    task = training(annotations).task(Path(), workers=0)
    batch, _ = task.batch(0, np.random.default_rng(2), 4)
    optimizer = torch.optim.AdamW(task.network.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        loss = task.losses(batch, 0, 0.5)["cross_entropy"]
        loss.backward()
        optimizer.step()
    assert float(loss) < 0.02
    found = task.network(batch.visible, batch.eraser).argmax(dim=1) > 0
    iou = (found & batch.target).sum(dim=(1, 2)) / (found | batch.target).sum(dim=(1, 2))
    assert iou.min() > 0.97
