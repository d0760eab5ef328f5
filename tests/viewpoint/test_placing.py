"""Placing against a search that tries every shift and has no shortcuts."""

from __future__ import annotations

import numpy as np
import pytest

from shape3d_amodal.viewpoint.placing import place_all, place_near

G, F = 16, 12


def integral_of(mask: np.ndarray) -> np.ndarray:
    table = np.zeros((F + 1, F + 1), np.uint16)
    table[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    return table


def drawn(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """The silhouette at a size that divides the frame: means over blocks."""
    return mask.reshape(height, F // height, width, F // width).mean(axis=(1, 3))


def brute(mask: np.ndarray, visible: np.ndarray, possible: np.ndarray, sizes: list[int]) -> tuple[float, int, int, int]:
    best = (0.0, 0, 0, 0)
    for size in sizes:
        pixels = drawn(mask, size, size)
        for top in range(1 - size, G):
            for left in range(1 - size, G):
                canvas = np.zeros((3 * G, 3 * G))
                canvas[G + top : G + top + size, G + left : G + left + size] = pixels
                inside = canvas[G : 2 * G, G : 2 * G]
                explained = (inside * visible).sum()
                score = explained / (visible.sum() + pixels.sum() - (inside * possible).sum())
                if score > best[0] + 1e-6:
                    best = (score, size, top, left)
    return best


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random step, and where it stands, whole pixels large: its left part is visible, its right part hidden."""
    mask = np.ones((F, F), bool)
    mask[: 2 * rng.integers(1, 5), 2 * rng.integers(1, 5) :] = False
    whole = np.zeros((G, G), np.float32)
    top, left = rng.integers(0, G - 6, 2)
    whole[top : top + 6, left : left + 6] = drawn(mask, 6, 6)
    occluder = np.zeros((G, G), np.float32)
    occluder[:, left + 4 :] = 1
    visible = whole * (1 - occluder)
    return mask, visible, np.minimum(visible + occluder, 1)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_place_is_that_of_a_full_search(seed: int) -> None:
    mask, visible, possible = scene(np.random.default_rng(seed))
    expected = brute(mask, visible, possible, [4, 6, 12])
    shape = np.ones((1, 2), np.float32)
    sizes = np.array([4, 6, 12], np.float32)
    (place,) = place_all(integral_of(mask)[None], shape, visible, possible, sizes, slack=G)
    assert place[0] == pytest.approx(expected[0], abs=1e-5)
    pixels = drawn(mask, int(place[1]), int(place[1]))
    assert tuple(place[1:]) == expected[1:] or pixels.sum() > 0  # equals may stand elsewhere
    (tight,) = place_all(integral_of(mask)[None], shape, visible, possible, sizes, slack=1)
    assert tight[0] <= place[0] + 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_a_silhouette_is_found_where_it_stands(seed: int) -> None:
    mask, visible, possible = scene(np.random.default_rng(seed))
    (place,) = place_all(
        integral_of(mask)[None], np.ones((1, 2), np.float32), visible, possible, np.array([4, 6, 8], np.float32)
    )
    assert place[0] == pytest.approx(1.0, abs=1e-5)
    assert place[1] == 6
    start = place[None] + np.array([0, 1, 1, -1], np.float32)
    factors = np.array([0.9, 6 / 7, 1.0], np.float32)
    args = (integral_of(mask)[None], np.ones((1, 2), np.float32), visible, possible)
    (near,) = place_near(*args, start, factors, reach=2)
    assert near[0] == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(near[1:], place[1:], atol=1e-5)
    (out_of_reach,) = place_near(*args, place[None] + np.array([0, 0, 5, 5], np.float32), factors[2:], reach=1)
    assert out_of_reach[0] < 0.9


def test_boxes_that_cannot_hold_the_visible_mask_are_left_out() -> None:
    visible = np.zeros((G, G), np.float32)
    visible[4:12, 4:12] = 1
    flat = np.array([[0.3, 1.0]], np.float32)  # 8 px wide is 2.4 px high
    (place,) = place_all(integral_of(np.ones((F, F)))[None], flat, visible, visible, np.array([8], np.float32))
    assert place.tolist() == [0, 0, 0, 0]


def test_nothing_visible() -> None:
    empty = np.zeros((G, G), np.float32)
    (place,) = place_all(
        integral_of(np.ones((F, F)))[None], np.ones((1, 2), np.float32), empty, empty, np.array([4.0], np.float32)
    )
    assert place[0] == 0
    assert np.isfinite(place).all()
