"""A detector so small that tests can run whole systems, and drawn images for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.segmentation.config import (
    BackboneConfig,
    DetectorConfig,
    InputConfig,
    ProposalConfig,
    RegionConfig,
)
from shape3d_amodal.segmentation.layers import HeadShape
from shape3d_amodal.segmentation.model import Rcnn
from shape3d_amodal.segmentation.roi_heads import Rois, RoiTargets
from shape3d_amodal.segmentation.samples import ImageTargets, Samples
from shape3d_amodal.segmentation.systems import RcnnConfig
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category

CATEGORIES = ("box", "disc", "bar")
SHAPE = HeadShape(classes=3, channels=8, mask_channels=8, mask_convs=4, box_width=16)
SIZE = 96
"""Side of the drawn images."""


def small_config(system: str = "mask_rcnn", **options: Any) -> RcnnConfig:
    detector = DetectorConfig(
        categories=CATEGORIES,
        input=InputConfig(short_side=SIZE, long_side=SIZE),
        backbone=BackboneConfig(depth=18, norm="GN", frozen_stages=0, channels=32),
        proposals=ProposalConfig(sizes=(8, 16, 32, 64, 96), sampled=32, before_nms=(60, 60), after_nms=(40, 40)),
        regions=RegionConfig(sampled=24, box_width=16, mask_channels=8, detections=10),
    )
    return RcnnConfig(detector=detector, system=system, options=options)


def small_rcnn(system: str = "mask_rcnn", seed: int = 0, **options: Any) -> Rcnn:
    torch.manual_seed(seed)
    return Rcnn(small_config(system, **options))


def random_rois(count: int, shape: HeadShape = SHAPE, seed: int = 0) -> Rois:
    """``count`` regions of two images with random features."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 40
    return Rois(
        features=torch.randn(count, shape.channels, 14, 14, generator=generator),
        category=torch.arange(count) % shape.classes,
        boxes=torch.cat([corner, corner + 20], dim=1),
    )


def random_targets(count: int, shape: HeadShape = SHAPE, seed: int = 0) -> RoiTargets:
    """Targets for ``random_rois``: an amodal disc-like mask, some of which is hidden behind an occluder."""
    generator = torch.Generator().manual_seed(seed)
    amodal = (torch.rand(count, 28, 28, generator=generator) < 0.6).float()
    occluder = (torch.rand(count, 28, 28, generator=generator) < 0.3).float()
    visible = amodal * (1 - occluder)
    hidden = 1 - visible.sum(dim=(1, 2)) / amodal.sum(dim=(1, 2)).clamp(min=1)
    category = torch.arange(count) % shape.classes
    return RoiTargets(amodal, visible, occluder, hidden, category, torch.arange(count) + 1)


def drawn_sample(count: int, seed: int = 0, *, fully_hidden: bool = False) -> tuple[torch.Tensor, ImageTargets]:
    """An image [3,H,W] uint8 of ``count`` boxes in random places, the later ones in front, and what is true of them."""
    random = np.random.default_rng(seed)
    image = np.full((SIZE, SIZE, 3), 255, np.uint8)
    amodal = np.zeros((count, SIZE, SIZE), bool)
    for i in range(count):
        if fully_hidden and i == 1:
            amodal[1] = amodal[0]  # exactly in front of the first one
        else:
            (x, y), (w, h) = random.integers(0, SIZE - 40, 2), random.integers(16, 40, 2)
            amodal[i, y : y + h, x : x + w] = True
        image[amodal[i]] = random.integers(0, 200, 3)
    visible = np.array([mask & ~amodal[i + 1 :].any(axis=0) for i, mask in enumerate(amodal)]).reshape(amodal.shape)
    others = np.array([visible.any(axis=0) & ~mask for mask in visible]).reshape(amodal.shape)
    boxes = [[c.min(), r.min(), c.max() + 1, r.max() + 1] for r, c in map(np.nonzero, amodal)]
    areas = amodal.sum(axis=(1, 2))
    targets = ImageTargets(
        boxes=torch.tensor(np.array(boxes, np.float32).reshape(-1, 4)),
        category=torch.arange(count) % len(CATEGORIES),
        amodal=torch.from_numpy(amodal),
        visible=torch.from_numpy(visible),
        occluder=torch.from_numpy(others),
        hidden=torch.from_numpy(1 - visible.sum(axis=(1, 2)) / np.maximum(areas, 1)).float(),
        annotation=torch.arange(count) + 1,
    )
    return torch.from_numpy(image).permute(2, 0, 1).contiguous(), targets


def drawn_samples(*counts: int) -> Samples:
    return batched(*(drawn_sample(count, seed) for seed, count in enumerate(counts)))


def batched(*samples: tuple[torch.Tensor, ImageTargets]) -> Samples:
    return Samples(tuple(image for image, _ in samples), tuple(targets for _, targets in samples))


def write_drawn(folder: Path, counts: Sequence[int]) -> Path:
    """Drawn images with so many objects each, cut to 96 x 80 pixels, as files with ``annotations.json``."""
    images, number = [], 0
    for index, count in enumerate(counts):
        drawn, targets = drawn_sample(count, seed=index)
        Image.fromarray(drawn[:, :, :80].permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
        instances = []
        for i in range(count):
            amodal, visible = (mask[i, :, :80].numpy() for mask in (targets.amodal, targets.visible))
            if not visible.any():
                continue
            number += 1
            instances.append(
                AmodalInstance(
                    id=number,
                    category_id=int(targets.category[i]) + 1,
                    visible=masks.encode(visible),
                    amodal=masks.encode(amodal),
                    occlude_rate=1 - visible.sum() / amodal.sum(),
                )
            )
        images.append(
            AmodalImage(id=index + 1, file_name=f"{index}.png", width=80, height=SIZE, instances=tuple(instances))
        )
    categories = tuple(Category(i + 1, name) for i, name in enumerate(CATEGORIES))
    write_coco_amodal(folder / "annotations.json", AmodalDataset(images=tuple(images), categories=categories))
    return folder
