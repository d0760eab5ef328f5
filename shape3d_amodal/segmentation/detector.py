"""The detector for people: numpy in, numpy out.

detector = Detector.from_pretrained("outputs/open13/mask_rcnn/weights")
for found in detector.detect(image):
    found.category, found.score, found.amodal
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from detectron2.layers.mask_ops import paste_masks_in_image
from detectron2.structures import Boxes, Instances
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import masks_to_boxes

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.crops.given import GivenImage, given_image
from shape3d_amodal.device import torch_device
from shape3d_amodal.errors import UsageError, check_path, meant
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.masks.occlusion import Mask
from shape3d_amodal.segmentation.mapper import resized, resized_shape
from shape3d_amodal.segmentation.model import Levels, Rcnn
from shape3d_amodal.segmentation.roi_heads import MaskPrediction
from shape3d_amodal.segmentation.systems import RcnnConfig

_GUESSES = 2
"""How often the box head corrects the first guess of a whole object's box."""


@dataclass(frozen=True, eq=False, repr=False)
class DetectedObject(ArrayFields):
    """An object that the detector found, in the image's own pixels.

    Attributes:
        category: its name.
        score: in 0..1.
        box: [4] float32, (x0, y0, x1, y1) of the whole object.
        amodal: [H,W] bool.
        visible: [H,W] bool; None where the system predicts no visible masks.
        samples: several plausible amodal masks [H,W] bool; empty where the system has one answer.
    """

    category: str
    score: float
    box: NDArray[np.float32]
    amodal: Mask
    visible: Mask | None
    samples: tuple[Mask, ...] = ()


