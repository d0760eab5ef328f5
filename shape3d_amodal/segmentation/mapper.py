"""From annotated images to training samples: resized and mirrored, with the boxes and masks of their objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from detectron2.data.transforms import ResizeShortestEdge
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from shape3d_amodal import masks
from shape3d_amodal.masks.occlusion import Mask, known_order, occluders
from shape3d_amodal.segmentation.config import AugmentConfig, InputConfig
from shape3d_amodal.segmentation.images import AnnotatedImages
from shape3d_amodal.segmentation.samples import ImageTargets, Samples
from shape3d_amodal.structures import AmodalImage, AmodalInstance


@dataclass(frozen=True)
class Drawn:
    """N images that are drawn, but not read yet.

    Attributes:
        rows: places of the images in the data set.
        flips: which of them are mirrored.
        scales: by which factors their sizes are changed.
    """

    rows: tuple[int, ...]
    flips: tuple[bool, ...]
    scales: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Drawn:
        return Drawn(self.rows[part], self.flips[part], self.scales[part])


class Mapper:
    """Turns the annotated images of a data set into samples.

    Targets are the instances of the detector's categories with a known, non-empty amodal mask that are no crowd. All
    other instances only hide what is behind them.

    Args:
        images: the data set.
        categories: names of the detector's categories, in its order.
        size: size of the network's input.
        augment: how images are changed.
    """

    def __init__(
        self, images: AnnotatedImages, categories: Sequence[str], size: InputConfig, augment: AugmentConfig
    ) -> None:
        self.images, self.size, self.augment = images, size, augment
        index = {name: i for i, name in enumerate(categories)}
        self._index = {key: index[name] for key, name in images.dataset.category_names.items() if name in index}

    def draw(self, generator: np.random.Generator, count: int) -> Drawn:
        """``count`` images with their changes; they depend on ``generator`` alone."""
        rows = generator.integers(len(self.images.dataset.images), size=count)
        flips = generator.random(count) < self.augment.flip
        scales = generator.uniform(*self.augment.scale, size=count)
        return Drawn(tuple(rows.tolist()), tuple(flips.tolist()), tuple(scales.tolist()))

    def samples(self, drawn: Drawn) -> Samples:
        """The images ``drawn``; a DataError if one cannot be read."""
        made = [self.sample(*one) for one in zip(drawn.rows, drawn.flips, drawn.scales, strict=True)]
        return Samples(tuple(image for image, _ in made), tuple(targets for _, targets in made))

    def sample(self, row: int, flip: bool, scale: float) -> tuple[Tensor, ImageTargets]:
        """Image ``row`` [3,H,W] uint8, RGB, and its objects; a DataError if the image cannot be read."""
        record = self.images.dataset.images[row]
        height, width = resized_shape(record.height, record.width, self.size, scale)
        image = resized(self.images.image(record), height, width)
        targets = image_targets(record, self._index, height, width)
        if flip:
            image, targets = np.ascontiguousarray(image[:, ::-1]), mirrored(targets, width)
        return torch.from_numpy(image).permute(2, 0, 1).contiguous(), targets


def resized_shape(height: int, width: int, size: InputConfig, scale: float = 1.0) -> tuple[int, int]:
    """Height and width of an image after resizing, by the rule of detectron2's ``ResizeShortestEdge``.

    The shorter side becomes ``scale * short_side``, or less where the longer one would exceed ``long_side``.
    """
    shape = ResizeShortestEdge.get_output_shape(height, width, size.short_side * scale, size.long_side)
    return max(1, shape[0]), max(1, shape[1])


def resized(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """An image [H,W,3] uint8, resized bilinearly (with averaging where it shrinks); always a copy."""
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def image_targets(record: AmodalImage, index: Mapping[int, int], height: int, width: int) -> ImageTargets:
    """The targets among the instances of ``record``, on an image that is resized to ``height`` x ``width`` pixels.

    Objects without a pixel at that size are left out.

    Args:
        index: place among the detector's categories, by category id.
    """
    instances = record.instances
    visible = [masks.decode(one.visible) for one in instances]
    hiding = occluders(visible, known_order(record))
    whole = {i: one.amodal for i, one in enumerate(instances) if one.amodal is not None and _is_target(one, index)}
    amodal = {i: _nearest(masks.decode(mask), height, width) for i, mask in whole.items()}
    rows = [i for i, mask in amodal.items() if mask.any()]
    corners = np.array([masks.bbox(whole[i]) for i in rows], np.float32).reshape(-1, 2, 2)  # (x, y), (width, height)
    boxes = corners.cumsum(axis=1) * np.array([width / record.width, height / record.height], np.float32)
    return ImageTargets(
        boxes=torch.from_numpy(np.clip(boxes, 0, [width, height]).astype(np.float32).reshape(-1, 4)),
        category=torch.tensor([index[instances[i].category_id] for i in rows], dtype=torch.int64),
        amodal=_stack([amodal[i] for i in rows], height, width),
        visible=_stack([_nearest(visible[i], height, width) for i in rows], height, width),
        occluder=_stack([_nearest(hiding[i], height, width) for i in rows], height, width),
        hidden=torch.tensor([masks.occlude_rate(instances[i].visible, whole[i]) for i in rows], dtype=torch.float32),
        annotation=torch.tensor([instances[i].id for i in rows], dtype=torch.int64),
    )


def mirrored(targets: ImageTargets, width: int) -> ImageTargets:
    """The targets on an image of that width whose left and right are exchanged."""
    x0, y0, x1, y1 = targets.boxes.unbind(dim=1)
    boxes = torch.stack([width - x1, y0, width - x0, y1], dim=1)
    flipped = {name: getattr(targets, name).flip(-1) for name in ("amodal", "visible", "occluder")}
    return replace(targets, boxes=boxes, **flipped)


def _is_target(one: AmodalInstance, index: Mapping[int, int]) -> bool:
    return one.category_id in index and not one.crowd and one.amodal is not None and masks.area(one.amodal) > 0


def _nearest(mask: Mask, height: int, width: int) -> Mask:
    if mask.shape == (height, width):
        return mask
    return np.array(Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)) > 0


def _stack(found: Sequence[Mask], height: int, width: int) -> Tensor:
    return torch.from_numpy(np.array(found, bool).reshape(-1, height, width))
