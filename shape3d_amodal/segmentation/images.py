"""Where the detector's images come from: an annotation file and its images, or scenes made of meshes."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.images import ImageFiles, ImageReading
from shape3d_amodal.annotations.usable import count_objects
from shape3d_amodal.config import configuration, dump_config
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.files.atomic import make_folder
from shape3d_amodal.files.cache import locked
from shape3d_amodal.meshes.sources import CATEGORIES, mesh_source
from shape3d_amodal.scenes.compose import SceneConfig
from shape3d_amodal.scenes.shard_making import ShardsConfig, are_made, make_shards
from shape3d_amodal.scenes.shard_reading import SceneShards
from shape3d_amodal.structures import OCCLUDER, AmodalDataset, AmodalImage

logger = logging.getLogger(__name__)


@configuration
class ImagesConfig(ImageReading):
    """Images with annotated objects."""

    annotations: str | None = None
    """Annotation file of any known format; then ``images`` is the folder of its images."""
    images: str | None = None
    """Folder that the file names in the annotations are relative to."""
    shards: str | None = None
    """Folder of shards that `shape3d-amodal scenes` has made, in place of annotations."""
    scenes: ShardsConfig = ShardsConfig(scenes=SceneConfig(deform=0.6), seed=1, count=8000)
    """Where there are neither annotations nor shards: scenes that are made, and kept in the cache."""
    count: Annotated[int, Field(ge=0)] = 0
    """Take only the first images, this many; 0 takes all."""

    def at_most(self, count: int) -> ImagesConfig:
        """The same with no more than ``count`` scenes to be made; annotated images stay as they are."""
        return replace(self, scenes=replace(self.scenes, count=min(count, self.scenes.count)))

    def smaller(self) -> ImagesConfig:
        """As few images as a dry run needs."""
        return replace(self.at_most(8), count=8)


VALIDATION_IMAGES = ImagesConfig(scenes=ShardsConfig(meshes="open13:val", scenes=SceneConfig(), seed=2, count=100))
"""Scenes of other meshes than those of training."""


class AnnotatedImages(Protocol):
    """Images with annotations; an image is read when it is asked for."""

    dataset: AmodalDataset

    def image(self, image: AmodalImage) -> NDArray[np.uint8]:
        """The pixels [H,W,3] uint8, RGB, of one of the data set's images.

        Raises:
            DataError: it cannot be read, or is not of the annotated size.
        """


class AnnotationFile:
    """The images that an annotation file names.

    Args:
        files: the images and the annotation file, of any known format.

    Raises:
        DataError: naming the file and the field.
    """

    def __init__(self, files: ImageFiles) -> None:
        self.dataset = read_dataset(files.annotations)
        self._files = files

    def image(self, image: AmodalImage) -> NDArray[np.uint8]:
        return self._files.read(image)


def open_images(
    config: ImagesConfig, cache: Path, *, workers: int, categories: Collection[str] = (), scored: bool = False
) -> AnnotatedImages:
    """The images that ``config`` names; scenes are made if they are not in ``cache`` yet.

    Args:
        cache: folder that made scenes are kept in.
        workers: number of processes that make scenes; the result does not depend on it.
        categories: names of those whose objects are looked for; none stands for all.
        scored: whether the objects are to be scored, so that ignored ones do not count.

    Raises:
        UsageError: annotations without images, or the other way round, or annotations and shards.
        DataError: something cannot be read, or annotations have no object to learn from, or to score.
    """
    if (config.annotations is None) != (config.images is None):
        raise UsageError("images: annotations and images go together; give both or neither")
    images: AnnotatedImages
    if config.annotations is not None and config.images is not None:
        if config.shards is not None:
            raise UsageError("images: expected annotations or shards, got both; give one of them")
        images = AnnotationFile(config.files(config.images, config.annotations))
        _check_objects(images.dataset, config.annotations, categories, scored=scored)
    elif config.shards is not None:
        images = SceneShards(config.shards)
    else:
        images = SceneShards(_made(config.scenes, cache, workers))
    if config.count:
        images.dataset = replace(images.dataset, images=images.dataset.images[: config.count])
    return images


def _check_objects(dataset: AmodalDataset, file: str, categories: Collection[str], *, scored: bool) -> None:
    """Refuse annotations in which a training would see no object, before it begins."""
    wanted = {key for key, name in dataset.category_names.items() if not categories or name in categories}
    objects = [one for image in dataset.images for one in image.instances if one.category_id in wanted]
    usable = [one for one in objects if one.amodal is not None and not one.crowd and not (scored and one.ignore)]
    if wanted and not usable:
        what = "score" if scored else "learn from"
        expected = "amodal masks of objects that are no crowds" + (" and not marked `ignore`" if scored else "")
        raise DataError(f"no object to {what}: expected {expected}; {count_objects(objects)}", file=file)


def annotated_categories(annotations: str | None) -> tuple[str, ...]:
    """Names of the categories of an annotation file in its order, without that of things which only hide others.

    Without a file they are the 13 of ShapeNet, which made scenes have. A name that the file has twice is one category.

    Raises:
        DataError: the file cannot be read, or has no such category.
    """
    if annotations is None:
        return CATEGORIES
    file = Path(annotations)
    return _names_in(annotations, file.stat().st_mtime_ns if file.is_file() else None)


@lru_cache
def _names_in(annotations: str, _changed: int | None) -> tuple[str, ...]:
    """The names in the file as it is since ``_changed``: large files are not read again and again."""
    names = [category.name for category in read_dataset(annotations).categories if category.name != OCCLUDER]
    if not names:
        problem = f"expected categories of objects, found none but {OCCLUDER}, which only hides others"
        raise DataError(f"{problem}; name what is to be learned", file=annotations, field="categories")
    return tuple(dict.fromkeys(names))


def _made(config: ShardsConfig, cache: Path, workers: int) -> Path:
    """The folder of the scenes of ``config``, which are made where they are missing."""
    origin = mesh_source(config.meshes).fingerprint()
    name = hashlib.sha256(f"{dump_config(config)}{origin}".encode()).hexdigest()[:16]
    folder = cache / f"scenes-{name}"
    if are_made(config, folder):  # without a lock, since the cache may be read-only
        return folder
    make_folder(cache)
    with locked(folder):
        if not folder.is_dir():
            logger.info("making %d scenes of %s in %s", config.count, config.meshes, folder)
        # Finished shards are verified and kept, also where a killed process left only some of them.
        make_shards(config, folder, workers=min(workers, os.cpu_count() or 1))
    return folder
