"""From annotated pictures to what a detector is trained with: resized, mirrored, boxes and masks with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor

from shape3d_amodal import masks
from shape3d_amodal.config import Share, configuration
from shape3d_amodal.masks.occlusion import known_order, occluders
from shape3d_amodal.segmentation.config import InputConfig
from shape3d_amodal.segmentation.images import Pictures
from shape3d_amodal.segmentation.samples import ImageTargets, Sample, Samples
from shape3d_amodal.structures import AmodalImage, AmodalInstance, Rle

Mask = NDArray[np.bool_]


@configuration
class AugmentConfig:
    """How training pictures are changed."""

    flip: Share = 0.5
    """Share of the pictures that are mirrored."""
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 1.0)
    """Smallest and largest factor of the shorter side's length; the limit of the longer side stays."""


@dataclass(frozen=True)
class Drawn:
    """Pictures that are drawn, but not read yet: every rank draws all, and ``to`` reads its own.

    Attributes:
        rows: places in the data set.
        flips: which are mirrored.
        scales: by what their sizes are changed.
    """

    mapper: Mapper
    rows: tuple[int, ...]
    flips: tuple[bool, ...]
    scales: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Drawn:
        return Drawn(self.mapper, self.rows[part], self.flips[part], self.scales[part])

    def to(self, device: torch.device | str) -> Samples:
        """The samples, on ``device``."""
        drawn = zip(self.rows, self.flips, self.scales, strict=True)
        return Samples(tuple(self.mapper.sample(*one) for one in drawn)).to(device)


class Mapper:
    """Turns the annotated pictures of a data set into samples.

    Targets are the instances with a category of the detector and a known amodal mask that are no crowd; all others
    only hide what is behind them.

    Args:
        pictures: the data set.
        categories: names of what is detected, in the detector's order.
        size: size of the network's input.
        augment: how pictures are changed.
    """

    def __init__(
        self, pictures: Pictures, categories: Sequence[str], size: InputConfig, augment: AugmentConfig
    ) -> None:
        self.pictures, self.size, self.augment = pictures, size, augment
        index = {name: i for i, name in enumerate(categories)}
        self._index = {key: index[name] for key, name in pictures.dataset.category_names.items() if name in index}

    def draw(self, generator: np.random.Generator, count: int) -> Drawn:
        """``count`` pictures with their changes; what is drawn depends on ``generator`` alone."""
        rows = generator.integers(len(self.pictures.dataset.images), size=count)
        flips = generator.random(count) < self.augment.flip
        scales = generator.uniform(*self.augment.scale, size=count)
        return Drawn(self, tuple(rows.tolist()), tuple(flips.tolist()), tuple(scales.tolist()))

    def sample(self, row: int, flip: bool, scale: float) -> Sample:
        """Picture ``row`` as a sample.

        Raises:
            DataError: the picture cannot be read.
        """
        record = self.pictures.dataset.images[row]
        picture = self.pictures.image(record)
        height, width = resized_shape(record.height, record.width, self.size, scale)
        image = resized(picture, height, width)
        targets = image_targets(record, self._index, height, width)
        if flip:
            image, targets = np.ascontiguousarray(image[:, ::-1]), mirrored(targets, width)
        return Sample(torch.from_numpy(image).permute(2, 0, 1).contiguous(), targets)


def resized_shape(height: int, width: int, size: InputConfig, scale: float = 1.0) -> tuple[int, int]:
    """Height and width of a picture whose shorter side becomes ``scale * short_side``, or less where the longer one
    would exceed ``long_side`` (detectron2's ``ResizeShortestEdge``)."""
    short, long = size.short_side * scale, size.long_side
    factor = short / min(height, width)
    new = (short, factor * width) if height < width else (factor * height, short)
    if max(new) > long:
        factor = long / max(new)
        new = (new[0] * factor, new[1] * factor)
    return max(1, int(new[0] + 0.5)), max(1, int(new[1] + 0.5))


def resized(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A picture [H,W,3] uint8, resized bilinearly (with averaging where it shrinks); always a copy."""
    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def image_targets(record: AmodalImage, index: Mapping[int, int], height: int, width: int) -> ImageTargets:
    """The targets among the instances of ``record``, on a picture of ``height`` x ``width`` pixels.

    Objects of which not a pixel is left at that size are left out.

    Args:
        index: place among the detector's categories, by category id.
    """
    instances = record.instances
    visible = [masks.decode(one.visible) for one in instances]
    hiding = occluders(visible, known_order(record))
    whole = {i: one.amodal for i, one in enumerate(instances) if one.amodal is not None and _is_target(one, index)}
    amodal = {i: _nearest(masks.decode(mask), height, width) for i, mask in whole.items()}
    rows = [i for i, mask in amodal.items() if mask.any()]
    scale = np.array([width / record.width, height / record.height], np.float32)
    boxes = np.array([_box(whole[i]) for i in rows], np.float32).reshape(-1, 2, 2) * scale
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
    """The targets on a picture of that width whose left and right are exchanged."""
    x0, y0, x1, y1 = targets.boxes.unbind(dim=1)
    return ImageTargets(
        boxes=torch.stack([width - x1, y0, width - x0, y1], dim=1),
        category=targets.category,
        amodal=targets.amodal.flip(-1),
        visible=targets.visible.flip(-1),
        occluder=targets.occluder.flip(-1),
        hidden=targets.hidden,
        annotation=targets.annotation,
    )


def _is_target(one: AmodalInstance, index: Mapping[int, int]) -> bool:
    return one.category_id in index and not one.crowd and one.amodal is not None and masks.area(one.amodal) > 0


def _box(amodal: Rle) -> tuple[float, float, float, float]:
    x, y, width, height = masks.bbox(amodal)
    return x, y, x + width, y + height


def _nearest(mask: Mask, height: int, width: int) -> Mask:
    if mask.shape == (height, width):
        return mask
    picture = Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    return np.array(picture) > 0


def _stack(found: Sequence[Mask], height: int, width: int) -> Tensor:
    return torch.from_numpy(np.array(found, bool).reshape(-1, height, width))
