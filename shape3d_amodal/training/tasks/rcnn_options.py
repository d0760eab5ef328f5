"""The options of the training of an R-CNN system, without the networks, which take seconds to import."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from shape3d_amodal.config import configuration
from shape3d_amodal.segmentation.config import AugmentConfig, DetectorConfig
from shape3d_amodal.segmentation.images import VALIDATION_IMAGES, ImagesConfig
from shape3d_amodal.training.loop.interface import LoopConfig


@configuration
class RcnnOptions:
    """The data, the network and the loop."""

    stage: Literal["rcnn"]
    """The kind of training: rcnn."""
    system: str = "mask_rcnn"
    """Name of the system, such as mask_rcnn or orcnn; docs/rcnn.md lists them."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the system's own class, such as masks of mask_rcnn."""
    detector: DetectorConfig = DetectorConfig()
    """The network without its mask head."""
    train: ImagesConfig = ImagesConfig()
    """Training images."""
    validation: ImagesConfig = VALIDATION_IMAGES
    """Validation images."""
    augment: AugmentConfig = AugmentConfig()
    """Random changes of the training images."""
    init: str | None = None
    """Folder of weights of any system to start from: each part with the same name and shapes is taken over."""
    freeze: Literal["nothing", "detector"] = "nothing"
    """detector: whatever of the features, proposals, classes and boxes comes from ``init`` is not trained."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""
