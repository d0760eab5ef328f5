"""The ShapeNet renders and voxels of NMR (Kato et al., CVPR 2018) and SoftRas (Liu et al., ICCV 2019).

    <synset>_<split>_images.npz   arr_0 [N,24,4,64,64] uint8: N objects from 24 views, RGBA, black where alpha is 0
    <synset>_<split>_voxels.npz   arr_0 [N,32,32,32]: the objects' voxels (``nmr_voxels``)

Frame: up +y, front +z, right-handed, box centred, its longest side 1. (SoftRas has the opposite z axis, a left-handed
frame; its voxel files are in ours.) View i has PyTorch3D's azimuth -15 i degrees, elevation 30 degrees, distance 2.732
and half a field of view of 15 degrees: the camera of ``geometry.cameras``. View 0 shows the front, and view 1 also the
object's right side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from shape3d_amodal.errors import DataError
from shape3d_amodal.files.archives import ArraySpec, npz_blocks, npz_shape
from shape3d_amodal.files.atomic import atomic_file, make_folder

VIEWS, SIZE, RESOLUTION = 24, 64, 32
ELEVATION_DEG = 30.0
AZIMUTHS_DEG = tuple(-15.0 * view for view in range(VIEWS))
MAX_OBJECTS = 50_000
IMAGES = ArraySpec(("u1",), (None, VIEWS, 4, SIZE, SIZE), MAX_OBJECTS)
VOXELS = ArraySpec(("b1", "u1", "i4", "f4"), (None, RESOLUTION, RESOLUTION, RESOLUTION), MAX_OBJECTS)


@dataclass(frozen=True)
class NmrObjects:
    """The ``count`` objects of one synset and split, in two files that are read when they are asked for.

    All methods raise a ``DataError`` if a file is damaged.
    """

    synset: str
    split: str
    images_file: Path
    voxels_file: Path
    count: int

    def images(self, rows: int = 64) -> Iterator[NDArray[np.uint8]]:
        """The views [B,24,4,64,64] uint8 of up to ``rows`` objects at a time, in order."""
        return npz_blocks(self.images_file, "arr_0", IMAGES, rows)

    def voxels(self, rows: int = 1024) -> Iterator[NDArray[np.bool_]]:
        """The voxels [B,32,32,32] bool, by y, x, z, of up to ``rows`` objects at a time, in order."""
        return (block != 0 for block in npz_blocks(self.voxels_file, "arr_0", VOXELS, rows))

    def unpacked_images(self, cache: Path) -> NDArray[np.uint8]:
        """All views [N,24,4,64,64] uint8 as a memory map for random access; the first call unpacks them to ``cache``.

        Raises:
            DataError: the cache cannot be written.
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
    """The synsets in ``folder`` that have a ``split`` (train, val or test); only headers are read.

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


def nmr_voxels(verts: NDArray[np.floating], faces: NDArray[np.integer], size: int = RESOLUTION) -> NDArray[np.bool_]:
    """The cells that a triangle mesh occupies by the rule of NMR and SoftRas, so that numbers compare with their files.

    Surface: through every crossing of grid lines, along each of the three axes, a line is cut with every triangle; the
    cells around the line at the depth of the cut are occupied, and so is the cell of each vertex. Solid: all cells that
    cannot be reached from the grid's border, over common faces, are occupied too. So a closed surface is filled, and an
    open one is not, since it encloses nothing. Kato et al., Neural 3D Mesh Renderer, CVPR 2018 (``voxelization``).

    Args:
        verts: [V,3] in the cube from -1/2 to 1/2, which is scaled by (size - 1) / size, so that no cell is cut off.
        faces: [F,3].
        size: G, cells along each axis.

    Returns:
        [G,G,G] bool by y, x, z, all ascending: the order of NMR's files in our right-handed frame.
    """
    points = verts.astype(np.float64) * (size - 1) + size / 2
    surface = np.zeros((size, size, size), np.bool_)
    for axis in range(3):
        turned = np.roll(points, -axis, axis=1)  # the lines run along the first axis
        surface |= np.moveaxis(_cut(turned[faces], size), (0, 1, 2), (axis, (axis + 1) % 3, (axis + 2) % 3))
    cells = np.floor(points[np.unique(faces)]).astype(np.int64)
    cells = cells[((cells >= 0) & (cells < size)).all(axis=1)]
    surface[tuple(cells.T)] = True
    solid: NDArray[np.bool_] = ndimage.binary_fill_holes(surface)
    return solid.transpose(1, 0, 2)


@njit(cache=True)
def _cut(triangles, size):  # type: ignore[no-untyped-def]
    """Cells [G,G,G] around the cuts of triangles [F,3,3] with the lines along the first axis at whole y and z."""
    grid = np.zeros((size, size, size), np.bool_)
    for f in range(len(triangles)):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        twice = (b[1] - a[1]) * (c[2] - a[2]) - (c[1] - a[1]) * (b[2] - a[2])
        if twice == 0.0:
            continue
        low_y, high_y = max(0.0, min(a[1], b[1], c[1])), min(size - 1.0, max(a[1], b[1], c[1]))
        low_z, high_z = max(0.0, min(a[2], b[2], c[2])), min(size - 1.0, max(a[2], b[2], c[2]))
        for y in range(int(np.ceil(low_y)), int(np.floor(high_y)) + 1):
            for z in range(int(np.ceil(low_z)), int(np.floor(high_z)) + 1):
                u = ((y - a[1]) * (c[2] - a[2]) - (c[1] - a[1]) * (z - a[2])) / twice
                v = ((b[1] - a[1]) * (z - a[2]) - (y - a[1]) * (b[2] - a[2])) / twice
                if u < 0.0 or v < 0.0 or u + v > 1.0:
                    continue
                x = int(np.floor(a[0] + u * (b[0] - a[0]) + v * (c[0] - a[0])))
                if 0 <= x < size:
                    for j in range(max(0, y - 1), y + 1):
                        for k in range(max(0, z - 1), z + 1):
                            grid[x, j, k] = True
    return grid
