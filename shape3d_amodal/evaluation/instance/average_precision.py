"""Average precision and recall from the outcomes of the matching (``matching.match``).

The numbers are the same as those of ``COCOeval.accumulate`` of pycocotools. Images can count several times or not at
all, as they do where images are resampled for confidence intervals.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from shape3d_amodal.evaluation.instance.image_rows import COLUMNS
from shape3d_amodal.evaluation.instance.matching import IGNORED_ALWAYS, IOU_THRESHOLDS, MAX_DETECTIONS, TRUE_POSITIVE

RECALLS = np.linspace(0.0, 1.0, 101)


class Ranking:
    """The detections of one kind of mask and category by falling score, and its instances.

    Args:
        rows: [M,len(COLUMNS)] int64, all of one kind and category.
        images: [I] int64, the rising ids of all images.
    """

    def __init__(self, rows: NDArray[np.int64], images: NDArray[np.int64]) -> None:
        detections, self.instances = rows[rows[:, 3] == 1], rows[rows[:, 3] == 0]
        scores = detections[:, 5].copy().view(np.float64)
        self._ranked = detections[np.lexsort((detections[:, 4], detections[:, 0], -scores))]
        self._images = np.searchsorted(images, self._ranked[:, 0])
        self._instance_images = np.searchsorted(images, self.instances[:, 0])
        self._count = len(images)
        self._chosen: dict[tuple[str, int], tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = {}

    def read(
        self, subset: str, *, most: int = MAX_DETECTIONS, times: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Average precision and recall [10] at each IoU threshold; NaN without an instance that counts.

        Args:
            subset: key of ``SUBSETS``.
            most: number of detections of an image that count, those with the highest scores.
            times: [I] int64, how often each image counts; once by default.
        """
        outcomes, images, positives = self._choose(subset, most)
        times = np.ones_like(positives) if times is None else times
        count = int(positives @ times)
        if count == 0:
            return np.full(len(IOU_THRESHOLDS), np.nan), np.full(len(IOU_THRESHOLDS), np.nan)
        result: tuple[NDArray[np.float64], NDArray[np.float64]] = precision_and_recall(
            outcomes, images, times, count, len(IOU_THRESHOLDS), RECALLS
        )
        return result

    def _choose(self, subset: str, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Of the detections that count, outcomes and image indices [D]; of the images, numbers of instances [I]."""
        if (subset, most) not in self._chosen:
            column = COLUMNS.index(subset)
            outcomes = self._ranked[:, column]
            kept = (self._ranked[:, 4] < most) & (outcomes != IGNORED_ALWAYS)
            counted = self._instance_images[self.instances[:, column] > 0]
            positives = np.bincount(counted, minlength=self._count)
            self._chosen[subset, most] = outcomes[kept], self._images[kept], positives
        return self._chosen[subset, most]


@njit(cache=True)
def precision_and_recall(outcomes, images, times, positives, thresholds, recalls):  # type: ignore[no-untyped-def]
    """Average precision (interpolated, over ``recalls``) and final recall at each IoU threshold.

    Args:
        outcomes: [D] int64, the outcomes of detections by falling score.
        images: [D] int64, index into ``times`` of each detection's image.
        times: [I] int64, how often each image counts.
        positives: number of instances that count, more than 0.
        thresholds: T, the number of IoU thresholds in ``outcomes``.
        recalls: [R] float64, rising.

    Returns:
        Two arrays [T] float64, both in 0..1.
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
            found[count], ranked[count] = finds, rank  # kept only at hits: precision falls between them
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
    """The outcomes of the detections whose image counts at least once, and how often it does."""
    chosen, weights = np.zeros_like(outcomes), np.zeros_like(outcomes)
    count = 0
    for i in range(len(outcomes)):
        chosen[count], weights[count] = outcomes[i], times[images[i]]
        count += weights[count] > 0
    return chosen[:count], weights[:count]


@njit(cache=True)
def _least_finds(recalls, positives):  # type: ignore[no-untyped-def]
    """The least number of found instances, out of ``positives``, that reaches each recall [R]."""
    finds = np.zeros(len(recalls), np.int64)
    for j in range(len(recalls)):
        finds[j] = max(int(recalls[j] * positives) - 1, 0)
        while finds[j] / positives < recalls[j]:
            finds[j] += 1
    return finds
