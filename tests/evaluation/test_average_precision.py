from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shape3d_amodal.evaluation.instance.average_precision import RECALLS, precision_and_recall
from shape3d_amodal.evaluation.instance.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE


def accumulate(outcomes: np.ndarray, positives: int) -> tuple[float, float]:
    """Average precision and final recall as pycocotools' ``COCOeval.accumulate`` writes them down."""
    outcomes = outcomes[outcomes != IGNORED]
    found, wrong = np.cumsum(outcomes == TRUE_POSITIVE), np.cumsum(outcomes == FALSE_POSITIVE)
    recall = found / positives
    precision = np.maximum.accumulate((found / np.maximum(found + wrong, 1))[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    interpolated = [precision[place] if place < len(precision) else 0.0 for place in places]
    return float(np.mean(interpolated)), float(recall[-1]) if len(recall) else 0.0


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(0, 20))
def test_images_count_as_often_as_they_are_drawn(seed, count, missed):
    rng = np.random.default_rng(seed)
    kinds = rng.choice([FALSE_POSITIVE, TRUE_POSITIVE, IGNORED], (3, count))
    images, times = rng.integers(0, 7, count), rng.integers(0, 4, 7)
    repeated = [np.repeat(kind, times[images]) for kind in kinds]
    positives = max(int((one == TRUE_POSITIVE).sum()) for one in repeated) + missed
    if positives == 0:
        return
    packed = sum(kind << (2 * place) for place, kind in enumerate(kinds))
    averages, recalls = precision_and_recall(packed, images, times, positives, 3, RECALLS)
    expected = [accumulate(one, positives) for one in repeated]
    np.testing.assert_allclose(averages, [average for average, _ in expected], atol=1e-12)
    np.testing.assert_allclose(recalls, [recall for _, recall in expected], atol=1e-12)


@pytest.mark.parametrize("positives", [1, 3, 7, 49, 100, 101, 12_345])
def test_recalls_are_reached_by_the_same_finds_as_by_division(positives):
    """All are found, one after another with a wrong one after each, so that every recall has a precision of its own."""
    outcomes = np.tile([TRUE_POSITIVE, FALSE_POSITIVE], positives)
    images, times = np.zeros(len(outcomes), np.int64), np.ones(1, np.int64)
    averages, _ = precision_and_recall(outcomes, images, times, positives, 1, RECALLS)
    assert averages[0] == pytest.approx(accumulate(outcomes, positives)[0], abs=1e-12)
