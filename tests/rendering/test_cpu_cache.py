"""Kernels that numba has cached must not outlive what they were built on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from shape3d_amodal.rendering import reference
from shape3d_amodal.rendering.cpu import edge, geometry, product


def digest() -> str:
    """Of the functions that the kernels inline, and of the numbers that they take from the reference."""
    names = ("NEAR", "AREA", "FAR", "BESIDE", "BELOW_HALF")
    numbers = [reference.blur_radius(1.0), *(getattr(reference, name) for name in names)]
    source = Path(geometry.__file__).read_bytes()
    return hashlib.sha256(source + repr(numbers).encode()).hexdigest()[:8]


@pytest.mark.parametrize("module", [edge, product])
def test_files_of_kernels_change_with_what_they_are_built_on(module):
    """Numba looks at a kernel's own file alone, by its contents."""
    assert f"# Built on geometry {digest()}\n" in Path(module.__file__).read_text()
