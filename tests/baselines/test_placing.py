"""Placing against a search that tries every shift and has no shortcuts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shape3d_amodal.baselines.placing import place_all

G, F = 16, 12


def integral_of(mask: np.ndarray) -> np.ndarray:
    table = np.zeros((F + 1, F + 1), np.uint16)
    table[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    return table


def drawn(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """The silhouette at a size that divides the frame: means over blocks."""
    return mask.reshape(height, F // height, width, F // width).mean(axis=(1, 3))


def score_at(
    mask: np.ndarray, visible: np.ndarray, possible: np.ndarray, size: int, top: int, left: int
) -> np.floating:
    """Certain-pixel IoU of the silhouette, ``size`` pixels large, with its corner at (top, left)."""
    pixels = drawn(mask, size, size)
    canvas = np.zeros((3 * G, 3 * G))
    canvas[G + top : G + top + size, G + left : G + left + size] = pixels
    inside = canvas[G : 2 * G, G : 2 * G]
    return (inside * visible).sum() / (visible.sum() + pixels.sum() - (inside * possible).sum())


def brute(mask: np.ndarray, visible: np.ndarray, possible: np.ndarray, sizes: list[int], slack: int) -> np.floating:
    """The best score of all sizes and shifts whose box the visible mask leaves by ``slack`` pixels at most."""
    rows, columns = (np.nonzero(visible.any(axis=axis))[0] for axis in (1, 0))
    return max(
        score_at(mask, visible, possible, size, top, left)
        for size in sizes
        if size >= max(np.ptp(rows), np.ptp(columns)) + 1 - slack
        for top in range(max(1 - size, rows[-1] + 1 - size - slack), min(G, rows[0] + slack + 1))
        for left in range(max(1 - size, columns[-1] + 1 - size - slack), min(G, columns[0] + slack + 1))
    )


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


@pytest.mark.parametrize("slack", [1, G])
@pytest.mark.parametrize("seed", range(8))
def test_the_best_place_is_that_of_a_full_search(seed: int, slack: int) -> None:
    """Of several places that are equally good it may be any: what counts is the score there."""
    mask, visible, possible = scene(np.random.default_rng(seed))
    sizes = [4, 6, 12]
    (place,) = place_all(
        integral_of(mask)[None], np.ones((1, 2), np.float32), visible, possible, np.float32(sizes), slack=slack
    )
    score, (size, top, left) = place[0], place[1:].astype(int)
    assert size in sizes
    assert score == pytest.approx(score_at(mask, visible, possible, size, top, left), abs=1e-5)
    assert score == pytest.approx(brute(mask, visible, possible, sizes, slack), abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_silhouette_is_found_where_it_stands(seed: int) -> None:
    mask, visible, possible = scene(np.random.default_rng(seed))
    (place,) = place_all(
        integral_of(mask)[None], np.ones((1, 2), np.float32), visible, possible, np.array([4, 6, 8], np.float32)
    )
    assert place[0] == pytest.approx(1.0, abs=1e-5)
    assert place[1] == 6


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


def stretched(mask: np.ndarray, height: float, width: float) -> np.ndarray:
    """The silhouette at any size: means over the nearest whole blocks, border pixels by the share that is covered."""
    height, width = float(height), float(width)
    result = np.zeros((math.ceil(height), math.ceil(width)))
    for y, x in np.ndindex(*result.shape):
        shares = (y / height, (y + 1) / height, x / width, (x + 1) / width)
        ends = [math.floor(min(share, 1) * F + 0.5) for share in shares]
        top, left = min(ends[0], F - 1), min(ends[2], F - 1)
        block = mask[top : max(ends[1], top + 1), left : max(ends[3], left + 1)]
        result[y, x] = block.mean() * (min(y + 1, height) - y) * (min(x + 1, width) - x)
    return result


def score_of(pixels: np.ndarray, visible: np.ndarray, possible: np.ndarray, top: int, left: int) -> float:
    canvas = np.zeros((5 * G, 5 * G))
    canvas[2 * G + top : 2 * G + top + pixels.shape[0], 2 * G + left : 2 * G + left + pixels.shape[1]] = pixels
    inside = canvas[2 * G : 3 * G, 2 * G : 3 * G]
    return float((inside * visible).sum() / (visible.sum() + pixels.sum() - (inside * possible).sum()))


def soft_scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two random silhouettes, and a soft visible mask that may touch the border, beside an occluder."""
    masks = rng.random((2, F, F)) < 0.7
    visible = np.zeros((G, G), np.float32)
    top, left = rng.integers(0, G - 4, 2)
    visible[top : top + 4, left : left + 5] = rng.choice([0.3, 0.7, 1.0], (4, min(5, G - left)))
    visible[rng.integers(G), rng.integers(G)] = 0.2  # too little to have to lie within the box
    occluder = (rng.random((G, G)) < 0.3).astype(np.float32)
    return masks, np.array([[0.62, 1.0], [1.0, 0.83]], np.float32), visible, np.minimum(visible + occluder, 1)


@pytest.mark.parametrize("seed", range(8))
def test_oblong_silhouettes_of_any_size(seed: int) -> None:
    masks, shape, visible, possible = soft_scene(np.random.default_rng(seed))
    sizes = [5.3, 6.1, 8.6, 1.5 * G, 1.6 * G]
    found = place_all(np.stack([integral_of(one) for one in masks]), shape, visible, possible, np.float32(sizes))
    rows, columns = (np.nonzero((visible > 0.25).any(axis=axis))[0] for axis in (1, 0))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    for mask, (high, wide), place in zip(masks, shape, found, strict=True):
        best = 0.0
        for size in sizes[:4]:  # the last one is larger than 1.5 crops
            height, width = high * size, wide * size
            if height < y1 - y0 - 1 or width < x1 - x0 - 1:
                continue
            pixels = stretched(mask, height, width)
            for top in range(max(y1 - pixels.shape[0] - 1, 1 - pixels.shape[0]), min(y0 + 1, G - 1) + 1):
                for left in range(max(x1 - pixels.shape[1] - 1, 1 - pixels.shape[1]), min(x0 + 1, G - 1) + 1):
                    best = max(best, score_of(pixels, visible, possible, top, left))
        assert place[0] == pytest.approx(best, abs=1e-5)
        if best:
            pixels = stretched(mask, high * place[1], wide * place[1])
            again = score_of(pixels, visible, possible, int(place[2]), int(place[3]))
            assert again == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("slack", [0, 1])
@pytest.mark.parametrize("short", [0, 1, 2, 3])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_visible_box_may_stick_out_by_the_slack_alone(axis: int, short: int, slack: int) -> None:
    """Visible are 10 x 3 pixels, wherever; a silhouette that is 10 - ``short`` long is tried up to the slack."""
    for begin in (0, 5, 14):
        visible = np.zeros((24, 24), np.float32)
        visible[begin : begin + 10, 7:10] = 1
        visible = visible if axis == 0 else visible.T.copy()
        shape = np.float32([[1, 0.5]] if axis == 0 else [[0.5, 1]])
        size = np.float32([10 - short])
        (place,) = place_all(integral_of(np.ones((F, F)))[None], shape, visible, visible, size, slack=slack)
        assert (place[0] > 0) == (short <= slack)
