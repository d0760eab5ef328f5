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
    values, clusters = np.arange(10.0), np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    assert bootstrap.resampled_means(values, 8, np.random.default_rng(0)).shape == (8,)
    assert bootstrap.resampled_means(values, 8, np.random.default_rng(0), clusters).shape == (8,)


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


def test_clusters_by_a_loop():
    """Each mean is that of all values of the clusters drawn, as often as they were drawn."""
    values, clusters = np.array([1.0, 2.0, 3.0, 10.0, 20.0, 7.0]), np.array([5, 5, 5, 9, 9, 2])
    means = bootstrap.resampled_means(values, 50, np.random.default_rng(3), clusters)
    own = [values[clusters == key] for key in (2, 5, 9)]
    draws = np.random.default_rng(3).integers(0, 3, (50, 3))
    assert means == pytest.approx([np.concatenate([own[one] for one in draw]).mean() for draw in draws])


def test_clusters_are_drawn_within_strata_and_a_single_one_value_by_value():
    values = np.array([0.0, 1.0, 8.0, 4.0, math.nan, 5.0, 6.0])
    strata, clusters = np.array([3, 3, 3, 3, 3, 7, 7]), np.array([1, 1, 2, 2, 4, 4, 4])
    means = bootstrap.stratified_means(values, strata, 200, 0, clusters)
    assert set(means[3].tolist()) == {0.5, (1.0 + 12.0) / 4, 6.0}
    assert set(means[7].tolist()) == {5.0, 5.5, 6.0}


def test_nothing_defined_gives_an_undefined_interval():
    means = bootstrap.stratified_means(np.array([math.nan]), np.array([0]), 10, seed=0)
    row = bootstrap.interval(means[0])
    assert math.isnan(row.low) and math.isnan(row.high)
