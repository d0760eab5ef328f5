"""Sets in the forms of COCOA and BOP, with categories of their own: trained, resumed to the bit, and completed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bop_set import write_bop
from drawn_masks import drawn_dataset, write_drawn
from safetensors.torch import load_file
from tiny import tiny_config

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.cocoa import write_cocoa
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.results import read_results
from shape3d_amodal.cli import main
from shape3d_amodal.crops.augmentation import AugmentationConfig
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.priors.learned.criterion import PriorLossConfig
from shape3d_amodal.refinement.network import RefinementConfig
from shape3d_amodal.structures import Category
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.run import run_training
from shape3d_amodal.training.tasks.stages import StageConfig

Set = tuple[Path, Path]
"""Annotation file and folder of images."""


def cocoa(folder: Path) -> Set:
    """Named in free text, one record for each picture."""
    dataset = replace(drawn_dataset(), categories=(Category(1, "little girl"), Category(2, "hot dog stand")))
    write_drawn(folder, dataset)
    write_cocoa(folder / "cocoa.json", dataset)
    return folder / "cocoa.json", folder / "images"


def bop(folder: Path) -> Set:
    """Objects by number, with poses and a camera."""
    split = write_bop(folder)
    assert (
        main(["data", "convert", str(split), "--from", "bop", "--to", "coco_amodal", "--out", str(folder / "a.json")])
        == 0
    )
    return folder / "a.json", split


def config_of(found: Set, stage: str, **changes: object) -> StageConfig:
    crops = CropsConfig(annotations=str(found[0]), images=str(found[1]), size=32, min_visible_px=10)
    loop = LoopConfig(steps=2, batch_size=4, warmup_steps=0, threads=1, precision="float32", log_every=1)
    config = StageConfig(
        stage=stage,
        annotated_categories=True,
        model=tiny_config(),
        train=crops,
        validation=crops,
        prior_loss=PriorLossConfig(choose_px=16),
        loop=loop,
    )
    return replace(config, **changes)


@pytest.mark.parametrize("stage", ["prior", "refinement"])
@pytest.mark.parametrize("made", [cocoa, bop])
def test_trained_resumed_and_completed(made: Callable[[Path], Set], stage: str, tmp_path: Path) -> None:
    found = made(tmp_path / "set")
    config = config_of(found, stage)
    longer = replace(config, loop=replace(config.loop, steps=4))
    run_training(longer, tmp_path / "once", cache=tmp_path)
    stopped = replace(longer, loop=replace(longer.loop, max_minutes=1e-6))
    for _ in range(4):  # after every step
        run_training(stopped, tmp_path / "resumed", cache=tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / "resumed" / "log.jsonl").open()]
    assert steps == sorted(steps) and steps[-1] == 4
    once, resumed = (load_file(tmp_path / run / "weights" / "model.safetensors") for run in ("once", "resumed"))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in once.items())

    command = ["complete", "--images", str(found[1]), "--annotations", str(found[0]), "--out", str(tmp_path / "r.json")]
    assert main([*command, "--weights", str(tmp_path / "resumed" / "weights")]) == 0
    dataset = read_dataset(found[0])
    own = {one.id: one for image in dataset.images for one in image.instances if masks.area(one.visible)}
    results = read_results(tmp_path / "r.json")
    assert {one.annotation_id for one in results} == own.keys()
    assert all(one.category_id == own[one.annotation_id or 0].category_id for one in results)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_four_pictures_are_learned_by_heart(tmp_path: Path) -> None:
    """A stage 5 that has seen nothing else gives their whole masks back."""
    found = cocoa(tmp_path / "set")
    refinement = RefinementConfig(patch=1, widths=(16, 32, 64), priors=())
    config = config_of(
        found,
        "completion2d",
        model=replace(tiny_config(), refinement=refinement),
        augmentation=AugmentationConfig(warp=0.0),
        hidden_share=0.5,
        loop=LoopConfig(steps=300, batch_size=24, learning_rate=2e-3, ema_decay=0.97, threads=1, precision="float32"),
    )
    run_training(config, tmp_path / "out", cache=tmp_path)
    command = ["complete", "--images", str(found[1]), "--annotations", str(found[0]), "--out", str(tmp_path / "r.json")]
    assert main([*command, "--weights", str(tmp_path / "out" / "weights")]) == 0
    whole = {one.id: one.amodal for image in read_dataset(found[0]).images for one in image.instances}
    shares = []
    for one in read_results(tmp_path / "r.json"):
        truth = whole[one.annotation_id or 0]
        assert truth is not None
        made, true = masks.decode(one.segmentation), masks.decode(truth)
        shares.append((made & true).sum() / (made | true).sum())
    assert np.mean(shares) > 0.95
