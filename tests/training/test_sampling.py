"""Rows are drawn alike, or rare categories more often."""

from __future__ import annotations

import numpy as np
import pytest

from shape3d_amodal.training.tasks.sampling import Rows

CATEGORY = np.repeat([2, 0, 5], [900, 90, 10])


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_categories_are_drawn_by_a_power_of_their_count(balance: float) -> None:
    rows = np.random.default_rng(1).permutation(1000)
    drawn = Rows(rows, CATEGORY, balance).draw(np.random.default_rng(0), 40_000)
    counts = np.array([900, 90, 10])
    expected = counts ** (1 - balance) / (counts ** (1 - balance)).sum()
    found = np.array([(CATEGORY[drawn] == category).mean() for category in (2, 0, 5)])
    np.testing.assert_allclose(found, expected, atol=4 * 0.5 / 40_000**0.5)
    within = np.bincount(drawn[CATEGORY[drawn] == 5], minlength=1000)[990:]
    assert within.min() > 0.7 * within.mean()


def test_counts_are_those_of_the_rows() -> None:
    rows = np.array([0, 1, 2, 995])  # three of one category, one of another
    drawn = Rows(rows, CATEGORY, 1.0).draw(np.random.default_rng(0), 4000)
    assert set(drawn.tolist()) == set(rows.tolist())
    assert abs((drawn == 995).mean() - 0.5) < 0.04


def test_without_balance_the_draws_are_those_of_integers() -> None:
    rows = np.array([3, 5, 8])
    drawn = Rows(rows, CATEGORY, 0.0).draw(np.random.default_rng(7), 20)
    np.testing.assert_array_equal(drawn, rows[np.random.default_rng(7).integers(3, size=20)])
