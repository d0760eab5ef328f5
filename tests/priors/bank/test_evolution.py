"""Evolution: it finds the top of functions whose slopes are no help, and each search goes its own way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from shape3d_amodal.priors.bank.evolution import Evolution

TOP = np.array([0.3, -0.2, 0.5, 0.1, -0.4])
SCALES = np.array([1.0, 10.0, 100.0, 3.0, 30.0])


def search(searches: int, seed: int = 0, samples: int = 8) -> Evolution:
    axes = np.tile(0.5 * np.eye(5), (searches, 1, 1))
    return Evolution(axes, samples, np.random.default_rng(seed))


def ridge(places: np.ndarray) -> np.ndarray:
    """A quadratic function, 10^4 times as steep one way as another, askew to the axes."""
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(5, 5)))[0]
    return -((((places - TOP) @ turn) * SCALES) ** 2).sum(axis=-1)


def roof(places: np.ndarray) -> np.ndarray:
    """A function that is nowhere smooth along its top, as an IoU is."""
    return -np.abs((places - TOP) * np.sqrt(SCALES)).sum(axis=-1)


@pytest.mark.parametrize(("function", "generations", "within"), [(ridge, 220, 1e-3), (roof, 220, 1e-2)])
def test_the_top_is_found(function: Callable[[np.ndarray], np.ndarray], generations: int, within: float) -> None:
    evolution = search(4)
    for _ in range(generations):
        places, values = evolution.step(function)
        np.testing.assert_array_equal(values, function(places))
    np.testing.assert_allclose(evolution.place, np.tile(TOP, (4, 1)), atol=within)
    np.testing.assert_allclose(evolution.best, function(evolution.place))


def test_the_best_that_was_met_is_remembered() -> None:
    """Also where later generations are worse."""
    evolution, met = search(3), []
    for generation in range(12):
        places, values = evolution.step(lambda at, late=generation: roof(at) - late)
        met.append((places, values))
    values = np.concatenate([one for _, one in met], axis=1)
    places = np.concatenate([one for one, _ in met], axis=1)
    np.testing.assert_array_equal(evolution.best, values.max(axis=1))
    np.testing.assert_array_equal(evolution.place, places[np.arange(3), values.argmax(axis=1)])


def test_first_samples_lie_about_the_origin_as_far_as_they_are_told_to() -> None:
    spread = np.array([0.1, 1.0, 7.0])
    evolution = Evolution(np.tile(np.diag(spread), (2, 1, 1)), 4000, np.random.default_rng(0))
    places, _ = evolution.step(lambda at: -at[..., 0])
    assert places.shape == (2, 4000, 3)
    np.testing.assert_allclose(places.std(axis=1), np.tile(spread, (2, 1)), rtol=0.05)
    np.testing.assert_allclose(places.mean(axis=1) / spread, 0, atol=0.06)


def test_searches_that_are_kept_stay_the_searches_that_they_were() -> None:
    """Tops at other places for each search: those that are kept go on to their own, and end there."""
    tops = np.stack([TOP + k for k in range(4)])
    evolution = search(4)
    for _ in range(60):
        evolution.step(lambda at: -np.abs(at - tops[:, None]).sum(axis=-1))
    best, place = evolution.best.copy(), evolution.place.copy()
    chosen = np.array([3, 1])
    evolution.keep(chosen)
    assert len(evolution) == 2
    np.testing.assert_array_equal(evolution.best, best[chosen])
    np.testing.assert_array_equal(evolution.place, place[chosen])
    for _ in range(100):
        evolution.step(lambda at: -np.abs(at - tops[chosen][:, None]).sum(axis=-1))
    np.testing.assert_allclose(evolution.place, tops[chosen], atol=0.01)


def test_the_same_seed_gives_the_same_places() -> None:
    one, same, other = search(3), search(3), search(3, seed=1)
    for _ in range(5):
        places = [evolution.step(ridge)[0] for evolution in (one, same, other)]
    np.testing.assert_array_equal(places[0], places[1])
    assert not np.array_equal(places[0], places[2])
