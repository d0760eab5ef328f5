"""Hard z-buffer: the nearest face at every pixel centre, for scenes, previews and evaluation. Not differentiable."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

NEAR = 1e-4
"""Faces with a vertex nearer than this (or not finite) are dropped."""
ROUNDING = 1e-9
"""Rounding allowed in barycentric weights: a pixel centre on an edge belongs to its faces, lest seams have holes."""


def rasterize(
    verts: NDArray[np.float32], faces: NDArray[np.int32], height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Rasterize triangles; inverse depth is interpolated linearly on the screen, so depths are perspective-correct.

    Args:
        verts: [V,3] float32: x and y in pixels (x right, y down, pixel (row, column) is sampled at its centre
            (column + 0.5, row + 0.5)), and depth along the viewing axis, positive.
        faces: [F,3] int32. Both orientations are drawn.
        height, width: size of the image in pixels.

    Returns:
        depth: [H,W] float32, infinity where nothing was hit.
        face_id: [H,W] int32, -1 where nothing was hit; of faces equally near (to float32) either may win.

    Raises:
        ValueError: a face names a vertex that there is not.
    """
    if faces.size and not 0 <= faces.min() <= faces.max() < len(verts):
        raise ValueError(f"faces: expected vertex indices in 0..{len(verts) - 1}, got {faces.min()}..{faces.max()}")
    inverse_depth = np.zeros((height, width), np.float32)
    face_id = np.full((height, width), -1, np.int32)
    draw(np.ascontiguousarray(verts, np.float32), np.ascontiguousarray(faces, np.int32), inverse_depth, face_id)
    with np.errstate(divide="ignore"):
        return np.float32(1) / inverse_depth, face_id


@numba.njit(cache=True, nogil=True, fastmath=False)
def draw(verts: NDArray, faces: NDArray, inverse_depth: NDArray, face_id: NDArray) -> None:
    """Draw into ``inverse_depth`` [H,W] (0 = empty) and ``face_id`` [H,W] in place; see ``rasterize``."""
    height, width = inverse_depth.shape
    for f in range(faces.shape[0]):
        ax, ay, az = verts[faces[f, 0]]
        bx, by, bz = verts[faces[f, 1]]
        cx, cy, cz = verts[faces[f, 2]]
        if not (NEAR < az < np.inf and NEAR < bz < np.inf and NEAR < cz < np.inf):
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not (abs(area) > 1e-12 and abs(area) < 1e12):
            continue
        # The columns and rows whose centres lie in the bounding box.
        left = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        right = min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        top = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        bottom = min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        if left > right or top > bottom:
            continue
        scale = 1.0 / area
        # Barycentric weights are affine in x: w = base + slope * x.
        slope_a, slope_b = -(cy - by) * scale, -(ay - cy) * scale
        ia, ib, ic = 1.0 / az, 1.0 / bz, 1.0 / cz
        for row in range(top, bottom + 1):
            y = row + 0.5
            wa = ((cx - bx) * (y - by) + (cy - by) * bx) * scale + slope_a * (left + 0.5)
            wb = ((ax - cx) * (y - cy) + (ay - cy) * cx) * scale + slope_b * (left + 0.5)
            for column in range(left, right + 1):
                wc = 1.0 - wa - wb
                if wa >= -ROUNDING and wb >= -ROUNDING and wc >= -ROUNDING:
                    inverse = wa * ia + wb * ib + wc * ic
                    if inverse > inverse_depth[row, column]:
                        inverse_depth[row, column] = inverse
                        face_id[row, column] = f
                wa += slope_a
                wb += slope_b