class Detector:
    """A trained system that detects objects in images: boxes, scores, amodal masks and, of some, visible masks.

    ``from_pretrained`` loads one; ``detect`` finds objects, ``complete`` completes those whose visible masks are known.

    Args:
        model: the network, on the device where it shall run.
    """

    def __init__(self, model: Rcnn) -> None:
        self.model = model.eval()
        self.categories = model.config.detector.categories

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str = "auto", nms: float | None = None) -> Detector:
        """Load the name of shipped weights, or a folder that a training of a system wrote.

        Args:
            device: auto (a GPU where there is one), cpu, cuda or cuda:N.
            nms: overlap (IoU) above which the lesser of two boxes of a category is dropped; by default the weights'.

        Raises:
            WeightsError: they are missing, damaged, or do not fit their own configuration.
            UsageError: they belong to something else, or there is no such device.
            MissingBackendError: the device is not on this machine.
        """
        check_path("folder", folder)
        model, _ = load_network(folder, RcnnConfig, Rcnn)
        if nms is not None:
            model.box_predictor.test_nms_thresh = nms
        return cls(model.to(torch_device(device)))

    def __repr__(self) -> str:
        masks = "amodal and visible masks" if self.has_visible else "amodal masks"
        return f"Detector({self.model.config.system}, {len(self.categories)} categories, {masks})"

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def has_visible(self) -> bool:
        """Whether the system predicts visible masks."""
        return self.model.mask_head.has_visible

    @torch.no_grad()
    def detect(self, image: GivenImage, *, min_score: float = 0.0) -> list[DetectedObject]:
        """The objects in an image, the surest first; without ``samples``.

        Args:
            image: [H,W,3] uint8, RGB, or another form of an image that ``crops.given.given_image`` knows.
            min_score: lowest score of an object, 0..1.

        Raises:
            UsageError, DataError: the image is none, or its file cannot be read.
        """
        image = given_image(image)
        levels, size, scale = self._features(image)
        detections = self.model.detect(levels, [size])[0]
        detections = detections[detections.scores >= min_score]
        masks = replace(self.model.masks(levels, [detections]), samples=None)
        found = self._objects(detections, masks, image.shape[:2], scale)
        kept = [one for one in found if one.score >= min_score]  # the mask head may have lowered scores
        return sorted(kept, key=lambda one: -one.score)

    @torch.no_grad()
    def complete(
        self, image: GivenImage, visible: Sequence[Mask], categories: Sequence[str], *, samples: bool = False
    ) -> list[DetectedObject]:
        """The amodal masks of objects whose visible masks and categories are known.

        The box of the visible mask is the first guess of the whole object's box. It goes through the box head twice, as
        a proposal of the known category, and each time the result is extended to contain the visible mask.

        Args:
            image: as for ``detect``.
            visible: masks [H,W] bool of the objects.
            categories: their names.
            samples: also give all plausible masks of a system that has several.

        Returns:
            The objects in the given order, with a score of 1 unless the mask head changes it.

        Raises:
            UsageError: an empty visible mask, or a category that the weights do not know.
        """
        if not len(visible):
            return []
        for number, (mask, name) in enumerate(zip(visible, categories, strict=True)):
            if not mask.any():
                raise UsageError(
                    f"visible[{number}]: expected a mask with a visible pixel, got an empty one; leave it out"
                )
            if name not in self.categories:
                raise UsageError(
                    f"unknown category {name!r}{meant(name, self.categories)}; known are {', '.join(self.categories)}"
                )
        image = given_image(image)
        levels, size, scale = self._features(image)
        category = torch.tensor([self.categories.index(name) for name in categories], device=scale.device)
        last_pixels = masks_to_boxes(torch.from_numpy(np.stack(visible)).to(scale.device))
        tight = (last_pixels + last_pixels.new_tensor([0, 0, 1, 1])) * scale
        boxes = tight
        for _ in range(_GUESSES):
            refined = self.model.refine(levels, boxes, category, size)
            boxes = torch.cat([refined[:, :2].minimum(tight[:, :2]), refined[:, 2:].maximum(tight[:, 2:])], dim=1)
        scores = torch.ones_like(boxes[:, 0])
        detections = Instances(size, pred_boxes=Boxes(boxes), pred_classes=category, scores=scores)
        masks = self.model.masks(levels, [detections])
        return self._objects(detections, masks if samples else replace(masks, samples=None), image.shape[:2], scale)

    def _features(self, image: NDArray[np.uint8]) -> tuple[Levels, tuple[int, int], Tensor]:
        """The pyramid, height and width of the network's input, and the factor [4] from image to input coordinates."""
        device = next(self.model.parameters()).device
        height, width = image.shape[:2]
        new = resized_shape(height, width, self.model.config.detector.input)
        tensor = torch.from_numpy(resized(image, *new)).permute(2, 0, 1).to(device)
        levels = self.model.features(self.model.normalized([tensor]))
        return levels, new, torch.tensor([new[1] / width, new[0] / height], device=device).repeat(2)

    def _objects(
        self, found: Instances, masks: MaskPrediction, shape: tuple[int, ...], scale: Tensor
    ) -> list[DetectedObject]:
        boxes = found.pred_boxes.tensor / scale
        score = found.scores if masks.factor is None else found.scores * masks.factor
        amodal = _paste(masks.amodal, boxes, shape)
        visible = None if masks.visible is None else _paste(masks.visible, boxes, shape)
        several = [] if masks.samples is None else [_paste(one, boxes, shape) for one in masks.samples.unbind(dim=1)]
        return [
            DetectedObject(
                category=self.categories[int(found.pred_classes[i])],
                score=float(score[i]),
                box=boxes[i].cpu().numpy(),
                amodal=amodal[i],
                visible=None if visible is None else visible[i],
                samples=tuple(one[i] for one in several),
            )
            for i in range(len(found))
        ]


def _paste(masks: Tensor, boxes: Tensor, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Masks [R,28,28] in 0..1, resampled into their boxes [R,4] of an image of ``shape`` and cut at 0.5: [R,H,W]."""
    return paste_masks_in_image(masks, Boxes(boxes), shape, threshold=0.5).cpu().numpy()
