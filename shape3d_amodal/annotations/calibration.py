"""Cameras from KITTI's calibration files, for sets that were annotated on its images, such as KINS."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from shape3d_amodal.errors import DataError
from shape3d_amodal.files.safe_io import read_bytes
from shape3d_amodal.structures import AmodalDataset, AmodalImage, Intrinsics

_MAX_BYTES = 1_000_000
_KEY = "P2"
"""The left colour camera, which took ``image_2``."""


def with_calibration(dataset: AmodalDataset, folder: str | Path) -> AmodalDataset:
    """The data set with the cameras that the files ``NNNNNN.txt`` in ``folder`` give its images ``NNNNNN.png``.

    Images without such a file stay as they are.

    Raises:
        DataError: there is no such folder, no image has a file in it, or one of them cannot be read.
    """
    if not Path(folder).is_dir():
        raise DataError("expected the folder calib of KITTI's object data, there is no such folder", file=folder)
    found = {path.stem: path for path in sorted(Path(folder).glob("*.txt"))}
    images = tuple(_with_camera(image, found.get(Path(image.file_name).stem)) for image in dataset.images)
    if not any(Path(image.file_name).stem in found for image in images):
        name = Path(images[0].file_name).stem if images else "NNNNNN"
        problem = f"expected calibration files of the images, such as {name}.txt, found none"
        raise DataError(f"{problem}; give the folder calib of KITTI's object data", file=folder)
    return replace(dataset, images=images)


def _with_camera(image: AmodalImage, file: Path | None) -> AmodalImage:
    return image if file is None else replace(image, intrinsics=read_calibration(file))


def read_calibration(file: str | Path) -> Intrinsics:
    """The camera of ``P2``, a projection [3,4] row by row. KITTI counts the centres of pixels as whole numbers.

    Raises:
        DataError: the file cannot be read, or has no such camera.
    """
    text = read_bytes(file, _MAX_BYTES).decode("utf-8", errors="replace")
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        if key.strip() == _KEY:
            try:
                numbers = [float(word) for word in rest.split()]
            except ValueError:
                numbers = []
            if len(numbers) == 12 and all(map(math.isfinite, numbers)) and numbers[0] > 0 and numbers[5] > 0:
                return numbers[0], numbers[5], numbers[2] + 0.5, numbers[6] + 0.5
    problem = f"expected a line {_KEY}: with 12 numbers, the focal lengths positive; use KITTI's calibration files"
    raise DataError(problem, file=file, field=_KEY)
