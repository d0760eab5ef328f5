"""What the objects look like inside the boxes of the regions that were matched with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.structures import Instances
from torch import Tensor
from torchvision.ops import roi_align

from shape3d_amodal.segmentation.frame import RoiTargets
from shape3d_amodal.segmentation.samples import ImageTargets


def roi_targets(regions: Sequence[Instances], objects: Sequence[ImageTargets], size: int) -> RoiTargets:
    """The targets of R regions on objects, image after image.

    Args:
        regions: of each image, with ``proposal_boxes`` and, unless there are none, ``gt_index``, the matched object.
        objects: of each image.
        size: side of the cut masks.
    """
    return RoiTargets.join([_of_image(own, targets, size) for own, targets in zip(regions, objects, strict=True)])


def _of_image(regions: Instances, objects: ImageTargets, size: int) -> RoiTargets:
    boxes = regions.proposal_boxes.tensor
    index = regions.gt_index if regions.has("gt_index") else boxes.new_zeros(0, dtype=torch.int64)
    return RoiTargets(
        amodal=cut_masks(objects.amodal, index, boxes, size),
        visible=cut_masks(objects.visible, index, boxes, size),
        occluder=cut_masks(objects.occluder, index, boxes, size),
        hidden=objects.hidden[index],
        category=objects.category[index],
        annotation=objects.annotation[index],
    )


def cut_masks(masks: Tensor, index: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Masks ``index`` [R] of [N,H,W] bool in ``boxes`` [R,4], as detectron2 cuts them: [R,size,size] of 0 and 1."""
    if not len(index):
        return boxes.new_zeros(0, size, size)
    rois = torch.cat([index[:, None].to(boxes.dtype), boxes], dim=1)
    cut = roi_align(masks[:, None].to(boxes.dtype), rois, size, sampling_ratio=0, aligned=True)
    return (cut[:, 0] >= 0.5).to(boxes.dtype)
