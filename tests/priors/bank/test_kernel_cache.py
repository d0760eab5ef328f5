"""Kernels that numba has cached must not outlive what they were built on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from shape3d_amodal.crops import pixels
from shape3d_amodal.priors.bank import bits, contour_fit, placing, poses, templates


def digest(numbers: list[object]) -> str:
    """Of the file whose functions the kernels call, and of the numbers that they take from other files."""
    return hashlib.sha256(Path(bits.__file__).read_bytes() + repr(numbers).encode()).hexdigest()[:8]


STATES = [pixels.OUTSIDE, pixels.VISIBLE, pixels.UNKNOWN]
PLACES = [getattr(poses, name) for name in ("SCALE", "U", "V", "DISTANCE", "CX", "CY", "ASPECT")]


@pytest.mark.parametrize(
    ("module", "numbers"), [(contour_fit, [*STATES, *PLACES]), (placing, [templates.GRID, templates.SIZES.tolist()])]
)
def test_files_of_kernels_change_with_what_they_are_built_on(module, numbers):
    """Numba looks at a kernel's own file alone, by its contents."""
    assert f"# Built on bits {digest(numbers)}\n" in Path(module.__file__).read_text()
