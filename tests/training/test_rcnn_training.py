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
from shape3d_amodal.segmentation.detector import Detector
from shape3d_amodal.segmentation.images import ImagesConfig
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.run import run_training
from shape3d_amodal.training.tasks.rcnn import RcnnTraining

CONFIGS = Path(__file__).parents[2] / "configs"
LOOP = LoopConfig(steps=2, batch_size=2, warmup_steps=0, precision="float32", threads=1, ema_decay=0, log_every=1)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImagesConfig:
    folder = write_drawn(tmp_path_factory.mktemp("drawn"), (3, 0, 5, 2))
    return ImagesConfig(annotations=str(folder / "annotations.json"), images=str(folder))


def training(images: ImagesConfig, **changes) -> RcnnTraining:
    config = RcnnTraining(
        stage="rcnn",
        options={"masks": "both"},
        detector=small_config().detector,
        train=images,
        validation=images,
        loop=LOOP,
    )
    return replace(config, **changes)


@pytest.fixture(scope="module")
def trained(images: ImagesConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of two steps of Mask R-CNN."""
    out = tmp_path_factory.mktemp("trained")
    result = run_training(training(images), out / "out", cache=out)
    assert {"amodal_ap", "amodal_ap50", "visible_ap", "visible_ap50"} == result.metrics.keys()
    assert all(0 <= value <= 100 for value in result.metrics.values())
    return out / "out" / "weights"


def test_the_weights_are_a_detector(trained: Path) -> None:
    detector = Detector.from_pretrained(trained)
    assert detector.categories == CATEGORIES
    assert all(one.category in CATEGORIES for one in detector.detect(np.zeros((50, 60, 3), np.uint8)))


def test_a_head_learns_on_a_detector_that_stays(images: ImagesConfig, trained: Path, tmp_path: Path) -> None:
    config = training(images, init=str(trained), freeze="detector", options={"masks": "amodal"})
    task = config.task(tmp_path, workers=0)
    batch, names = task.batch(0, np.random.default_rng(0), 2)
    assert len(names) == 2
    task.model.train()
    assert set(task.losses(batch, 0, 0.0)) == {"mask_amodal"}
    run_training(config, tmp_path / "out", cache=tmp_path)
    (_, before), (_, after) = load_weights(trained), load_weights(tmp_path / "out" / "weights")
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == (not name.startswith("mask_head.")), name


def test_a_box_head_of_its_own_is_learned_again(images: ImagesConfig, trained: Path, tmp_path: Path) -> None:
    """ASN has another box head, so that its classes and boxes must be learned with it; features and proposals stay."""
    config = training(images, system="asn", options={}, init=str(trained), freeze="detector")
    model = config.task(tmp_path, workers=0).model
    learned = {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learned == {"box_head", "box_predictor", "mask_head"}


def test_batches_hang_on_the_generator_alone(images: ImagesConfig, tmp_path: Path) -> None:
    task = training(images).task(tmp_path, workers=0)
    one, two = (task.batch(step, np.random.default_rng(7), 6)[0] for step in (0, 9))
    assert all(torch.equal(a, b) for a, b in zip(one.images, two.images, strict=True))
    assert all(torch.equal(a.amodal, b.amodal) for a, b in zip(one.targets, two.targets, strict=True))


def test_categories_come_from_the_annotations(images: ImagesConfig, tmp_path: Path) -> None:
    config = training(images)
    config = replace(config, detector=replace(config.detector, categories=()))
    assert config.network().detector.categories == CATEGORIES
    assert config.task(tmp_path, workers=0).model.classes == 3


def test_samples_are_shown(images: ImagesConfig, tmp_path: Path) -> None:
    task = training(images).task(tmp_path, workers=0)
    task.model.eval()
    picture = task.sample_images(1)["samples"]
    assert picture.shape[1:] == (3 * 84 - 4, 3) and picture.dtype == np.uint8
    assert picture.shape[0] > 4 * 100 - 4, "four images and titles"


def wrong_detector(config: RcnnTraining, **changes) -> RcnnTraining:
    return replace(config, detector=replace(config.detector, **changes))


def test_what_does_not_fit_is_one_line(images: ImagesConfig, trained: Path, tmp_path: Path) -> None:
    config = training(images)
    wider = BackboneConfig(depth=18, norm="GN", frozen_stages=0, channels=64)
    normed = replace(wider, channels=32, weights="resnet.safetensors")
    cases = [
        (replace(config, freeze="detector"), UsageError, r"^freeze: .* give them as init"),
        (replace(config, init=str(tmp_path / "no")), WeightsError, r"no: no such folder of weights"),
        (wrong_detector(replace(config, init=str(trained)), backbone=wider), WeightsError, r"backbone\..* has another"),
        (wrong_detector(config, backbone=normed), UsageError, r"^detector.backbone.weights: .* got GN"),
        (wrong_detector(config, categories=("box", "car")), UsageError, r"no category 'car', they have bar, box, disc"),
        (
            replace(config, train=replace(images, images=None)),
            UsageError,
            r"^train.images: annotations and images",
        ),
        (
            replace(config, train=replace(images, shards="x")),
            UsageError,
            r"^train.images: .* or shards, got both",
        ),
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
