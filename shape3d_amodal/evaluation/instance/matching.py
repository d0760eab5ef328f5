"""COCO's greedy matching of detections to instances.

The result is the same as that of ``COCOeval.evaluateImg`` of pycocotools, but for any subset of the instances: those
outside of it are marked as ignored, and the ``area`` of a mask is never replaced by another measure.

The outcomes of a detection are one integer with two bits for each of the ten IoU thresholds, the lowest threshold in
the lowest bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FALSE_POSITIVE, TRUE_POSITIVE, IGNORED = 0, 1, 2

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
IGNORED_ALWAYS = sum(IGNORED << (2 * place) for place in range(len(IOU_THRESHOLDS)))
"""The outcomes of a detection that is ignored at all thresholds."""
MAX_DETECTIONS = 100
"""Detections of an image and a category that are scored: those with the highest scores."""


@njit(cache=True)
def match(ious, crowd, ignored, outside, thresholds):  # type: ignore[no-untyped-def]
    """Match detections to the instances of one image and category, for each subset of the instances.

    The detections choose in the order of falling scores. Each takes the free instance with the highest IoU that reaches
    the threshold, and an ignored one only if no other is left. A crowd stays free. A detection is ignored if it took an
    ignored instance, or if it took none and lies outside of the subset.

    Args:
        ious: [D,G] float64, detections by falling score; for a crowd, the share of the detection that lies in it.
        crowd: [G] bool; crowds are ignored in all subsets.
        ignored: [G,C] bool, for each subset the instances that do not count.
        outside: [D,C] bool, for each subset the detections that do not belong to it.
        thresholds: [T] float64, IoUs from which on a pair can match.

    Returns:
        The outcomes [D,C] int64, and for the first subset at the first threshold the index [G] int64 of the detection
        that took each instance, -1 for none.
    """
    detections, subsets = outside.shape
    outcomes = np.zeros((detections, subsets), np.int64)
    first = np.full(ious.shape[1], -1, np.int64)
    free = np.ones(ious.shape[1], np.bool_)
    for subset in range(subsets):
        for place in range(len(thresholds)):
            free[:] = True
            threshold = min(thresholds[place], 1 - 1e-10)
            for detection in range(detections):
                best = _best(ious[detection], free, ignored[:, subset], threshold)
                if best >= 0:
                    free[best] = crowd[best]
                    if subset == 0 and place == 0:
                        first[best] = detection
                    outcome = IGNORED if ignored[best, subset] else TRUE_POSITIVE
                else:
                    outcome = IGNORED if outside[detection, subset] else FALSE_POSITIVE
                outcomes[detection, subset] |= outcome << (2 * place)
    return outcomes, first


@njit(cache=True)
def _best(ious, free, ignored, threshold):  # type: ignore[no-untyped-def]
    """The index of the free instance with the highest IoU (the last of equals), -1 for none.

    Ignored instances are considered only if no other one reaches the threshold.
    """
    for among_ignored in (False, True):
        best, highest = -1, threshold
        for instance in range(len(ious)):
            if free[instance] and ignored[instance] == among_ignored and ious[instance] >= highest:
                best, highest = instance, ious[instance]
        if best >= 0:
            return best
    return -1
