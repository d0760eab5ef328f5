"""The ShapeNet renders of NMR (Kato et al., CVPR 2018) and SoftRas (Liu et al., ICCV 2019), read as they are.

    <synset>_<split>_images.npz   arr_0 [N,24,4,64,64] uint8: N objects from 24 views, RGBA, black where alpha is 0
    <synset>_<split>_voxels.npz   arr_0 [N,32,32,32]: the objects' voxels (``nmr_voxels``)

Frame: up +y, front +z, right-handed, box centred, its longest side 1. (SoftRas counts z the other way round, which is a
left-handed frame; its voxel files are in ours.) View i is PyTorch3D's azimuth -15 i degrees, elevation 30 degrees,
distance 2.732, half the field of view being 15 degrees: the camera of ``geometry.cameras``. View 0 sees the front, and
the next one the object's right side, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.errors import DataError
from shape3d_amodal.files.archives import ArraySpec, npz_blocks, npz_shape
from shape3d_amodal.files.atomic import atomic_file, make_folder

if TYPE_CHECKING:
    from torch import Tensor

    from shape3d_amodal.structures import Viewpoint

VIEWS, SIZE, RESOLUTION = 24, 64, 32
ELEVATION_DEG = 30.0
AZIMUTHS_DEG = tuple(-15.0 * view for view in range(VIEWS))
MAX_OBJECTS = 50_000
IMAGES = ArraySpec(("u1",), (None, VIEWS, 4, SIZE, SIZE), MAX_OBJECTS)
VOXELS = ArraySpec(("b1", "u1", "i4", "f4"), (None, RESOLUTION, RESOLUTION, RESOLUTION), MAX_OBJECTS)


@dataclass(frozen=True)
class NmrObjects:
    """The objects of one synset and split: ``count`` of them in two files, of which nothing is in memory."""

    synset: str
    split: str
    images_file: Path
    voxels_file: Path
    count: int

    def images(self, rows: int = 64) -> Iterator[NDArray[np.uint8]]:
        """The views [B,24,4,64,64] uint8 of up to ``rows`` objects at a time, in order.

        Raises:
            DataError: the file is damaged.
        """
        return npz_blocks(self.images_file, "arr_0", IMAGES, rows)

    def voxels(self, rows: int = 1024) -> Iterator[NDArray[np.bool_]]:
        """The voxels [B,32,32,32] bool, by y, x, z, of up to ``rows`` objects at a time, in order.

        Raises:
            DataError: the file is damaged.
        """
        return (block != 0 for block in npz_blocks(self.voxels_file, "arr_0", VOXELS, rows))

    def unpacked_images(self, cache: Path) -> NDArray[np.uint8]:
        """All views [N,24,4,64,64] for random access, as a memory map: unpacked to ``cache`` by the first call.

        Raises:
            DataError: the file is damaged, or the cache cannot be written.
        """
        stamp = self.images_file.stat()
        path = cache / f"{self.synset}_{self.split}_{stamp.st_size}_{stamp.st_mtime_ns}.u8"
        shape = (self.count, VIEWS, 4, SIZE, SIZE)
        if not path.is_file() or path.stat().st_size != math.prod(shape):
            make_folder(cache)
            with atomic_file(path) as file:
                for block in self.images():
                    file.write(block.tobytes())
        return np.memmap(path, np.uint8, "r", shape=shape)


def nmr_objects(folder: str | Path, split: str) -> tuple[NmrObjects, ...]:
    """The synsets in ``folder`` that have a ``split`` (train, val or test); their headers alone are read.

    Raises:
        DataError: there are none, a file cannot be read, or its arrays are not what NMR's are.
    """
    folder = Path(folder)
    ending = f"_{split}_images.npz"
    found = []
    for images in sorted(folder.glob(f"*{ending}")):
        synset = images.name.removesuffix(ending)
        voxels = images.with_name(f"{synset}_{split}_voxels.npz")
        counts = [npz_shape(path, "arr_0", spec)[0] for path, spec in ((images, IMAGES), (voxels, VOXELS))]
        if counts[0] != counts[1]:
            problem = f"expected the {counts[0]} objects of {images.name}, got {counts[1]}; get both files anew"
            raise DataError(problem, file=voxels, field="arr_0")
        found.append(NmrObjects(synset, split, images, voxels, counts[0]))
    if not found:
        raise DataError(f"expected files such as 02691156{ending}, found none", file=folder)
    return tuple(found)


def nmr_viewpoint(view: Tensor) -> Viewpoint:
    """The cameras of views [N] int64, for meshes in the object frame whose longest side, not diagonal, is 1."""
    import torch

    from shape3d_amodal.structures import Viewpoint

    azimuth = torch.deg2rad(view * -15.0)
    return Viewpoint(
        azimuth=azimuth,
        elevation=torch.full_like(azimuth, math.radians(ELEVATION_DEG)),
        roll=torch.zeros_like(azimuth),
        scale=torch.ones_like(azimuth),
        offset=torch.zeros(len(azimuth), 2, dtype=azimuth.dtype, device=azimuth.device),
    )
