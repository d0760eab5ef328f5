from __future__ import annotations

import math

import numpy as np
import pytest

from shape3d_amodal.evaluation import bootstrap


def test_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    means = bootstrap.resampled_means(values, 4000, np.random.default_rng(1))
    half = 1.96 * values.std() / math.sqrt(len(values))
    row = bootstrap.interval(means)
    assert row.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert row.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_blocks_do_not_change_the_number_of_samples(monkeypatch):
    monkeypatch.setattr(bootstrap, "_DRAWS", 35)
    assert bootstrap.resampled_means(np.arange(10.0), 8, np.random.default_rng(0)).shape == (8,)


def test_strata_are_drawn_apart_and_reproducibly():
    values = np.array([0.1, 0.2, 0.3, 5.0, 6.0, math.nan])
    strata = np.array([3, 3, 3, 7, 7, 7])
    means = bootstrap.stratified_means(values, strata, 100, seed=4)
    assert set(means) == {3, 7}
    assert means[3].max() <= 0.3 and means[7].min() >= 5.0
    alone = bootstrap.stratified_means(values[3:], strata[3:], 100, seed=4)
    np.testing.assert_array_equal(means[7], alone[7])
    assert not np.array_equal(means[3], bootstrap.stratified_means(values, strata, 100, seed=5)[3])


def test_strata_may_be_negative():
    means = bootstrap.stratified_means(np.arange(6.0), np.array([-3, -3, -3, 3, 3, 3]), 100, seed=4)
    assert means[-3].max() <= 2 and means[3].min() >= 3
    assert not np.array_equal(means[-3] + 3, means[3])


def test_nothing_defined_gives_an_undefined_interval():
    means = bootstrap.stratified_means(np.array([math.nan]), np.array([0]), 10, seed=0)
    row = bootstrap.interval(means[0])
    assert math.isnan(row.low) and math.isnan(row.high)
