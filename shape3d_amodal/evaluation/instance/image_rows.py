"""The rows of one image: its instances and detections, matched by overlap for each kind of mask and category."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import faster_coco_eval.core.mask as coco_mask
import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.evaluation.instance.matching import IOU_THRESHOLDS, MAX_DETECTIONS, match
from shape3d_amodal.evaluation.instance.metrics import OCCLUDED_LABEL, SUBSETS
from shape3d_amodal.structures import AmodalInstance, Rle

FOUND = "found"
COLUMNS = (
    "image_id",
    "kind",  # index into KINDS
    "category_id",
    "detection",  # 1 for a detection, 0 for an instance
    "id",  # the id of an instance; the rank of a detection by falling score in its image and category
    "score",  # the bits of a detection's score (float64)
    *SUBSETS,  # 1 for an instance that counts; the outcomes of a detection (``matching.match``)
    FOUND,  # of an instance: 0 if no detection took it at IoU 0.5, else whether its occlusion label is right
)
"""The columns of a row."""
WRONG, RIGHT, UNKNOWN = 1, 2, 3
"""Values of the column ``FOUND``; unknown are labels where one of the two states no visible mask."""

_SUBSETS = slice(COLUMNS.index("all"), COLUMNS.index("all") + len(SUBSETS))
_MEASURES = [("area", "hidden").index(one.measure) for one in SUBSETS.values()]
_BY_AREA = np.array(_MEASURES) == 0
_LOW, _HIGH = (np.array([getattr(one, end) for one in SUBSETS.values()]) for end in ("low", "high"))


@dataclass(frozen=True, slots=True)
class _Region:
    """A mask of one kind, of an instance or of a detection.

    Attributes:
        group: index of its kind in ``KINDS`` and category id; only masks of equal groups are matched.
        mask: its pixels.
        area: their number.
        hidden: hidden share of the whole object; NaN if unknown.
        ignored: an instance that does not count, or a detection whose mask of this kind is empty.
        crowd: an instance that any number of detections can match.
        id: id of the instance; 0 for a detection.
        score: score of the detection; 0 for an instance.
    """

    group: tuple[int, int]
    mask: Rle
    area: int
    hidden: float
    ignored: bool
    crowd: bool = False
    id: int = 0
    score: float = 0.0


def image_rows(
    image_id: int, instances: Iterable[AmodalInstance], results: Iterable[AmodalResult]
) -> NDArray[np.int64]:
    """The rows [M,len(COLUMNS)] of an image: its instances, then its detections by kind, category and falling score."""
    truths = sorted((one for instance in instances for one in _truths(instance)), key=lambda one: one.group)
    ranked = list(_ranked(one for result in results for one in _detections(result)))
    found = [one for _, one in ranked]
    head, tail = (np.zeros((len(side), len(COLUMNS)), np.int64) for side in (truths, found))
    head[:, :5] = np.array([(image_id, *one.group, 0, one.id) for one in truths], np.int64).reshape(-1, 5)
    tail[:, :5] = np.array([(image_id, *one.group, 1, place) for place, one in ranked], np.int64).reshape(-1, 5)
    tail[:, 5] = np.array([one.score for one in found], np.float64).view(np.int64)
    ignored, outside = _outside(truths), _outside(found)
    head[:, _SUBSETS] = ~ignored
    crowds = np.array([one.crowd for one in truths], bool)
    homes = [one.group for one in truths]
    start = 0
    for group, own in groupby(found, lambda one: one.group):
        detections = list(own)
        here = slice(bisect_left(homes, group), bisect_right(homes, group))
        there = slice(start, start := start + len(detections))
        ious = _ious(truths[here], detections)
        tail[there, _SUBSETS], takers = match(ious, crowds[here], ignored[here], outside[there], IOU_THRESHOLDS)
        pairs = zip(truths[here], takers.tolist(), strict=True)
        head[here, -1] = [0 if by < 0 else _label(one, detections[by]) for one, by in pairs]
    return np.concatenate([head, tail])


def _truths(instance: AmodalInstance) -> Iterator[_Region]:
    """The masks of an instance; empty visible and hidden parts are left out."""
    amodal, visible = instance.amodal, instance.visible
    parts = (visible, visible) if amodal is None else (amodal, visible, masks.subtract(amodal, visible))
    areas = [masks.area(part) for part in parts]
    share = math.nan if amodal is None else areas[2] / max(areas[0], 1)
    for kind, (mask, area) in enumerate(zip(parts, areas, strict=True)):
        if kind == 0 or area > 0:
            ignored = instance.ignore or (kind == 0 and amodal is None)
            group = kind, instance.category_id
            yield _Region(group, mask, area, share, ignored, instance.crowd, instance.id)


def _detections(result: AmodalResult) -> Iterator[_Region]:
    """The masks that a result states; an occluded mask that is not stated follows from the other two."""
    occluded = result.occluded
    if occluded is None and result.visible is not None:
        occluded = masks.subtract(result.segmentation, result.visible)
    parts = result.segmentation, result.visible, occluded
    areas = [0 if part is None else masks.area(part) for part in parts]
    share = math.nan if occluded is None else areas[2] / max(areas[0], 1)
    for kind, (mask, area) in enumerate(zip(parts, areas, strict=True)):
        if mask is not None:
            group = kind, result.category_id
            yield _Region(group, mask, area, share, kind > 0 and area == 0, score=result.score)


def _ranked(found: Iterable[_Region]) -> Iterator[tuple[int, _Region]]:
    """The scored detections with their ranks, each group by falling score; equal scores keep their order."""
    ordered = sorted(found, key=lambda one: (one.group, -one.score))
    for _, own in groupby(ordered, lambda one: one.group):
        yield from enumerate(islice(own, MAX_DETECTIONS))


def _outside(side: Sequence[_Region]) -> NDArray[np.bool_]:
    """Which masks [N,len(SUBSETS)] do not count in each subset; one of unknown hidden share counts in all levels."""
    values = np.array([(one.area, one.hidden) for one in side], np.float64).reshape(-1, 2)[:, _MEASURES]
    below = np.where(_BY_AREA, values < _LOW, values <= _LOW)
    ignored = np.array([one.ignored for one in side], bool)
    result: NDArray[np.bool_] = below | (values > _HIGH) | ignored[:, None]
    return result


def _ious(truths: Sequence[_Region], detections: Sequence[_Region]) -> NDArray[np.float64]:
    """The IoUs [D,G] of detections and instances; for a crowd, the share of the detection that lies in it."""
    if not truths:
        return np.zeros((len(detections), 0))
    codes = [[one.mask.to_coco() for one in side] for side in (detections, truths)]
    return np.asarray(coco_mask.iou(*codes, [int(one.crowd) for one in truths]), np.float64)


def _label(truth: _Region, detection: _Region) -> int:
    """Whether the two agree on whether the object is occluded."""
    if math.isnan(truth.hidden) or math.isnan(detection.hidden):
        return UNKNOWN
    return RIGHT if (truth.hidden > OCCLUDED_LABEL) == (detection.hidden > OCCLUDED_LABEL) else WRONG
