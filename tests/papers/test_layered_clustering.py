"""Mean shift against the algorithm written down plainly, and its time."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from shape3d_amodal.papers.layered.method import MAX_SHIFTS, mean_shift

RADIUS = 1.5


def plain_mean_shift(points: NDArray[np.float32], radius: float, seed: int) -> list[int]:
    labels = [-1] * len(points)
    count = 0
    for start in np.random.default_rng(seed).permutation(len(points)).tolist():
        if labels[start] != -1:
            continue
        left = [i for i in range(len(points)) if labels[i] == -1]
        mean = points[start].astype(np.float64)
        for _ in range(MAX_SHIFTS):
            near = [i for i in left if np.abs(points[i] - mean).sum() < radius]
            if not near or np.array_equal(moved := points[near].astype(np.float64).mean(axis=0), mean):
                break
            mean = moved
        for i in left:
            if i == start or np.abs(points[i] - mean).sum() < radius:
                labels[i] = count
        count += 1
    return labels


@pytest.mark.parametrize("spread", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("draw", [1, 2, 3])
def test_it_is_the_plain_algorithm(spread: float, draw: int) -> None:
    rng = np.random.default_rng([draw, int(10 * spread)])
    centres = rng.normal(0, 2, (5, 6))
    points = (centres[rng.integers(0, 5, 150)] + rng.normal(0, spread, (150, 6))).astype(np.float32)
    assert mean_shift(points, RADIUS, seed=3).tolist() == plain_mean_shift(points, RADIUS, seed=3)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 6])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_it_is_the_plain_algorithm_on_scattered_points(dimensions: int, offset: float) -> None:
    points = (np.random.default_rng(dimensions).normal(offset, 1, (200, dimensions))).astype(np.float32)
    assert mean_shift(points, RADIUS, seed=4).tolist() == plain_mean_shift(points, RADIUS, seed=4)


def test_it_is_the_plain_algorithm_on_a_lattice() -> None:
    """Where many points lie at the radius itself, and many means are equal."""
    rng = np.random.default_rng(0)
    points = (rng.integers(0, 6, (200, 3)) * 0.5).astype(np.float32)
    assert mean_shift(points, RADIUS, seed=5).tolist() == plain_mean_shift(points, RADIUS, seed=5)


def test_instances_as_the_losses_want_them_are_told_apart() -> None:
    """Means 3 apart and pixels up to 0.5 from them, which is where the losses vanish."""
    points, owners = _clusters(np.random.default_rng(0), 12, 50)
    labels = mean_shift(points, RADIUS)
    assert len(set(labels.tolist())) == 12
    assert len({(owner, label) for owner, label in zip(owners.tolist(), labels.tolist(), strict=True)}) == 12


def _clusters(rng: np.random.Generator, number: int, size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """``number`` <= 12 clusters on the axes of six dimensions; those on one axis lie 4.5 apart, others as well."""
    centres = np.concatenate([np.eye(6), -np.eye(6)])[:number] * 2.25
    directions = rng.normal(0, 1, (number * size, 6))
    offsets = directions / np.abs(directions).sum(axis=1, keepdims=True) * rng.uniform(0, 0.5, (number * size, 1))
    owners = np.arange(number).repeat(size)
    return (centres[owners] + offsets).astype(np.float32), owners


def test_few_points() -> None:
    assert mean_shift(np.zeros((0, 6), np.float32), RADIUS).tolist() == []
    assert mean_shift(np.zeros((1, 6), np.float32), RADIUS).tolist() == [0]
    assert mean_shift(np.array([[0.0], [1.0], [9.0]], np.float32), RADIUS).tolist() in ([0, 0, 1], [1, 1, 0])


def test_a_point_at_the_radius_is_outside() -> None:
    assert len(set(mean_shift(np.array([[0.0], [1.5]], np.float32), RADIUS).tolist())) == 2


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_a_full_image_takes_little_time(noise: float) -> None:
    """Every pixel of two layers of 64 x 64 taken by twelve instances, and a share of them scattered by unit noise."""
    rng = np.random.default_rng(0)
    points, _ = _clusters(rng, 12, 683)
    scattered = rng.random(len(points)) < noise
    points[scattered] = rng.normal(0, 1, (int(scattered.sum()), 6))
    mean_shift(points[:10], RADIUS)  # compiled
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        mean_shift(points, RADIUS)
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 0.2
