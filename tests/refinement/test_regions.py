from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from kornia.morphology import dilation
from scipy import ndimage

from shape3d_amodal.errors import UsageError
from shape3d_amodal.refinement.regions import MAX_GAP_PX, check_gap, close_gaps, compose, edge_band

N, S = 4, 20


@pytest.mark.parametrize(
    ("probability", "visible", "occluder", "expected"),
    [
        (0.3, 1.0, 0.0, 1.0),  # visible: kept
        (0.9, 0.0, 0.0, 0.0),  # known background: excluded
        (0.7, 0.0, 1.0, 0.7),  # behind something: the estimate
        (0.6, 0.4, 0.6, 0.4 + 0.6 * 0.6),  # a pixel that the two masks share
        (1.0, 0.4, 0.3, 0.7),  # ... and background
        (0.0, 0.4, 0.6, 0.4),
        (1.0, 0.7, 0.7, 1.0),  # masks that overlap: no more than the whole pixel
    ],
)
def test_compose(probability: float, visible: float, occluder: float, expected: float) -> None:
    result = compose(*(torch.full((1, 1, 1), value) for value in (probability, visible, occluder)))
    assert result.item() == pytest.approx(expected)


def test_compose_keeps_what_is_known_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(3, (N, S, S), generator=generator)
    probability = torch.rand(N, S, S, generator=generator)
    result = compose(probability, (label == 1).float(), (label == 2).float())
    assert (result[label == 1] == 1).all()
    assert (result[label == 0] == 0).all()
    assert torch.equal(result[label == 2], probability[label == 2])


def test_compose_stays_in_range() -> None:
    probability, visible, occluder = torch.rand(3, N, S, S, generator=torch.Generator().manual_seed(1))
    result = compose(probability, visible, occluder)
    assert (result >= visible).all()
    assert (result <= visible + occluder + 1e-6).all()
    assert result.max() <= 1


def blobs(seed: int) -> torch.Tensor:
    noise = np.random.default_rng(seed).standard_normal((N, S, S))
    return torch.from_numpy(ndimage.gaussian_filter(noise, (0, 2, 2)) > 0.05)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_edge_band_is_the_morphological_gradient(width: int) -> None:
    masks = blobs(width)
    square = np.ones((2 * width + 1, 2 * width + 1), bool)
    found = edge_band(masks.float(), width).numpy()
    for mask, band in zip(masks.numpy(), found, strict=True):
        grown = ndimage.binary_dilation(mask, square)
        shrunk = ndimage.binary_erosion(mask, square, border_value=1)  # the crop's border is no edge
        np.testing.assert_array_equal(band, (grown & ~shrunk).astype(float))


def test_edge_band_of_soft_masks() -> None:
    soft = torch.rand(N, S, S, generator=torch.Generator().manual_seed(2))
    found = edge_band(soft, 1)
    for mask, band in zip(soft.numpy(), found.numpy(), strict=True):
        expected = ndimage.maximum_filter(mask, 3, mode="nearest") - ndimage.minimum_filter(mask, 3, mode="nearest")
        np.testing.assert_allclose(band, expected, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_edge_in_a_constant_mask(value: float) -> None:
    assert not edge_band(torch.full((1, S, S), value), 2).any()


def strips(visible: slice, occluder: slice, width: int) -> np.ndarray:
    """``close_gaps`` of vertical strips, as one row."""
    masks = np.zeros((2, S, S), bool)
    masks[0, :, visible] = True
    masks[1, :, occluder] = True
    closed = close_gaps(masks[0], masks[1], width)
    assert (closed == closed[:1]).all()
    return closed[0]


@pytest.mark.parametrize(
    ("gap", "width", "closed"), [(0, 2, 0), (1, 1, 1), (2, 1, 0), (2, 2, 2), (3, 2, 1), (4, 2, 0), (3, 0, 0)]
)
def test_close_gaps(gap: int, width: int, closed: int) -> None:
    """A gap is filled where both masks are within ``width`` pixels; the visible mask is never taken over."""
    row = strips(slice(2, 8), slice(8 + gap, 15), width)
    assert row[8 : 8 + gap].sum() == closed
    assert row[8 + gap : 15].all()
    assert not row[:8].any()
    assert not row[15:].any()


def test_close_gaps_against_kornia() -> None:
    kernel = torch.ones(5, 5)
    for v, o in zip(blobs(1), blobs(2) & ~blobs(1), strict=True):
        near_v, near_o = (dilation(mask[None, None].float(), kernel)[0, 0] > 0.5 for mask in (v, o))
        assert torch.equal(torch.from_numpy(close_gaps(v.numpy(), o.numpy(), 2)), o | (near_v & near_o & ~v))


def brute_force(visible: np.ndarray, occluder: np.ndarray, width: int) -> np.ndarray:
    """Pixel by pixel: background with a pixel of each mask in the square of ``width`` about it."""
    closed = occluder.copy()
    for row, column in zip(*np.nonzero(~visible), strict=True):
        about = np.s_[max(row - width, 0) : row + width + 1, max(column - width, 0) : column + width + 1]
        closed[row, column] |= visible[about].any() and occluder[about].any()
    return closed


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(bool, st.tuples(st.just(2), st.integers(1, 12), st.integers(1, 12)), fill=st.just(False)),
    st.sampled_from([0, 1, 2, 3, 7, 20, MAX_GAP_PX]),
)
def test_close_gaps_against_brute_force(masks: np.ndarray, width: int) -> None:
    """Also for masks that are empty, full, or share pixels."""
    before = masks.copy()
    np.testing.assert_array_equal(close_gaps(masks[0], masks[1], width), brute_force(masks[0], masks[1], width))
    np.testing.assert_array_equal(masks, before)


def test_wide_gaps_take_no_longer_than_narrow_ones() -> None:
    masks = np.zeros((2, 400, 400), bool)
    masks[0, 50:90, 40:80] = masks[1, 300:350, 200:380] = True
    close_gaps(masks[0], masks[1], 1)
    begin = time.process_time()
    assert close_gaps(masks[0], masks[1], MAX_GAP_PX).sum() == 400 * 400 - 40 * 40
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("width", [0, 1, MAX_GAP_PX, np.int64(3)])
def test_widths_of_gaps(width) -> None:
    check_gap(width)


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (-1, "gap_px: expected a number of pixels, 0 or more, got -1"),
        (1.5, "gap_px: expected a whole number of pixels, 0 or more, got 1.5"),
        (1.0, "gap_px: expected a whole number of pixels, 0 or more, got 1.0"),
        ("1", "gap_px: expected a whole number of pixels, 0 or more, got '1'"),
        (None, "gap_px: expected a whole number of pixels, 0 or more, got None"),
        (True, "gap_px: expected a whole number of pixels, 0 or more, got True"),
        (100_000, "gap_px: expected a number of pixels, 1000 or fewer, got 100000"),
    ],
)
def test_what_is_no_width_of_a_gap(width, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_gap(width)
    assert str(caught.value) == message
