"""The shipped configurations of the R-CNN systems: published schedules, and options that their networks accept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from shape3d_amodal.meshes.sources import CATEGORIES
from shape3d_amodal.segmentation.layers import HeadShape
from shape3d_amodal.segmentation.systems import system_config
from shape3d_amodal.training.loop.schedule import learning_rate
from shape3d_amodal.training.registry import load_training
from shape3d_amodal.training.tasks.rcnn import RcnnTraining

CONFIGS = Path(__file__).parents[2] / "configs"


def load(path: Path) -> RcnnTraining:
    training = load_training(path)
    assert isinstance(training, RcnnTraining)
    return training


@pytest.mark.parametrize(
    ("name", "steps", "batch", "rate", "falls"),
    [
        ("kins/mask_rcnn", 48000, 1, 0.0025, [30000, 40000]),
        ("kins/imle", 48000, 1, 0.0025, [30000, 40000]),
        ("cocoa_cls/mask_rcnn", 10000, 2, 0.0005, [8000]),
        ("d2sa/mask_rcnn", 70000, 3, 0.01, [40000, 60000]),
        ("kins/orcnn", 48000, 1, 0.0025, [40000, 44000]),
        ("kins/arcnn", 48000, 4, 0.0025, [40000, 44000]),
        ("kins/arcnn_add", 48000, 4, 0.0025, [40000, 44000]),
        ("kins/panet", 24000, 8, 0.02, [20000, 22000]),
        ("kins/asn", 24000, 8, 0.02, [20000, 22000]),
        ("kins/asn_panet", 24000, 8, 0.02, [20000, 22000]),
        ("cocoa_cls/orcnn", 10000, 2, 0.0005, [5000, 8000]),
        ("cocoa_cls/arcnn", 10000, 2, 0.0005, [8000]),
        ("cocoa_cls/arcnn_add", 10000, 2, 0.0005, [8000]),
        ("d2sa/orcnn", 70000, 2, 0.005, [40000, 60000]),
        ("kins/bcnet", 48000, 1, 0.0025, [30000, 40000]),
        ("kins/vrsp", 48000, 1, 0.0025, [30000, 40000]),
        ("kins/aisformer", 48000, 1, 0.0025, [30000, 40000]),
        ("cocoa_cls/bcnet", 10000, 2, 0.0005, [5000, 8000]),
        ("cocoa_cls/vrsp", 10000, 2, 0.0005, [8000]),
        ("cocoa_cls/aisformer", 20000, 2, 0.0005, [5000, 8000]),
        ("d2sa/bcnet", 70000, 2, 0.005, [40000, 60000]),
        ("d2sa/vrsp", 70000, 2, 0.005, [40000, 60000]),
        ("d2sa/aisformer", 70000, 2, 0.005, [40000, 60000]),
    ],
)
def test_published_schedules(name: str, steps: int, batch: int, rate: float, falls: list[int]) -> None:
    """Mask R-CNN, ORCNN and VRSP: VRSP's repository; ARCNN: section 4.2 of its paper; ASN and PANet on KINS: section 5
    of the KINS paper; BCNet: aistron's repository; AISFormer: its own."""
    loop = load(CONFIGS / f"{name}.yaml").loop
    assert (loop.optimizer, loop.momentum, loop.weight_decay, loop.schedule) == ("sgd", 0.9, 1e-4, "step")
    assert (loop.steps, loop.batch_size, loop.learning_rate, loop.decay) == (steps, batch, rate, 0.1)
    rates = [learning_rate(step, loop) for fall in falls for step in (fall - 1, fall)]
    assert rates == pytest.approx([rate, rate / 10, rate / 10, rate / 100][: len(rates)])
    assert len(loop.milestones) == len(falls)


SMALL = ("orcnn", "arcnn", "arcnn_add", "panet", "asn", "asn_panet", "bcnet", "vrsp", "imle", "aisformer")


FOLDERS = ("kins", "cocoa_cls", "d2sa")
NAMES = [
    "open13/mask_rcnn",
    *(f"{folder}/mask_rcnn_small" for folder in ("open13", "shapes2d")),
    *(f"open13/{system}_small" for system in SMALL),
    *(f"{folder}/{system}" for folder in FOLDERS for system in ("mask_rcnn", *SMALL)),
]


@pytest.mark.parametrize("name", NAMES)
def test_every_system_can_be_built(name: str) -> None:
    training = load(CONFIGS / f"{name}.yaml")
    system = system_config(training.system, training.options)
    backbone, regions = training.detector.backbone, training.detector.regions
    shape = HeadShape(80, backbone.channels, regions.mask_channels, regions.mask_convs, regions.box_width)
    with torch.device("meta"):
        parts = (system.neck(shape), system.box_head(shape), system.mask_head(shape))
    assert all(sum(p.numel() for p in part.parameters()) > 0 for part in parts[1:])
    if training.train.annotations is None and training.train.shards is None:
        assert training.network().detector.categories == CATEGORIES


def test_the_table_of_all_systems_has_all_systems() -> None:
    content = yaml.safe_load((CONFIGS / "open13/systems.yaml").read_text(encoding="utf-8"))
    weights = {one.get("weights", "") for one in content["methods"].values()}
    names = {name.removesuffix("_small/weights").rpartition("/")[2] for name in weights}
    assert {"open13_detector", *SMALL} <= names
    assert {"outputs/open13/c2f_seg/weights", "baselines/unet2d", "baselines/pcnet_m"} <= weights
    runs = {(one["data"], one.get("track", "completion")) for one in content["runs"]}
    assert {("composed", "completion"), ("every object", "instance"), ("composed", "multimodal")} <= runs
    assert content["data"]["every object"]["scenes"] == content["data"]["composed"]["scenes"]
