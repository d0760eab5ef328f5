"""Every system learns four images by heart."""

from __future__ import annotations

from pathlib import Path

import pytest

from shape3d_amodal.meshes.sources import CATEGORIES
from shape3d_amodal.scenes.compose import SceneConfig
from shape3d_amodal.scenes.shard_making import ShardsConfig
from shape3d_amodal.segmentation.config import (
    AugmentConfig,
    BackboneConfig,
    DetectorConfig,
    InputConfig,
    ProposalConfig,
    RegionConfig,
)
from shape3d_amodal.segmentation.images import ImagesConfig
from shape3d_amodal.segmentation.systems import SYSTEMS
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.run import run_training
from shape3d_amodal.training.tasks.rcnn import RcnnTraining

SIZE = 96
IMAGES = ImagesConfig(scenes=ShardsConfig(scenes=SceneConfig(image_size=SIZE), seed=5, count=4))
"""Eight objects, each of which fills half of its box or more: what a grid of 28 x 28 can hold at this size. Legs and
wings of a pixel's width fall between its cells, whatever is learned."""
DETECTOR = DetectorConfig(
    categories=CATEGORIES,
    input=InputConfig(short_side=SIZE, long_side=SIZE),
    backbone=BackboneConfig(depth=18, norm="GN", frozen_stages=0, channels=32),
    proposals=ProposalConfig(sizes=(8, 16, 32, 64, 96), sampled=64, before_nms=(100, 100), after_nms=(50, 50)),
    regions=RegionConfig(sampled=32, box_width=128, mask_channels=32),
)
LOOP = LoopConfig(
    steps=400, batch_size=4, learning_rate=2e-3, warmup_steps=20, ema_decay=0, clip_norm=5, threads=1, precision="auto"
)
OPTIONS: dict[str, tuple[str, dict[str, object]]] = {
    **{name: (name, {}) for name in SYSTEMS},
    "vrsp": ("vrsp", {"neighbours": 0, "rescore_shape": None}),
    "asn_panet": ("asn", {"base": "panet"}),
}
"""Systems and their options. VRSP's shapes would need a training of their own."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OPTIONS)
def test_four_images_are_learned_by_heart(name: str, tmp_path: Path) -> None:
    system, options = OPTIONS[name]
    config = RcnnTraining(
        stage="rcnn",
        system=system,
        options=options,
        detector=DETECTOR,
        train=IMAGES,
        validation=IMAGES,
        augment=AugmentConfig(flip=0),
        loop=LOOP,
    )
    result = run_training(config, tmp_path / "out", cache=tmp_path / "cache")
    assert result.metrics["amodal_ap50"] > 90
    if name == "aisformer":  # its other queries are no ornament
        assert result.metrics["visible_ap50"] > 90
