"""A trained system for people: numpy in, numpy out.

finder = ObjectFinder.from_pretrained("outputs/open13/mask_rcnn/weights")
for found in finder.find(image):
    found.category, found.score, found.amodal
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from detectron2.layers.mask_ops import paste_masks_in_image
from detectron2.structures import Boxes
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal.device import torch_device
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.segmentation.frame import MaskPrediction
from shape3d_amodal.segmentation.mapper import resized, resized_shape
from shape3d_amodal.segmentation.model import Detections, Rcnn
from shape3d_amodal.segmentation.systems import RcnnConfig

Mask = NDArray[np.bool_]
_GUESSES = 2
"""How often the box head corrects the guess of a whole object's box."""


@dataclass(frozen=True)
class FoundObject:
    """An object as a system sees it, in the image's own pixels.

    Attributes:
        category: its name.
        score: 0..1.
        box: [4] float32, (x0, y0, x1, y1) of the whole object.
        amodal: [H,W] bool.
        visible: [H,W] bool; None where the system predicts no visible masks.
        samples: several plausible amodal masks; empty where the system has one answer.
    """

    category: str
    score: float
    box: NDArray[np.float32]
    amodal: Mask
    visible: Mask | None
    samples: tuple[Mask, ...] = ()


class ObjectFinder:
    """A system that finds objects in images.

    Args:
        model: the network, on the device where it shall run.
    """

    def __init__(self, model: Rcnn) -> None:
        self.model = model.eval()
        self.categories = model.config.detector.categories

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str = "cpu", nms: float | None = None) -> ObjectFinder:
        """Load a folder of weights that a training of a system wrote.

        Args:
            nms: overlap (IoU) above which the lesser of two boxes of a category is dropped; by default the weights'.

        Raises:
            WeightsError: they are missing, damaged, or do not fit their own configuration.
            UsageError: they are of something else, or there is no such device.
            MissingBackendError: the device is not on this machine.
        """
        model, _ = load_network(folder, RcnnConfig, Rcnn)
        if nms is not None:
            model.box_predictor.test_nms_thresh = nms
        return cls(model.to(torch_device(device)))

    @property
    def parameters(self) -> int:
        """How many trained numbers the answers depend on."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def has_visible(self) -> bool:
        """Whether the system predicts visible masks."""
        return self.model.mask_head.has_visible

    @torch.no_grad()
    def find(self, image: NDArray[np.uint8], *, min_score: float = 0.0) -> list[FoundObject]:
        """The objects in an image [H,W,3] uint8, RGB, the surest first; one mask each."""
        features, size, scale = self._features(image)
        detections = self.model.detect(features, [size])[0]
        detections = detections[detections.score >= min_score]
        masks = replace(self.model.masks(features, [detections]), samples=None)
        found = self._objects(detections, masks, image.shape[:2], scale)
        kept = [one for one in found if one.score >= min_score]  # a system may have lowered scores by its masks
        return sorted(kept, key=lambda one: -one.score)

    @torch.no_grad()
    def complete(
        self, image: NDArray[np.uint8], visible: Sequence[Mask], categories: Sequence[str], *, samples: bool = False
    ) -> list[FoundObject]:
        """The masks of objects whose visible masks [H,W] bool and categories are known, in their order.

        Args:
            samples: with all plausible masks of a system that has several.

        Raises:
            UsageError: an empty visible mask, or a category that the weights do not know.

        The box of the visible mask is a first guess of the whole object's: it goes through the box head as a proposal
        of the known category, twice, and each time the box of the visible mask is joined to it.
        """
        if not len(visible):
            return []
        for number, (mask, name) in enumerate(zip(visible, categories, strict=True)):
            if not mask.any():
                raise UsageError(
                    f"visible[{number}]: expected a mask with a visible pixel, got an empty one; leave it out"
                )
            if name not in self.categories:
                raise UsageError(f"unknown category {name!r}; known are {', '.join(self.categories)}")
        features, size, scale = self._features(image)
        category = torch.tensor([self.categories.index(name) for name in categories], device=scale.device)
        seen = torch.tensor(np.array([_tight_box(mask) for mask in visible], np.float32), device=scale.device) * scale
        boxes = seen
        for _ in range(_GUESSES):
            refined = self.model.refine(features, boxes, category, size)
            boxes = torch.cat([refined[:, :2].minimum(seen[:, :2]), refined[:, 2:].maximum(seen[:, 2:])], dim=1)
        detections = Detections(boxes, category, torch.ones_like(boxes[:, 0]))
        masks = self.model.masks(features, [detections])
        return self._objects(detections, masks if samples else replace(masks, samples=None), image.shape[:2], scale)

    def _features(self, image: NDArray[np.uint8]) -> tuple[dict[str, Tensor], tuple[int, int], Tensor]:
        """The pyramid's levels, the size of the network's input, and what boxes are multiplied by to lie in it [4]."""
        device = next(self.model.parameters()).device
        height, width = image.shape[:2]
        new = resized_shape(height, width, self.model.config.detector.input)
        picture = torch.from_numpy(resized(image, *new)).permute(2, 0, 1).to(device)
        features = self.model.features(self.model.normalized([picture]))
        return features, new, torch.tensor([new[1] / width, new[0] / height], device=device).repeat(2)

    def _objects(
        self, found: Detections, masks: MaskPrediction, shape: tuple[int, ...], scale: Tensor
    ) -> list[FoundObject]:
        boxes = found.boxes / scale
        score = found.score if masks.factor is None else found.score * masks.factor
        amodal = _paste(masks.amodal, boxes, shape)
        visible = None if masks.visible is None else _paste(masks.visible, boxes, shape)
        several = [] if masks.samples is None else [_paste(one, boxes, shape) for one in masks.samples.unbind(dim=1)]
        return [
            FoundObject(
                category=self.categories[int(found.category[i])],
                score=float(score[i]),
                box=boxes[i].cpu().numpy(),
                amodal=amodal[i],
                visible=None if visible is None else visible[i],
                samples=tuple(one[i] for one in several),
            )
            for i in range(len(found))
        ]


def _paste(masks: Tensor, boxes: Tensor, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Masks [R,28,28] in 0..1 in their boxes [R,4], as pixels above a half: [R,H,W]."""
    pasted: NDArray[np.bool_] = paste_masks_in_image(masks, Boxes(boxes), shape, threshold=0.5).cpu().numpy()
    return pasted


def _tight_box(mask: Mask) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
