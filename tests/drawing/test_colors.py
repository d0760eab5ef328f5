"""Colours are told apart by CIE76, computed here from the sRGB standard."""

from __future__ import annotations

import numpy as np
import pytest

from shape3d_amodal.drawing.colors import BLACK, PALETTE, WHITE, distinct_colors, ink_on


def lab(color: tuple[int, int, int]) -> np.ndarray:
    """CIELAB under D65."""
    rgb = np.array(color) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = (
        v ** (1 / 3) if v > (6 / 29) ** 3 else v / (3 * (6 / 29) ** 2) + 4 / 29 for v in xyz / (0.9505, 1, 1.089)
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(("count", "apart"), [(6, 25), (20, 20), (50, 12), (200, 4)])
def test_colours_differ_for_people(count: int, apart: float) -> None:
    """2.3 is the difference that people just notice."""
    seen = np.array([lab(color) for color in distinct_colors(count)])
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 1000 * np.eye(count)
    assert len(seen) == count and distance.min() > apart
    assert (seen[:, 0] > 25).all() and (seen[:, 0] < 95).all(), "neither black nor white"


@pytest.mark.parametrize("count", [0, 1, 6, 7, 13, 64, 65, 100])
def test_more_colours_leave_the_first_ones_as_they_are(count: int) -> None:
    assert distinct_colors(count) == distinct_colors(150)[:count]
    assert distinct_colors(count)[:6] == PALETTE[:count]


def test_any_number_may_be_asked_for() -> None:
    many = distinct_colors(5000)
    assert len(many) == 5000 and len(set(many[:4000])) == 4000


@pytest.mark.parametrize(
    ("color", "ink"),
    [(WHITE, BLACK), (BLACK, WHITE), ((255, 255, 0), BLACK), ((0, 0, 139), WHITE), ((128, 0, 0), WHITE)],
)
def test_letters_are_readable(color: tuple[int, int, int], ink: tuple[int, int, int]) -> None:
    assert ink_on(color) == ink
