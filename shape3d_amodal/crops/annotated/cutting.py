"""Training crops of annotated images: which instances can be learned from, and how an image is cut into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.calibration import with_calibration
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.usable import count_objects
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.cutting import instance_crops, mask_crops
from shape3d_amodal.crops.scenes import CropArrays, as_bytes
from shape3d_amodal.errors import DataError, UsageError, listed
from shape3d_amodal.masks.occlusion import known_order, occluders
from shape3d_amodal.structures import (
    OCCLUDER,
    AmodalDataset,
    AmodalImage,
    AmodalInstance,
    SupervisedCrops,
    category_number,
)

_KEPT_IMAGES = 64
_PURPOSE = 1_005
_UNKNOWN = (np.nan,) * 4

Learned: TypeAlias = tuple[int, AmodalImage, Sequence[int]]
"""An image: its number among those that are used, itself, and the places of the instances to learn from in it."""


class AnnotatedSet:
    """The annotated images that show something to learn from.

    Args:
        config: annotations, and what is cut of them.
        categories: names that the crops' categories count; instances of other categories only hide them. None accepts
            instances of any category and sets all categories to 0.
        amodal: whether an instance with an amodal mask is needed. Others are kept either way.

    Raises:
        DataError: the annotations cannot be read, or no instance has what is needed.

    Attributes:
        images: the images with something to learn from.
        index: the categories' numbers by their ids in the annotations.
    """

    def __init__(self, config: CropsConfig, categories: Sequence[str] | None, *, amodal: bool) -> None:
        assert config.annotations is not None
        if config.images is None:
            raise UsageError("images: crops of annotations need the folder of their images; give it")
        dataset = read_dataset(config.annotations)
        if config.calibration is not None:
            dataset = with_calibration(dataset, config.calibration)
        self.index = category_index(dataset.category_names, categories)
        found = [(image, usable_places(image, self.index, config)) for image in dataset.images]
        found = [(image, places) for image, places in found if places][: config.most_images]
        instances = [image.instances[place] for image, places in found for place in places]
        if not instances or (amodal and all(one.amodal is None for one in instances)):
            raise DataError(_nothing_found(dataset, self.index, categories, config, amodal), file=config.annotations)
        self.images: list[Learned] = [(number, *one) for number, one in enumerate(found)]


class ImageCutter:
    """Cuts annotated images; what it makes depends on (configuration, number of the image) alone.

    Args:
        config: annotations, images, and how they are cut.
        index: as in ``AnnotatedSet``.
        kept: images whose pixels stay in memory, those that were cut last.
    """

    def __init__(self, config: CropsConfig, index: Mapping[int, int], kept: int = 1) -> None:
        assert config.annotations is not None and config.images is not None
        self._config, self._index = config, index
        self._files, self._most = config.files(config.images, config.annotations), kept
        self._kept: dict[int, NDArray[np.uint8]] = {}

    def __call__(self, images: Sequence[Learned]) -> CropArrays:
        """The instances of some images, one after another."""
        return CropArrays.join([self.cut(*one) for one in images])

    def cut(self, number: int, image: AmodalImage, places: Sequence[int]) -> CropArrays:
        """The instances at ``places`` of an image.

        Raises:
            DataError: the image cannot be read.
        """
        config = self._config
        rows = [(image, place) for place in places]
        instances = [image.instances[place] for place in places]
        every = [masks.decode(one.visible) for one in image.instances]
        ordered = np.random.default_rng((config.seed, _PURPOSE, number)).random() < config.order_known
        hiding = occluders(every, _order(image) if ordered else (), places)
        visible = [every[place] for place in places]
        told = told_of(rows, self._index)
        category = told["category"].tolist()
        pixels = self._pixels(number, image)
        crops = instance_crops(pixels, visible, hiding, category, config.size, border=config.border)
        whole = [masks.decode(one.visible if one.amodal is None else one.amodal) for one in instances]
        return CropArrays(
            rgb=as_bytes(crops.rgb),
            visible=as_bytes(crops.visible),
            occluder=as_bytes(crops.occluder),
            amodal=as_bytes(mask_crops(whole, crops.window, config.size)),
            window=crops.window.numpy(),
            scene=np.full(len(instances), number, np.int64),
            **told,
        )

    def _pixels(self, number: int, image: AmodalImage) -> NDArray[np.uint8]:
        if number not in self._kept:
            self._kept[number] = self._files.read(image)
        self._kept[number] = self._kept.pop(number)  # the one that was asked for last stands last
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]
        return self._kept[number]


class AnnotatedCrops:
    """The N instances of annotated images, cut when they are asked for (``sources.CropSource``).

    Args:
        config, categories, amodal: as for ``AnnotatedSet``; images are read when crops of them are asked for.

    Raises:
        DataError: as for ``AnnotatedSet``.

    Attributes:
        category, hidden, image_size, intrinsics, track, mesh: as in ``CropArrays``.
    """

    def __init__(self, config: CropsConfig, categories: Sequence[str] | None = None, *, amodal: bool = True) -> None:
        found = AnnotatedSet(config, categories, amodal=amodal)
        self._cutter = ImageCutter(config, found.index, _KEPT_IMAGES)
        self._rows = [(number, image, place) for number, image, places in found.images for place in places]
        told = told_of([(image, place) for _, image, place in self._rows], found.index)
        self.category: NDArray[np.int64] = told["category"]
        self.hidden: NDArray[np.float32] = told["hidden"]
        self.mesh: NDArray[np.str_] = told["mesh"]
        self.image_size: NDArray[np.int64] = told["image_size"]
        self.intrinsics: NDArray[np.float64] = told["intrinsics"]
        self.track: NDArray[np.int64] = told["track"]

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """What to call some rows in messages."""
        return [f"annotation {image.instances[place].id}" for _, image, place in (self._rows[row] for row in rows)]

    def supervised(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        """Some rows as tensors.

        Raises:
            DataError: an image cannot be read.
        """
        parts = [self._cutter.cut(number, image, [place]) for number, image, place in (self._rows[row] for row in rows)]
        return CropArrays.join(parts).supervised(np.arange(len(parts)))


def told_of(rows: Sequence[tuple[AmodalImage, int]], index: Mapping[int, int]) -> dict[str, NDArray[Any]]:
    """What annotations tell of N instances beside their masks, as arrays of ``CropArrays``.

    Args:
        rows: the image of each, and its place there.
        index: as in ``AnnotatedSet``.
    """
    instances = [image.instances[place] for image, place in rows]
    return {
        "category": np.array([index[one.category_id] for one in instances], np.int64),
        "hidden": np.array([hidden_share(one) for one in instances], np.float32),
        "mesh": np.array([one.mesh or "" for one in instances], np.str_),
        "image_size": np.array([(image.width, image.height) for image, _ in rows], np.int64),
        "intrinsics": np.array([image.intrinsics or _UNKNOWN for image, _ in rows], np.float64),
        "track": np.array([-1 if one.track is None else one.track for one in instances], np.int64),
    }


def category_index(names: Mapping[int, str], categories: Sequence[str] | None) -> dict[int, int]:
    """The numbers of the categories that are learned, by their ids; ``categories`` as for ``AnnotatedSet``."""
    learned = {key: name for key, name in names.items() if name != OCCLUDER}
    if categories is None:
        return dict.fromkeys(learned, 0)
    numbers = {key: category_number(name, categories) for key, name in learned.items()}
    return {key: number for key, number in numbers.items() if number is not None}


def _nothing_found(
    dataset: AmodalDataset,
    index: Mapping[int, int],
    categories: Sequence[str] | None,
    config: CropsConfig,
    amodal: bool,
) -> str:
    """Why nothing of a data set can be learned from, in one line."""
    if categories is not None and not index:
        wanted, names = listed(categories), listed(list(dataset.category_names.values()))
        remedy = "set model.categories to theirs; annotated_categories=true takes those of train.annotations"
        return f"expected objects of the model's categories ({wanted}), the annotations have {names}; {remedy}"
    what = "instances with an amodal mask and" if amodal else "instances with"
    pixels = f"{config.min_visible_px} visible pixels"
    if config.min_side_px > 0:
        pixels += f" and a side of {config.min_side_px}"
    every = [one for image in dataset.images for one in image.instances]
    others = sum(one.category_id not in index for one in every)
    left = f", {others} of them of other categories than the model's" if others else ""
    counts = count_objects(every)
    bare = amodal and counts.visible_only > 0 and categories is not None
    remedy = "; set supervision to visible, which needs no amodal mask" if bare else ""
    return f"expected {what} {pixels}, found none; {counts}{left}{remedy}"


def usable_places(image: AmodalImage, index: Mapping[int, int], config: CropsConfig) -> list[int]:
    """Which of an image's instances can be learned from."""
    return [
        place
        for place, one in enumerate(image.instances)
        if one.category_id in index and not one.crowd and _is_large(one, config)
    ]


def hidden_share(instance: AmodalInstance) -> float:
    """Hidden share of the amodal area; NaN where no amodal mask is known."""
    return float("nan") if instance.amodal is None else masks.occlude_rate(instance.visible, instance.amodal)


def _is_large(instance: AmodalInstance, config: CropsConfig) -> bool:
    """``CropsConfig.is_large``, without decoding the mask."""
    if masks.area(instance.visible) < config.min_visible_px:
        return False
    return max(masks.bbox(instance.visible)[2:]) >= config.min_side_px


def _order(image: AmodalImage) -> set[tuple[int, int]]:
    """What is known of the order of the instances; annotations may contradict themselves."""
    order = set(known_order(image))
    return {(i, j) for i, j in order if (j, i) not in order}
