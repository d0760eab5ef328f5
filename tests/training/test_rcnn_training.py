"""Trainings of systems: what is drawn, what starts from what, what stays as it is, and what is left behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rcnn_small import CATEGORIES, small_config, write_drawn

from shape3d_amodal.errors import UsageError, WeightsError
from shape3d_amodal.files.weights import load_weights
from shape3d_amodal.segmentation.config import BackboneConfig
from shape3d_amodal.segmentation.finder import ObjectFinder
from shape3d_amodal.segmentation.images import PicturesConfig
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.run import run_training
from shape3d_amodal.training.tasks.rcnn import RcnnTraining

CONFIGS = Path(__file__).parents[2] / "configs"
LOOP = LoopConfig(steps=2, batch_size=2, warmup_steps=0, precision="float32", threads=1, ema_decay=0, log_every=1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> PicturesConfig:
    folder = write_drawn(tmp_path_factory.mktemp("drawn"), (3, 0, 5, 2))
    return PicturesConfig(annotations=str(folder / "annotations.json"), images=str(folder))


def training(pictures: PicturesConfig, **changes) -> RcnnTraining:
    config = RcnnTraining(
        stage="rcnn",
        options={"masks": "both"},
        detector=small_config().detector,
        pictures=pictures,
        validation=pictures,
        loop=LOOP,
    )
    return replace(config, **changes)


@pytest.fixture(scope="module")
def trained(pictures: PicturesConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of two steps of Mask R-CNN."""
    out = tmp_path_factory.mktemp("trained")
    result = run_training(training(pictures), out / "out", cache=out)
    assert {"amodal_ap", "amodal_ap50", "visible_ap", "visible_ap50"} == result.metrics.keys()
    assert all(0 <= value <= 100 for value in result.metrics.values())
    return out / "out" / "weights"


def test_the_weights_are_a_detector(trained: Path) -> None:
    finder = ObjectFinder.from_pretrained(trained)
    assert finder.categories == CATEGORIES
    assert all(one.category in CATEGORIES for one in finder.find(np.zeros((50, 60, 3), np.uint8)))


def test_a_head_learns_on_a_detector_that_stays(pictures: PicturesConfig, trained: Path, tmp_path: Path) -> None:
    config = training(pictures, init=str(trained), freeze="detector", options={"masks": "amodal"})
    task = config.task(tmp_path, workers=0)
    batch, names = task.batch(0, np.random.default_rng(0), 2)
    assert len(names) == 2
    task.model.train()
    assert set(task.losses(batch.to("cpu"), 0, 0.0)) == {"mask_amodal"}
    run_training(config, tmp_path / "out", cache=tmp_path)
    (_, before), (_, after) = load_weights(trained), load_weights(tmp_path / "out" / "weights")
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == (not name.startswith("mask_head.")), name


def test_a_box_head_of_its_own_is_learned_again(pictures: PicturesConfig, trained: Path, tmp_path: Path) -> None:
    """ASN has another box head, so that its classes and boxes must be learned with it; features and proposals stay."""
    config = training(pictures, system="asn", options={}, init=str(trained), freeze="detector")
    model = config.task(tmp_path, workers=0).model
    learned = {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learned == {"box_head", "box_predictor", "mask_head"}


def test_batches_hang_on_the_generator_alone(pictures: PicturesConfig, tmp_path: Path) -> None:
    task = training(pictures).task(tmp_path, workers=0)
    one, two = (task.batch(step, np.random.default_rng(7), 6)[0].to("cpu") for step in (0, 9))
    for a, b in zip(one.samples, two.samples, strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.targets.amodal, b.targets.amodal)


def test_categories_come_from_the_annotations(pictures: PicturesConfig, tmp_path: Path) -> None:
    config = training(pictures)
    config = replace(config, detector=replace(config.detector, categories=()))
    assert config.network().detector.categories == CATEGORIES
    assert config.task(tmp_path, workers=0).model.classes == 3


def test_samples_are_shown(pictures: PicturesConfig, tmp_path: Path) -> None:
    task = training(pictures).task(tmp_path, workers=0)
    task.model.eval()
    picture = task.sample_images(1)["samples"]
    assert picture.shape == (4 * 100 - 4, 3 * 84 - 4, 3) and picture.dtype == np.uint8


def wrong_detector(config: RcnnTraining, **changes) -> RcnnTraining:
    return replace(config, detector=replace(config.detector, **changes))


def test_what_does_not_fit_is_one_line(pictures: PicturesConfig, trained: Path, tmp_path: Path) -> None:
    config = training(pictures)
    wider = BackboneConfig(depth=18, norm="GN", frozen_stages=0, channels=64)
    normed = replace(wider, channels=32, weights="resnet.safetensors")
    cases = [
        (replace(config, freeze="detector"), UsageError, r"^freeze: .* give them as init"),
        (replace(config, init=str(tmp_path / "no")), WeightsError, r"no: no such folder of weights"),
        (wrong_detector(replace(config, init=str(trained)), backbone=wider), WeightsError, r"backbone\..* has another"),
        (wrong_detector(config, backbone=normed), UsageError, r"^detector.backbone.weights: .* got GN"),
        (wrong_detector(config, categories=("box", "car")), UsageError, r"no category 'car', they have bar, box, disc"),
        (replace(config, pictures=replace(pictures, images=None)), UsageError, r"annotations and images go together"),
        (replace(config, pictures=replace(pictures, shards="x")), UsageError, r"annotations or shards, got both"),
        (
            wrong_detector(replace(config, init=str(trained)), categories=CATEGORIES[::-1]),
            WeightsError,
            r"expected a detector of the categories .* in this order, got",
        ),
        (replace(config, system="aisformer", options={"heads": 3}), UsageError, r"^options.heads: expected a divisor"),
        (replace(config, system="fast"), UsageError, r"^system: expected one of mask_rcnn"),
    ]
    for wrong, error, problem in cases:
        with pytest.raises(error, match=problem) as caught:
            wrong.task(tmp_path, workers=0)
        assert "\n" not in str(caught.value)
