"""The mean mask of a category, fitted to the visible mask: a completion that knows only the category's mean silhouette.

The silhouettes of all known meshes from all viewpoints are stretched to the same square, averaged, and cut at the level
of best mean IoU with them. In an image, the mean mask is stretched to a typical ratio of height to width, and placed at
the size and position that agree best with the certain pixels (``placing``).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.baselines.frames import FRAME, Frames, category_frames
from shape3d_amodal.baselines.mean_shape import mean_shape
from shape3d_amodal.baselines.placing import place_all
from shape3d_amodal.crops.cutting import instance_crops
from shape3d_amodal.errors import UsageError
from shape3d_amodal.masks.occlusion import known_order, occluders
from shape3d_amodal.meshes.mesh import MeshSource
from shape3d_amodal.methods.results import Mask, completion_result
from shape3d_amodal.structures import OCCLUDER, AmodalImage, InstanceCrops

_CROP = 48
"""Side in pixels of the crops in which masks are placed."""
_RATIOS = 9
"""Number of ratios of height to width that are tried: quantiles of those of the known silhouettes."""
_SIZES = (0.3 * 1.1 ** np.arange(13) * _CROP).astype(np.float32)
"""Lengths of the longer side that are tried, in crop pixels."""


class MeanMasks:
    """The mean mask of each category, placed by the certain pixels and without known background.

    Args:
        source: the known meshes.
        names: category names by id.

    Raises:
        UsageError: a category that there are no meshes of.
    """

    name = "mean mask"
    parameters = 0

    def __init__(self, source: MeshSource, names: Mapping[int, str]) -> None:
        known = {source.category(name) for name in source.names}
        unknown = set(names.values()) - known - {OCCLUDER}
        if unknown:
            raise UsageError(f"unknown category {min(unknown)!r}; known are {', '.join(sorted(known))}")
        self._source, self._names = source, names
        self._means: dict[str, tuple[Mask, NDArray[np.float32]]] = {}

    def complete(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """See ``interface.CompletionMethod``; instances of category ``occluder`` have no result."""
        instances = record.instances
        visible = [masks.decode(one.visible) for one in instances]
        hiding = occluders(visible, known_order(record))
        results = []
        for one, own, front in zip(instances, visible, hiding, strict=True):
            name = self._names[one.category_id]
            if name != OCCLUDER:
                crop = instance_crops(image, [own], [front], [0], _CROP)
                placed = self._placed(name, crop, own.shape) & (own | front)
                results.append(completion_result(record, one, placed))
        return results

    def _placed(self, category: str, crop: InstanceCrops, shape: tuple[int, ...]) -> Mask:
        """The mean mask [H,W] where it agrees best with the certain pixels of ``crop``; empty if it agrees nowhere."""
        if category not in self._means:
            self._means[category] = mean_mask(category_frames(self._source, category))
        mask, ratios = self._means[category]
        sides = np.stack([np.minimum(ratios, 1), np.minimum(1 / ratios, 1)], axis=1).astype(np.float32)
        integral = np.zeros((FRAME + 1, FRAME + 1), np.uint16)
        integral[1:, 1:] = mask.cumsum(axis=0, dtype=np.uint16).cumsum(axis=1, dtype=np.uint16)
        visible = crop.visible[0].numpy()
        possible = (crop.visible[0] + crop.occluder[0]).clamp(max=1).numpy()
        stack = np.ascontiguousarray(np.broadcast_to(integral, (len(ratios), *integral.shape)))
        places = place_all(stack, sides, visible, possible, _SIZES)
        best = int(places[:, 0].argmax())
        score, size, top, left = places[best].tolist()
        if score == 0:
            return np.zeros(shape, bool)
        scale = float(crop.window[0, 2] - crop.window[0, 0]) / _CROP
        corner = (float(crop.window[0, 1]) + top * scale, float(crop.window[0, 0]) + left * scale)
        height, width = sides[best] * size * scale
        return stretched(mask, corner, (float(height), float(width)), shape)


def mean_mask(frames: Frames) -> tuple[Mask, NDArray[np.float32]]:
    """The mean silhouette [FRAME,FRAME] bool of a category, and typical ratios of height to width, ascending."""
    mean, level = mean_shape(frames.mask)
    box = frames.high - frames.low
    ratios = np.quantile(box[:, 1] / box[:, 0], np.linspace(0.05, 0.95, _RATIOS))
    return mean >= level, ratios.astype(np.float32)


def stretched(mask: Mask, corner: tuple[float, float], sides: tuple[float, float], shape: tuple[int, ...]) -> Mask:
    """``mask`` [F,F] bool, stretched to ``sides`` in an image of ``shape`` (H, W).

    Args:
        corner: row and column of the upper left corner, in pixels.
        sides: height and width, in pixels.
    """
    inside = [
        np.floor((np.arange(length) + 0.5 - start) / side * len(mask)).astype(np.int64)
        for length, start, side in zip(shape, corner, sides, strict=True)
    ]
    known = [(places >= 0) & (places < len(mask)) for places in inside]
    rows, columns = (places.clip(0, len(mask) - 1) for places in inside)
    return mask[rows[:, None], columns[None]] & known[0][:, None] & known[1][None]
