"""The detector's network: backbone and pyramid, proposals, box head, and the mask head of a system on the regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from shape3d_amodal.errors import TrainingError
from shape3d_amodal.segmentation import parts
from shape3d_amodal.segmentation.config import ROI_LEVELS
from shape3d_amodal.segmentation.layers import HeadShape
from shape3d_amodal.segmentation.roi_heads import BOX_SIZE, MASK_SIZE, ROI_SIZE, BoxOutput, MaskPrediction, Rois
from shape3d_amodal.segmentation.samples import Samples, as_instances, roi_targets
from shape3d_amodal.segmentation.systems import RcnnConfig, system_config

Levels = dict[str, Tensor]
"""The pyramid's levels p2 to p6 by name, [B,C,H/stride,W/stride] float32 each."""


class Rcnn(nn.Module):
    """Mask R-CNN whose neck, pooler, box head and mask head are those of the configured system."""

    def __init__(self, config: RcnnConfig) -> None:
        super().__init__()
        detector, system = config.detector, system_config(config.system, config.options)
        regions = detector.regions
        shape = HeadShape(
            classes=len(detector.categories),
            channels=detector.backbone.channels,
            mask_channels=regions.mask_channels,
            mask_convs=regions.mask_convs,
            box_width=regions.box_width,
        )
        self.config = config
        self.classes = shape.classes
        self.backbone = parts.build_backbone(detector.backbone)
        self.neck = system.neck(shape)
        self.rpn = parts.build_rpn(detector.proposals, shape.channels)
        self.sampler = parts.build_sampler(regions, shape.classes)
        self.box_pooler = system.pooler(BOX_SIZE)
        self.box_head = system.box_head(shape)
        self.box_predictor: FastRCNNOutputLayers = parts.build_box_predictor(regions, shape.box_width, shape.classes)
        self.mask_pooler = system.pooler(ROI_SIZE)
        self.mask_head = system.mask_head(shape)

    def losses(self, samples: Samples) -> dict[str, Tensor]:
        """Named scalar losses of training images; always the same names.

        Raises:
            TrainingError: the proposals are not finite.
        """
        images = self.normalized(samples.images)
        objects = [
            as_instances(targets, size) for targets, size in zip(samples.targets, images.image_sizes, strict=True)
        ]
        levels = self.features(images)
        with EventStorage():  # detectron2 writes its statistics there
            try:
                proposals, losses = self.rpn(images, levels, objects)
            except FloatingPointError as error:
                raise TrainingError("the proposals are not finite; lower loop.learning_rate") from error
            proposals = self.sampler.label_and_sample_proposals(proposals, objects)
            box = self._box_output(levels, [one.proposal_boxes for one in proposals])
            losses |= self.box_predictor.losses(self._scores_and_deltas(box), proposals)
        category = torch.cat([one.gt_classes for one in proposals])
        chosen = [one[one.gt_classes < self.classes] for one in proposals]
        targets = roi_targets(chosen, samples.targets, MASK_SIZE)
        on_object = category < self.classes
        hidden = torch.zeros(len(category), device=category.device).masked_scatter(on_object, targets.hidden)
        losses |= self.box_head.losses(box, hidden)
        rois = self._rois(levels, [one.proposal_boxes for one in chosen], targets.category)
        if self.mask_head.needs_box:
            rois = replace(rois, box=box[on_object.nonzero()[:, 0]])
        return {**losses, **self.mask_head.losses(rois, targets)}

    def detect(self, levels: Levels, sizes: Sequence[tuple[int, int]]) -> list[Instances]:
        """The objects in B images, the surest first: ``pred_boxes``, ``pred_classes`` and ``scores`` of each image.

        Args:
            levels: the pyramid.
            sizes: height and width of each image, in pixels of the network's input.
        """
        images = ImageList(levels["p2"], list(sizes))  # for proposals only the sizes of the images matter
        proposals, _ = self.rpn(images, levels, None)
        box = self._box_output(levels, [one.proposal_boxes for one in proposals])
        return self.box_predictor.inference(self._scores_and_deltas(box), proposals)[0]

    def masks(self, levels: Levels, detections: Sequence[Instances]) -> MaskPrediction:
        """The masks in the ``pred_boxes`` of all detections of ``pred_classes``, image after image."""
        boxes = [one.pred_boxes for one in detections]
        rois = self._rois(levels, boxes, torch.cat([one.pred_classes for one in detections]))
        if self.mask_head.needs_box:
            rois = replace(rois, box=self._box_output(levels, boxes))
        return self.mask_head.predict(rois)

    def refine(self, levels: Levels, boxes: Tensor, category: Tensor, size: tuple[int, int]) -> Tensor:
        """Boxes [R,4] as the box head corrects them if their objects are of ``category`` [R], clipped to the image.

        Args:
            levels: the pyramid of one image.
            size: height and width of that image.
        """
        _, deltas = self._scores_and_deltas(self._box_output(levels, [Boxes(boxes)]))
        own = deltas.view(len(boxes), self.classes, 4)[torch.arange(len(boxes), device=boxes.device), category]
        refined = Boxes(self.box_predictor.box2box_transform.apply_deltas(own, boxes))
        refined.clip(size)
        return refined.tensor

    def features(self, images: ImageList) -> Levels:
        """The pyramid. It is float32, since bf16 has too few digits for cutting regions out."""
        levels = self.neck(self.backbone(images.tensor))
        return {name: level.float() for name, level in levels.items()}

    def normalized(self, images: Sequence[Tensor]) -> ImageList:
        """Images [3,H,W] in 0..255, RGB, as one batch [B,3,H,W] less the mean, over the deviation.

        H and W become multiples of the largest stride; what is added has the mean colour.
        """
        colours = self.config.detector.input
        mean, std = (torch.tensor(rgb, device=images[0].device).view(3, 1, 1) for rgb in (colours.mean, colours.std))
        return ImageList.from_tensors([(one.float() - mean) / std for one in images], self.backbone.size_divisibility)

    def _box_output(self, levels: Levels, boxes: list[Boxes]) -> BoxOutput:
        return self.box_head(self.box_pooler(_roi_levels(levels), boxes))

    def _scores_and_deltas(self, box: BoxOutput) -> tuple[Tensor, Tensor]:
        scores, deltas = self.box_predictor(box.vector)
        return scores.float(), deltas.float()

    def _rois(self, levels: Levels, boxes: list[Boxes], category: Tensor) -> Rois:
        pooled = self.mask_pooler(_roi_levels(levels), boxes)
        return Rois(pooled, category, torch.cat([one.tensor for one in boxes]))


def _roi_levels(levels: Levels) -> list[Tensor]:
    return [levels[name] for name in ROI_LEVELS]
