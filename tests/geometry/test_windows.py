"""Windows, cutting and pasting: against brute force, and against half-planes whose edge is known."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch

from shape3d_amodal.geometry.windows import MARGIN, REACH, cut, inside_image, instance_window, paste


def mask(shape: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """True in the boxes (x0, y0, x1, y1)."""
    result = np.zeros(shape, bool)
    for x0, y0, x1, y1 in boxes:
        result[y0:y1, x0:x1] = True
    return result


def inner(window: np.ndarray) -> np.ndarray:
    """The window without its margin."""
    side = window[2] - window[0]
    return window + side * MARGIN * np.array([1, 1, -1, -1])


def flooded_box(visible: np.ndarray, occluder: np.ndarray) -> tuple[int, int, int, int]:
    """Brute force: flood from the visible pixels through occluders, by steps in eight directions, inside the reach."""
    rows, columns = np.nonzero(visible)
    y0, y1, x0, x1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    reach = round(REACH * max(y1 - y0, x1 - x0))
    queue = deque(zip(rows.tolist(), columns.tolist(), strict=True))
    reached = set(queue)
    while queue:
        row, column = queue.popleft()
        for r in range(row - 1, row + 2):
            for c in range(column - 1, column + 2):
                inside = 0 <= r < visible.shape[0] and 0 <= c < visible.shape[1]
                near = y0 - reach <= r < y1 + reach and x0 - reach <= c < x1 + reach
                if inside and near and (visible[r, c] or occluder[r, c]) and (r, c) not in reached:
                    reached.add((r, c))
                    queue.append((r, c))
    ys, xs = [r for r, _ in reached], [c for _, c in reached]
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


@pytest.mark.parametrize(
    ("visible", "occluder", "expected"),
    [
        ((20, 20, 30, 40), (), (15, 20, 35, 40)),  # alone: the visible box, made square
        ((20, 20, 30, 30), (35, 20, 50, 30), (20, 20, 30, 30)),  # not connected: no growth
        ((20, 20, 30, 30), (30, 20, 34, 30), (20, 18, 34, 32)),  # grows over the occluder
        ((20, 20, 30, 30), (30, 30, 34, 34), (20, 20, 34, 34)),  # corners touch
        ((20, 20, 30, 30), (30, 20, 60, 30), (20, 16, 38, 34)),  # no further than 0.8 of the longer side
        ((0, 0, 10, 10), (), (0, 0, 10, 10)),  # at the border of the image: not beyond it
        ((5, 7, 6, 8), (), (3.5, 5.5, 7.5, 9.5)),  # a single pixel
    ],
)
def test_window(visible: tuple, occluder: tuple, expected: tuple) -> None:
    boxes = [occluder] if occluder else []
    window = instance_window(mask((60, 64), visible), mask((60, 64), *boxes))
    assert window.dtype == np.float32
    np.testing.assert_allclose(inner(window), expected, atol=1e-4)


def test_the_numbers_of_a_window() -> None:
    """Eight hundredths of its side are margin on each side; it follows an occluder for 8/10 of the visible length."""
    window = instance_window(mask((100, 100), (40, 40, 50, 50)), mask((100, 100), (50, 40, 100, 50)))
    side = (10 + 8) / (1 - 0.16)
    np.testing.assert_allclose(window, [49 - side / 2, 45 - side / 2, 49 + side / 2, 45 + side / 2], atol=1e-4)


@pytest.mark.parametrize("seed", range(25))
def test_window_against_flooding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(12, 30, 2)
    visible = mask((height, width), (*rng.integers(0, 8, 2), *rng.integers(8, 12, 2))) & (
        rng.random((height, width)) < 0.5
    )
    visible[int(rng.integers(height)), int(rng.integers(width))] = True
    occluder = (rng.random((height, width)) < rng.uniform(0.1, 0.6)) & ~visible
    window = instance_window(visible, occluder)
    x0, y0, x1, y1 = flooded_box(visible, occluder)
    side = max(x1 - x0, y1 - y0, 4)
    middle = np.array([x0 + x1, y0 + y1]) / 2
    np.testing.assert_allclose(inner(window), [*(middle - side / 2), *(middle + side / 2)], atol=1e-4)
    assert window[2] - window[0] == pytest.approx(window[3] - window[1], rel=1e-5)


@pytest.mark.parametrize("scale", [2, 4, 6, 8])
def test_cut_averages_over_pixels(scale: int) -> None:
    size = 12
    image = torch.rand(3, 20 * scale, 25 * scale, dtype=torch.float64)
    corner = torch.tensor([3 * scale, 5 * scale])
    window = torch.cat([corner, corner + size * scale])[None].double()
    expected = torch.nn.functional.avg_pool2d(image, scale)[:, 5 : 5 + size, 3 : 3 + size]
    torch.testing.assert_close(cut(image, window, size)[0], expected, atol=1e-5, rtol=0)  # kornia 0.8 rounds more


@pytest.mark.parametrize("scale", [1, 3, 5, 7])
def test_cut_averages_a_slope_at_any_scale(scale: int) -> None:
    size = 8
    image = torch.linspace(0, 1, 20 * scale, dtype=torch.float64).expand(1, 20 * scale, -1)
    expected = torch.nn.functional.avg_pool2d(image, scale)[:, 5 : 5 + size, 3 : 3 + size]
    window = torch.tensor([[3.0, 5.0, 3 + size, 5 + size]], dtype=torch.float64) * scale
    torch.testing.assert_close(cut(image, window, size)[0], expected, atol=1e-5, rtol=0)  # kornia 0.8 rounds more


def test_cut_is_zero_beyond_the_image() -> None:
    crop = cut(torch.ones(1, 20, 20), torch.tensor([[-20.0, -10.0, 20.0, 30.0]]), 8)[0, 0]
    expected = torch.zeros(8, 8)
    expected[2:6, 4:] = 1
    torch.testing.assert_close(crop, expected, rtol=0, atol=0.13)  # the border pixel fades over half a pixel
    assert crop[0].abs().max() == 0
    torch.testing.assert_close(crop[3:5, 5:7], torch.ones(2, 2))


def test_cut_takes_several_windows() -> None:
    image = torch.rand(2, 40, 40)
    windows = torch.tensor([[0.0, 0, 16, 16], [3.2, 5.1, 27.2, 29.1], [-4, -4, 30, 30]])
    together = cut(image, windows, 8)
    assert together.shape == (3, 2, 8, 8)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], cut(image, windows[i : i + 1], 8))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("scale", [0.5, 0.8, 1.0, 1.7, 2.0])
@pytest.mark.parametrize("edge", [5, 50, 95])  # the window is partly outside, inside, partly outside
def test_half_plane_is_cut_to_its_place(axis: int, scale: float, edge: int) -> None:
    """Coverage is conserved: the sum over a line of crop pixels is the length that the half-plane covers of it."""
    size = 64
    side = size * scale
    image = torch.zeros(100, 100)
    image[:edge] = 1
    image = image if axis == 0 else image.T
    for shift in (0.0, 0.25, 0.61):
        corner = edge - 0.6 * side + shift
        crop = cut(image[None], torch.tensor([[corner, corner, corner + side, corner + side]]), size)[0, 0]
        line = int((min(edge, 90) - corner) / scale)  # crosses the image's inside
        profile = crop[:, line] if axis == 0 else crop[line]
        covered = float(profile.sum()) * scale
        assert covered == pytest.approx(edge - max(corner, 0.0), abs=0.05 * max(scale, 1))


@pytest.mark.parametrize("scale", [3.0, 3.7, 4.6, 9.3, 14.0])
def test_large_windows_have_no_bias(scale: float) -> None:
    """Single crops are sampled; over all sub-pixel shifts the half-plane lies where it is, to 0.05 image pixels."""
    size, edge = 16, 140
    image = torch.zeros(1, 400, 400)
    image[:, :, :edge] = 1
    shifts = torch.arange(40) / 40 * scale
    corner = 20 + shifts
    side = size * scale
    windows = torch.stack([corner, corner, corner + side, corner + side], dim=1)
    covered = cut(image, windows, size)[:, 0, size // 2].sum(dim=1) * scale
    error = covered - (edge - corner).clamp(max=side)
    assert abs(float(error.mean())) < 0.05
    assert float(error.abs().max()) < 0.15 * scale


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("scale", [0.5, 0.8, 1.0, 1.7, 3.3])
@pytest.mark.parametrize("place", [0.0, 40.0, 80.0])  # the window's middle: partly outside, inside, partly outside
def test_half_plane_is_pasted_to_its_place(axis: int, scale: float, place: float) -> None:
    """Exactly the image pixels whose centres lie on the right side are above one half, to 0.05 pixels."""
    size, side = 32, 32 * scale
    for shift in torch.linspace(-0.5, 0.5, 21).tolist():
        corner = place + shift - side / 2
        edge = 24 if place == 0 else 8
        crop = torch.zeros(size, size)
        crop[:edge] = 1
        crop = crop if axis == 0 else crop.T
        image = paste(crop, torch.tensor([corner, corner, corner + side, corner + side]), 80, 80)
        line = int(min(max(place, 2), 78))
        profile = image[:, line] if axis == 0 else image[line]
        centres = torch.arange(80) + 0.5
        where = corner + edge * scale
        clear = ((centres - where).abs() > 0.05) & (centres > corner) & (centres < corner + side)
        assert clear.sum() > 3
        assert torch.equal(profile[clear] > 0.5, centres[clear] < where)


@pytest.mark.parametrize("window", [(20.0, 10.0, 70.0, 60.0), (-12.4, 33.3, 51.6, 97.3), (40.7, -20.2, 104.7, 43.8)])
def test_round_trip_keeps_a_mask(window: tuple[float, ...]) -> None:
    ys, xs = np.mgrid[:80, :90] + 0.5
    disc = ((xs - 45) / 20) ** 2 + ((ys - 38) / 15) ** 2 < 1
    inside = (xs > window[0]) & (xs < window[2]) & (ys > window[1]) & (ys < window[3])
    frame = torch.tensor(window)
    crop = cut(torch.from_numpy(disc)[None].float(), frame[None], 64)[0, 0]
    back = paste(crop, frame, 80, 90).numpy() > 0.5
    assert (back & disc)[inside].sum() / (back | disc)[inside].sum() > 0.97


def test_paste_is_zero_outside_its_window() -> None:
    pasted = paste(torch.ones(16, 16), torch.tensor([5.0, 7.0, 25.0, 27.0]), 40, 50)
    expected = torch.zeros(40, 50)
    expected[7:27, 5:25] = 1
    torch.testing.assert_close(pasted, expected)


@pytest.mark.parametrize(
    "window", [(-30.0, 0.0, -10.0, 20.0), (50.0, 0.0, 70.0, 20.0), (0.0, 40.0, 20.0, 60.0), (0.0, -20.0, 20.0, 0.0)]
)
def test_paste_of_a_window_outside_the_image(window: tuple[float, ...]) -> None:
    assert paste(torch.ones(8, 8), torch.tensor(window), 40, 50).abs().max() == 0


def test_paste_of_a_single_column() -> None:
    pasted = paste(torch.ones(8, 8), torch.tensor([-9.25, 2.0, 0.75, 12.0]), 20, 20)
    assert pasted[:, 0].sum() == 10
    assert pasted[:, 1:].abs().max() == 0


def test_inside_image() -> None:
    """Crops of 4 pixels; of a picture of 20 x 10 pixels the last one has half of a pixel on each side but the lower."""
    windows = torch.tensor([[2.0, 2, 6, 6], [-4, 4, 4, 12], [30, 0, 34, 4], [16, -1, 24, 7]])
    inside = inside_image(windows, 20, 10, 4)
    assert torch.equal(inside[0], torch.ones(4, 4))
    assert torch.equal(inside[1], torch.tensor([[0, 0, 1, 1]] * 3 + [[0, 0, 0, 0]]).float())
    assert torch.equal(inside[2], torch.zeros(4, 4))
    assert torch.equal(inside[3], torch.tensor([[0.5, 0.5, 0, 0]] + [[1, 1, 0, 0]] * 3))
