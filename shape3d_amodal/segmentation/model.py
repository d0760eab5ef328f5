"""The frame itself: pyramid, proposals, class and box, and whatever masks a system makes of the regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from shape3d_amodal.errors import TrainingError
from shape3d_amodal.segmentation import detector as parts
from shape3d_amodal.segmentation.config import ROI_LEVELS, DetectorConfig
from shape3d_amodal.segmentation.frame import (
    BOX_SIZE,
    MASK_SIZE,
    ROI_SIZE,
    BoxTargets,
    FrameShape,
    MaskPrediction,
    Rois,
)
from shape3d_amodal.segmentation.samples import Samples
from shape3d_amodal.segmentation.systems import RcnnConfig, system_config
from shape3d_amodal.segmentation.targets import roi_targets


@dataclass(frozen=True)
class Detections:
    """What is found in one image, best first.

    Attributes:
        boxes: [R,4] float32, (x0, y0, x1, y1) of the whole objects in pixels of the network's input.
        category: [R] int64.
        score: [R] float32 in 0..1.
    """

    boxes: Tensor
    category: Tensor
    score: Tensor

    def __len__(self) -> int:
        return len(self.category)

    def __getitem__(self, rows: slice | Tensor) -> Detections:
        return Detections(self.boxes[rows], self.category[rows], self.score[rows])


class Rcnn(nn.Module):
    """A system on the frame; ``build_rcnn`` makes one."""

    def __init__(self, config: RcnnConfig) -> None:
        super().__init__()
        detector, system = config.detector, system_config(config.system, config.options)
        shape = frame_shape(detector)
        self.config = config
        self.backbone = parts.build_backbone(detector.backbone)
        self.neck = system.neck(shape)
        self.rpn = parts.build_rpn(detector.proposals, shape.channels)
        self.sampler = parts.build_sampler(detector.regions, shape.classes)
        self.box_pooler = system.pooler(BOX_SIZE)
        self.box_head = system.box_head(shape)
        self.box_predictor: FastRCNNOutputLayers = parts.build_box_predictor(
            detector.regions, shape.box_width, shape.classes
        )
        self.mask_pooler = system.pooler(ROI_SIZE)
        self.mask_head = system.mask_head(shape)

    @property
    def classes(self) -> int:
        return len(self.config.detector.categories)

    def losses(self, samples: Samples) -> dict[str, Tensor]:
        """Named losses of training pictures; always the same names.

        Raises:
            TrainingError: the proposals are no numbers any more.
        """
        images = self.normalized(samples.images)
        objects = [
            parts.as_instances(targets, size) for targets, size in zip(samples.targets, images.image_sizes, strict=True)
        ]
        features = self.features(images)
        with EventStorage():  # detectron2 writes its statistics there
            try:
                proposals, losses = self.rpn(images, features, objects)
            except FloatingPointError as error:
                raise TrainingError("the proposals are not finite; lower loop.learning_rate") from error
            proposals = self.sampler.label_and_sample_proposals(proposals, objects)
            box = self.box_head(self.box_pooler(_roi_levels(features), [one.proposal_boxes for one in proposals]))
            losses |= self.box_predictor.losses(self._predictions(box.vector), proposals)
        category = torch.cat([one.gt_classes for one in proposals])
        chosen = [one[one.gt_classes < self.classes] for one in proposals]
        targets = roi_targets(chosen, samples.targets, MASK_SIZE)
        on_object = category < self.classes
        hidden = torch.zeros(len(category), device=category.device).masked_scatter(on_object, targets.hidden)
        losses |= self.box_head.losses(box, BoxTargets(category, hidden))
        rois = self._rois(features, [one.proposal_boxes for one in chosen], targets.category)
        if self.mask_head.needs_box:
            rois = rois.with_box(box[on_object.nonzero()[:, 0]])
        return {**losses, **self.mask_head.losses(rois, targets)}

    def detect(self, features: dict[str, Tensor], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Find objects in images [H,W] of the given sizes."""
        images = ImageList(features["p2"], list(sizes))  # of the images the proposals need nothing but the sizes
        proposals, _ = self.rpn(images, features, None)
        box = self.box_head(self.box_pooler(_roi_levels(features), [one.proposal_boxes for one in proposals]))
        found: list[Instances]
        found, _ = self.box_predictor.inference(self._predictions(box.vector), proposals)
        return [Detections(one.pred_boxes.tensor, one.pred_classes, one.scores) for one in found]

    def masks(self, features: dict[str, Tensor], detections: Sequence[Detections]) -> MaskPrediction:
        """The masks in the boxes of all detections, image after image."""
        boxes = [Boxes(one.boxes) for one in detections]
        rois = self._rois(features, boxes, torch.cat([one.category for one in detections]))
        if self.mask_head.needs_box:
            rois = rois.with_box(self.box_head(self.box_pooler(_roi_levels(features), boxes)))
        prediction: MaskPrediction = self.mask_head.predict(rois)
        return prediction

    def refine(self, features: dict[str, Tensor], boxes: Tensor, category: Tensor, size: tuple[int, int]) -> Tensor:
        """What the box head makes of boxes [R,4] in one image of that size [H,W], if they are of ``category`` [R]."""
        box = self.box_head(self.box_pooler(_roi_levels(features), [Boxes(boxes)]))
        _, deltas = self._predictions(box.vector)
        own = deltas.view(len(boxes), self.classes, 4)[torch.arange(len(boxes), device=boxes.device), category]
        refined = Boxes(self.box_predictor.box2box_transform.apply_deltas(own, boxes))
        refined.clip(size)
        return refined.tensor

    def features(self, images: ImageList) -> dict[str, Tensor]:
        """The pyramid's levels by name, float32: regions are cut out of them with more digits than bf16 has."""
        levels = self.neck(self.backbone(images.tensor))
        return {name: level.float() for name, level in levels.items()}

    def normalized(self, images: Sequence[Tensor]) -> ImageList:
        """Images [3,H,W] in 0..255, RGB, as the batch that the network takes."""
        return parts.normalized(images, self.config.detector.input, self.backbone.size_divisibility)

    def _predictions(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        scores, deltas = self.box_predictor(vector)
        return scores.float(), deltas.float()

    def _rois(self, features: dict[str, Tensor], boxes: Sequence[Boxes], category: Tensor) -> Rois:
        pooled = self.mask_pooler(_roi_levels(features), list(boxes))
        return Rois(pooled, category, torch.cat([one.tensor for one in boxes]))


def frame_shape(config: DetectorConfig) -> FrameShape:
    """The sizes that the parts of a system on this detector have to fit."""
    regions = config.regions
    return FrameShape(
        classes=len(config.categories),
        channels=config.backbone.channels,
        mask_channels=regions.mask_channels,
        mask_convs=regions.mask_convs,
        box_width=regions.box_width,
    )


def _roi_levels(features: dict[str, Tensor]) -> list[Tensor]:
    return [features[name] for name in ROI_LEVELS]
