"""What the detector is trained with: images and their objects, and what these look like inside regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torchvision.ops import roi_align

from shape3d_amodal.segmentation.roi_heads import RoiTargets
from shape3d_amodal.structures import TensorBatch


@dataclass(frozen=True, eq=False, repr=False)
class ImageTargets(TensorBatch):
    """The N objects of an image, in pixels of the network's input.

    Attributes:
        boxes: [N,4] float32, (x0, y0, x1, y1) around the amodal mask.
        category: [N] int64, index into the detector's categories.
        amodal, visible: [N,H,W] bool; the visible mask of an object that is fully hidden is empty.
        occluder: [N,H,W] bool, the pixels of other instances that may hide this one.
        hidden: [N] float32 in 0..1, hidden share of the amodal mask.
        annotation: [N] int64, ids of the annotations.
    """

    boxes: Tensor
    category: Tensor
    amodal: Tensor
    visible: Tensor
    occluder: Tensor
    hidden: Tensor
    annotation: Tensor

    def __len__(self) -> int:
        return len(self.category)


@dataclass(frozen=True)
class Samples:
    """Images of any sizes with their objects.

    Attributes:
        images: [3,H,W] uint8 each, RGB.
        targets: the objects of each image.
    """

    images: tuple[Tensor, ...]
    targets: tuple[ImageTargets, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> Samples:
        return Samples(self.images[rows], self.targets[rows])

    def to(self, device: torch.device | str) -> Samples:
        return Samples(tuple(one.to(device) for one in self.images), tuple(one.to(device) for one in self.targets))


def as_instances(targets: ImageTargets, size: tuple[int, int]) -> Instances:
    """The objects in detectron2's form. Its sampler copies ``gt_index`` to the proposals: the place of their object."""
    indices = torch.arange(len(targets), device=targets.boxes.device)
    return Instances(size, gt_boxes=Boxes(targets.boxes), gt_classes=targets.category, gt_index=indices)


def roi_targets(regions: Sequence[Instances], objects: Sequence[ImageTargets], size: int) -> RoiTargets:
    """The targets of R regions, image after image.

    Args:
        regions: those of each image, with ``proposal_boxes`` and, unless there are none, ``gt_index``: the place in
            ``objects`` of the object that the region was matched with.
        objects: those of each image.
        size: side of the masks.
    """
    return RoiTargets.join([_of_image(own, targets, size) for own, targets in zip(regions, objects, strict=True)])


def _of_image(regions: Instances, objects: ImageTargets, size: int) -> RoiTargets:
    boxes = regions.proposal_boxes.tensor
    index = regions.gt_index if regions.has("gt_index") else boxes.new_zeros(0, dtype=torch.int64)
    amodal, visible, occluder = (
        cut_masks(masks, index, boxes, size) for masks in (objects.amodal, objects.visible, objects.occluder)
    )
    rest = (part[index] for part in (objects.hidden, objects.category, objects.annotation))
    return RoiTargets(amodal, visible, occluder, *rest)


def cut_masks(masks: Tensor, index: Tensor, boxes: Tensor, size: int) -> Tensor:
    """The masks ``masks[index]`` inside their boxes, as detectron2's ``BitMasks.crop_and_resize`` cuts them.

    Args:
        masks: [N,H,W] bool.
        index: [R] int64.
        boxes: [R,4] float32.
        size: side S of the result.

    Returns:
        [R,S,S] float32, 0 or 1.
    """
    if not len(index):
        return boxes.new_zeros(0, size, size)
    rois = torch.cat([index[:, None].to(boxes.dtype), boxes], dim=1)
    cut = roi_align(masks[:, None].to(boxes.dtype), rois, size, sampling_ratio=0, aligned=True)
    return (cut[:, 0] >= 0.5).to(boxes.dtype)
