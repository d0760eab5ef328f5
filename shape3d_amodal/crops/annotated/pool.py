"""A pool of the crops of annotated images on disk: cut once, by all cores, for every stage and every restart."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from shape3d_amodal.config import dump_config
from shape3d_amodal.crops.annotated.cutting import AnnotatedSet, ImageCutter
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.parts import in_parts
from shape3d_amodal.crops.pool import kept_arrays
from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.files.processes import spread
from shape3d_amodal.files.safe_io import sha256

VERSION = 1
"""To be raised when the same files and options give other crops."""
_CHUNK = 8
"""Images that a worker cuts at a time."""
_PART = 32
"""Chunks after which what was cut is kept on disk."""

log = logging.getLogger(__name__)


def open_annotated_pool(
    config: CropsConfig, cache: Path, categories: Sequence[str] | None = None, *, workers: int, amodal: bool = True
) -> CropArrays:
    """The crops of annotated images, cut if they are not in ``cache`` yet. If that is stopped, it goes on the next
    time.

    Args:
        config: the annotations, and how they are cut.
        cache: folder of all pools.
        categories, amodal: as for ``AnnotatedSet``.
        workers: processes that cut; the result does not depend on it.

    Returns:
        Memory-mapped arrays.

    Raises:
        DataError: annotations or images cannot be read, nothing can be learned from, or ``cache`` cannot be made.
        TrainingError: the disk is full.
    """
    found = AnnotatedSet(config, categories, amodal=amodal)
    folder = cache / f"crops-{_pool_name(config, categories, found)}"

    def cut(parts: Path) -> CropArrays:
        log.info("cutting %d images of %s in %s", len(found.images), config.annotations, folder)
        chunks = [found.images[start : start + _CHUNK] for start in range(0, len(found.images), _CHUNK)]
        with spread(ImageCutter, (config, found.index), min(workers, len(chunks))) as run:
            size, words = _PART, {"description": "images", "unit": f"groups of {_CHUNK} images"}
            kept = parts / f"{_PART}x{_CHUNK}"  # parts of other sizes hold other images
            return CropArrays.join(in_parts(kept, CropArrays, chunks, run, CropArrays.join, size=size, **words))

    return kept_arrays(folder, CropArrays, dump_config(config), cut)


def annotated_pool_name(config: CropsConfig, categories: Sequence[str] | None = None) -> str:
    """Key of the pool in the cache: a hash of all that its crops depend on."""
    return _pool_name(config, categories, AnnotatedSet(config, categories, amodal=False))


def _pool_name(config: CropsConfig, categories: Sequence[str] | None, found: AnnotatedSet) -> str:
    assert config.annotations is not None and config.images is not None
    files = config.files(config.images, config.annotations)
    pictures = []
    for _, image, _ in found.images:
        with suppress(OSError):  # it is told of where the image is read
            status = files.path(image).stat()
            pictures.append((image.file_name, status.st_size, status.st_mtime_ns, image.intrinsics))
    options = {
        "size": config.size,
        "order": (config.seed, config.order_known),
        "least": (config.min_visible_px, config.min_side_px),
        "images": len(found.images),
        "orientation": config.orientation,
        "border": config.border,
        "categories": categories,
    }
    content = json.dumps([options, sha256(config.annotations), str(Path(config.images).resolve()), pictures, VERSION])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
