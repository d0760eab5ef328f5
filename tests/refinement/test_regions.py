from __future__ import annotations

import numpy as np
import pytest
import torch
from kornia.morphology import dilation
from scipy import ndimage

from shape3d_amodal.refinement.regions import close_gaps, compose, edge_band

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
