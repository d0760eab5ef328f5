"""The pixels of annotated images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shape3d_amodal.errors import DataError
from shape3d_amodal.files import safe_io
from shape3d_amodal.structures import AmodalImage


def load_image(dataset_root: str | Path, image: AmodalImage, *, file: str | Path) -> np.ndarray:
    """The pixels of ``image``, [H,W,3] uint8, from inside ``dataset_root``.

    Args:
        file: the annotation file; errors name it where its ``file_name`` or size is wrong.

    Raises:
        DataError: the name leads out of the folder, the image cannot be read, or its size is not the annotated one.
    """
    field = f"images[id={image.id}]"
    path = safe_io.resolve_inside(dataset_root, image.file_name, file=file, field=f"{field}.file_name")
    pixels = safe_io.read_image(path)
    if pixels.shape[:2] != (image.height, image.width):
        problem = f"expected {image.width} x {image.height} pixels (width x height) as annotated"
        got = f"{pixels.shape[1]} x {pixels.shape[0]} in {path}"
        raise DataError(f"{problem}, got {got}; use the images that were annotated", file=file, field=field)
    return pixels
