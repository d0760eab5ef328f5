"""Training crops of annotated images, cut when they are asked for."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.images import load_image
from shape3d_amodal.config import Count, configuration
from shape3d_amodal.crops.cutting import instance_crops, instance_windows, mask_crops
from shape3d_amodal.errors import DataError
from shape3d_amodal.masks.occlusion import occluders
from shape3d_amodal.structures import OCCLUDER, AmodalImage, InstanceCrops, SupervisedCrops

_KEPT_IMAGES = 64


@configuration
class AnnotatedCropsConfig:
    """Annotated images as a source of crops."""

    annotations: str
    """Annotation file of any known format, with amodal masks."""
    images: str
    """Folder that its file names are relative to."""
    min_visible_px: Count = 40
    """Instances with fewer visible pixels are left out."""


class CropSource(Protocol):
    """Crops with amodal masks by their row."""

    @property
    def hidden(self) -> NDArray[np.float32]:
        """[N] hidden share of each amodal area."""
        ...

    def supervised(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        """Some rows as tensors."""
        ...


class AnnotatedCrops:
    """The instances of annotated images; their category is not told (0).

    Args:
        config: annotations and images.
        size: side of the crops in pixels.

    Raises:
        DataError: the annotations cannot be read, or no instance has what is needed. Images are read when crops of them
            are asked for.
    """

    def __init__(self, config: AnnotatedCropsConfig, size: int) -> None:
        self._config, self._size = config, size
        dataset = read_dataset(config.annotations)
        bare = {key for key, name in dataset.category_names.items() if name == OCCLUDER}
        self._rows = [
            (image, place)
            for image in dataset.images
            for place, one in enumerate(image.instances)
            if one.amodal is not None
            and one.category_id not in bare
            and not one.crowd
            and masks.area(one.visible) >= config.min_visible_px
        ]
        if not self._rows:
            problem = f"expected instances with an amodal mask and {config.min_visible_px} visible pixels, found none"
            raise DataError(problem, file=config.annotations)
        self._picture = lru_cache(_KEPT_IMAGES)(self._load)
        self.hidden = np.array([_hidden(image, place) for image, place in self._rows], np.float32)

    def supervised(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        """Some rows as tensors.

        Raises:
            DataError: an image cannot be read.
        """
        crops, amodal = zip(*(self._cut(*self._rows[row]) for row in rows.tolist()), strict=True)
        return SupervisedCrops(InstanceCrops.join(crops), torch.cat(amodal))

    def _cut(self, image: AmodalImage, place: int) -> tuple[InstanceCrops, Tensor]:
        """The crop [1] of an instance and its amodal mask [1,S,S]."""
        instances = image.instances
        visible = [masks.decode(one.visible) for one in instances]
        hiding = occluders(visible)[place]
        mask, amodal = visible[place], instances[place].amodal
        assert amodal is not None
        windows = instance_windows([mask], [hiding])
        crops = instance_crops(self._picture(image), [mask], [hiding], [0], self._size, windows)
        return crops, mask_crops([masks.decode(amodal)], crops.window, self._size)

    def _load(self, image: AmodalImage) -> NDArray[np.uint8]:
        return load_image(Path(self._config.images), image, file=self._config.annotations)


def _hidden(image: AmodalImage, place: int) -> float:
    one = image.instances[place]
    assert one.amodal is not None
    return masks.occlude_rate(one.visible, one.amodal)
