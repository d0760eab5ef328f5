"""Training crops of annotated images, cut when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.usable import count_objects
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.cutting import instance_crops, mask_crops
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.masks.occlusion import occluders
from shape3d_amodal.structures import OCCLUDER, InstanceCrops, SupervisedCrops

_KEPT_IMAGES = 64


class AnnotatedCrops:
    """The instances of annotated images that have an amodal mask (``sources.CropSource``), N of them.

    Args:
        config: annotations, images, and what is cut of them.
        categories: names that the crops' categories count; instances of other categories only hide them. None accepts
            instances of any category and sets all categories to 0.

    Raises:
        DataError: the annotations cannot be read, or no instance has what is needed. Images are read when crops of them
            are asked for.

    Attributes:
        category: [N] int64, index into ``categories``.
        hidden: [N] float32, hidden share of the amodal area in 0..1.
    """

    def __init__(self, config: CropsConfig, categories: Sequence[str] | None = None) -> None:
        if config.annotations is None or config.images is None:
            raise UsageError("images: crops of annotations need the folder of their images; give it")
        self._size = config.size
        dataset = read_dataset(config.annotations)
        names = {key: name for key, name in dataset.category_names.items() if name != OCCLUDER}
        index = {
            key: 0 if categories is None else categories.index(name)
            for key, name in names.items()
            if categories is None or name in categories
        }
        self._rows = [
            (image, place, one.amodal)
            for image in dataset.images
            for place, one in enumerate(image.instances)
            if one.amodal is not None
            and one.category_id in index
            and not one.crowd
            and masks.area(one.visible) >= config.min_visible_px
        ]
        if not self._rows:
            problem = f"expected instances with an amodal mask and {config.min_visible_px} visible pixels, found none"
            found = count_objects(one for image in dataset.images for one in image.instances)
            raise DataError(f"{problem}; {found}", file=config.annotations)
        self._records = {image.id: image for image in dataset.images}
        files = config.files(config.images, config.annotations)
        self._image = lru_cache(_KEPT_IMAGES)(lambda image_id: files.read(self._records[image_id]))
        category = [index[image.instances[place].category_id] for image, place, _ in self._rows]
        hidden = [masks.occlude_rate(image.instances[place].visible, amodal) for image, place, amodal in self._rows]
        self.category: NDArray[np.int64] = np.array(category, np.int64)
        self.hidden: NDArray[np.float32] = np.array(hidden, np.float32)

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """What to call some rows in messages."""
        return [f"annotation {image.instances[place].id}" for image, place, _ in (self._rows[row] for row in rows)]

    def supervised(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        """Some rows as tensors.

        Raises:
            DataError: an image cannot be read.
        """
        crops, amodal = zip(*(self._cut(row) for row in rows.tolist()), strict=True)
        return SupervisedCrops(InstanceCrops.join(crops), torch.cat(amodal))

    def _cut(self, row: int) -> tuple[InstanceCrops, Tensor]:
        """The crop [1] of an instance and its amodal mask [1,S,S]."""
        image, place, amodal = self._rows[row]
        visible = [masks.decode(one.visible) for one in image.instances]
        hiding = occluders(visible)[place]
        crops = instance_crops(self._image(image.id), [visible[place]], [hiding], [int(self.category[row])], self._size)
        return crops, mask_crops([masks.decode(amodal)], crops.window, self._size)
