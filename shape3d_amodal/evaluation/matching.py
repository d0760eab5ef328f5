"""COCO's greedy matching of detections to instances, and average precision and recall of what it says.

Outcomes are integers: two bits for each of the ten IoU thresholds, the lowest first. The same numbers as
``COCOeval.evaluateImg`` and ``accumulate`` of pycocotools, but for any subset of instances: what is no part of a subset
is marked as ignored, and no mask's ``area`` is ever replaced by another measure.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FALSE_POSITIVE, TRUE_POSITIVE, IGNORED = 0, 1, 2

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100
"""Detections of an image and a category that are looked at; the others have lower scores."""


@njit(cache=True)
def match(ious, ignored, outside, thresholds):  # type: ignore[no-untyped-def]
    """Match detections to the instances of one image and category, subset by subset.

    Each detection, the surest first, takes the free instance of highest IoU at or above the threshold; ignored
    instances only if no other one will do. A detection that took an ignored instance, or that took none and is outside
    of the subset, is ignored.

    Args:
        ious: [D,G] float64, detections by falling score.
        ignored: [C,G] bool, for each subset the instances that do not count.
        outside: [C,D] bool, for each subset the detections that do not belong to it.
        thresholds: [T] float64.

    Returns:
        Outcomes [C,D] int64, and for the first subset at the first threshold the detection that took each instance
        [G] int64, -1 for none.
    """
    subsets, detections = outside.shape
    outcomes = np.zeros((subsets, detections), np.int64)
    first = np.full(ious.shape[1], -1, np.int64)
    for subset in range(subsets):
        for place in range(len(thresholds)):
            taken = np.full(ious.shape[1], -1, np.int64)
            for detection in range(detections):
                best = _best(ious[detection], taken, ignored[subset], min(thresholds[place], 1 - 1e-10))
                if best >= 0:
                    taken[best] = detection
                    outcome = IGNORED if ignored[subset, best] else TRUE_POSITIVE
                else:
                    outcome = IGNORED if outside[subset, detection] else FALSE_POSITIVE
                outcomes[subset, detection] |= outcome << (2 * place)
            if subset == 0 and place == 0:
                first[:] = taken
    return outcomes, first


@njit(cache=True)
def _best(ious, taken, ignored, threshold):  # type: ignore[no-untyped-def]
    """The free instance of highest IoU (the last of equals) among those that count, else among the ignored ones."""
    for among in (False, True):
        best, highest = -1, threshold
        for instance in range(len(ious)):
            if taken[instance] < 0 and ignored[instance] == among and ious[instance] >= highest:
                best, highest = instance, ious[instance]
        if best >= 0:
            return best
    return -1


@njit(cache=True)
def precision_and_recall(outcomes, images, times, positives, places, recalls):  # type: ignore[no-untyped-def]
    """Average precision (interpolated, over ``recalls``) and final recall at each threshold.

    Args:
        outcomes: [D] int64, by falling score.
        images: [D] int64, place of each detection's image in ``times``.
        times: [I] int64, how often each image counts.
        positives: number of instances that count, more than 0.
        places: [T] int64, which thresholds.
        recalls: [R] float64, rising.

    Returns:
        Two arrays [T] float64.
    """
    averages, finals = np.zeros(len(places)), np.zeros(len(places))
    precision, recall = np.zeros(len(outcomes)), np.zeros(len(outcomes))
    for row in range(len(places)):
        found, wrong, count = 0, 0, 0
        for i in range(len(outcomes)):
            weight = times[images[i]]
            outcome = (outcomes[i] >> (2 * places[row])) & 3
            if outcome == TRUE_POSITIVE and weight > 0:  # the only ones where the curve has a corner
                found += weight
                recall[count] = found / positives
                precision[count] = found / (found + wrong)
                count += 1
            elif outcome == FALSE_POSITIVE:
                wrong += weight
        for i in range(count - 1, 0, -1):
            precision[i - 1] = max(precision[i - 1], precision[i])
        i = 0
        for threshold in recalls:
            while i < count and recall[i] < threshold:
                i += 1
            if i < count:
                averages[row] += precision[i]
        finals[row] = found / positives
    return averages / len(recalls), finals
