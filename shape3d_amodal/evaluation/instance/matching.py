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
IGNORED_ALWAYS = sum(IGNORED << (2 * place) for place in range(len(IOU_THRESHOLDS)))
"""The outcomes of a detection that is ignored at all thresholds."""
MAX_DETECTIONS = 100
"""Detections of an image and a category that are looked at; the others have lower scores."""


@njit(cache=True)
def match(ious, crowd, ignored, outside, thresholds):  # type: ignore[no-untyped-def]
    """Match detections to the instances of one image and category, subset by subset.

    Each detection, the surest first, takes the free instance of highest IoU at or above the threshold; ignored
    instances only if no other one will do. A crowd is always free. A detection that took an ignored instance, or that
    took none and is outside of the subset, is ignored.

    Args:
        ious: [D,G] float64, detections by falling score; with a crowd, the share of the detection that lies in it.
        crowd: [G] bool; crowds are ignored in all subsets.
        ignored: [G,C] bool, for each subset the instances that do not count.
        outside: [D,C] bool, for each subset the detections that do not belong to it.
        thresholds: [T] float64.

    Returns:
        Outcomes [D,C] int64, and for the first subset at the first threshold the detection that took each instance
        [G] int64, -1 for none.
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
    """The free instance of highest IoU (the last of equals) among those that count, else among the ignored ones."""
    for among in (False, True):
        best, highest = -1, threshold
        for instance in range(len(ious)):
            if free[instance] and ignored[instance] == among and ious[instance] >= highest:
                best, highest = instance, ious[instance]
        if best >= 0:
            return best
    return -1


@njit(cache=True)
def precision_and_recall(outcomes, images, times, positives, thresholds, recalls):  # type: ignore[no-untyped-def]
    """Average precision (interpolated, over ``recalls``) and final recall at each threshold.

    Args:
        outcomes: [D] int64, by falling score.
        images: [D] int64, place of each detection's image in ``times``.
        times: [I] int64, how often each image counts.
        positives: number of instances that count, more than 0.
        thresholds: T, how many there are in ``outcomes``.
        recalls: [R] float64, rising.

    Returns:
        Two arrays [T] float64.
    """
    outcomes, weights = _drawn(outcomes, images, times)
    averages, finals = np.zeros(thresholds), np.zeros(thresholds)
    found, ranked = np.zeros(len(outcomes), np.int64), np.zeros(len(outcomes), np.int64)
    wanted = _least_finds(recalls, positives)
    for place in range(thresholds):
        finds, rank, count = 0, 0, 0
        for i in range(len(outcomes)):  # without branches, which a processor could not foresee
            outcome = (outcomes[i] >> (2 * place)) & 3
            hit = outcome & TRUE_POSITIVE
            finds += weights[i] * hit
            rank += weights[i] * (1 - (outcome >> 1))
            found[count], ranked[count] = finds, rank  # kept where it is a hit: the curve has corners there alone
            count += hit
        best = 0.0
        for j in range(len(recalls) - 1, -1, -1):
            while count > 0 and found[count - 1] >= wanted[j]:
                count -= 1
                best = max(best, found[count] / ranked[count])
            averages[place] += best
        finals[place] = finds / positives
    return averages / len(recalls), finals


@njit(cache=True)
def _drawn(outcomes, images, times):  # type: ignore[no-untyped-def]
    """The outcomes of detections whose image counts at all, and how often it does."""
    chosen, weights = np.zeros_like(outcomes), np.zeros_like(outcomes)
    count = 0
    for i in range(len(outcomes)):
        chosen[count], weights[count] = outcomes[i], times[images[i]]
        count += weights[count] > 0
    return chosen[:count], weights[:count]


@njit(cache=True)
def _least_finds(recalls, positives):  # type: ignore[no-untyped-def]
    """How many of ``positives`` instances at least must be found for each recall [R]."""
    finds = np.zeros(len(recalls), np.int64)
    for j in range(len(recalls)):
        finds[j] = max(int(recalls[j] * positives) - 1, 0)
        while finds[j] / positives < recalls[j]:
            finds[j] += 1
    return finds
