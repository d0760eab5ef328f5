"""CAD models in known poses before a pinhole camera: where they are seen, and which of them is in front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.rendering.zbuffer import rasterize
from shape3d_amodal.structures import Pose

Intrinsics = tuple[float, float, float, float]


class PosedModel(NamedTuple):
    """A model and its pose: ``verts`` [V,3] float in the coordinates of the model's file, ``faces`` [F,3] int32."""

    verts: NDArray[np.floating]
    faces: NDArray[np.int32]
    pose: Pose


def to_camera(points: NDArray[np.floating], pose: Pose) -> NDArray[np.float64]:
    """Points [V,3] of a model file in the camera frame, [V,3] float64, in the file's units."""
    rotation = np.array(pose.rotation, np.float64).reshape(3, 3)
    return points @ rotation.T + np.array(pose.translation, np.float64)


def to_image(points: NDArray[np.float64], intrinsics: Intrinsics) -> NDArray[np.float64]:
    """Points [V,3] of the camera frame on the image: x and y in pixels of the image frame, and depth, [V,3] float64.

    Points that are not in front of the camera have a depth of 0 or less, and no meaning otherwise.
    """
    fx, fy, cx, cy = intrinsics
    depth = points[:, 2:]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        flat = points[:, :2] * np.array([fx, fy]) / depth + np.array([cx, cy])
    return np.concatenate([flat, depth], axis=1)


def silhouettes(
    models: Sequence[PosedModel], intrinsics: Intrinsics, height: int, width: int
) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.bool_]]]:
    """The whole and the visible masks of models that hide each other, N [H,W] bool each.

    A pixel belongs to the nearest model at its centre; of several equally near (to float32) to the first. Faces that
    reach behind the camera are not drawn.

    Args:
        models: N, all in the same units.
        intrinsics: fx, fy, cx, cy in pixels of the image frame, where pixel centres lie at halves.
        height, width: size of the image in pixels.
    """
    nearest = np.full((height, width), np.inf, np.float32)
    owner = np.full((height, width), -1)
    whole = []
    for i, model in enumerate(models):
        with np.errstate(over="ignore"):  # what is that far away is not drawn
            screen = to_image(to_camera(model.verts, model.pose), intrinsics).astype(np.float32)
        depth, _ = rasterize(screen, model.faces, height, width)
        owner[depth < nearest] = i
        nearest = np.minimum(nearest, depth)
        whole.append(np.isfinite(depth))
    return whole, [owner == i for i in range(len(models))]
