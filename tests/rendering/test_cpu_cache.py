"""Kernels that numba has cached must not outlive what they were built on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from shape3d_amodal.rendering import cpu_edge, cpu_geometry, cpu_product, reference


def digest() -> str:
    """Of the functions that the kernels inline, and of the numbers that they take from the reference."""
    names = ("NEAR", "AREA", "FAR", "BESIDE", "BELOW_HALF")
    numbers = [reference.blur_radius(1.0), *(getattr(reference, name) for name in names)]
    source = Path(cpu_geometry.__file__).read_bytes()
    return hashlib.sha256(source + repr(numbers).encode()).hexdigest()[:8]


@pytest.mark.parametrize("module", [cpu_edge, cpu_product])
def test_files_of_kernels_change_with_what_they_are_built_on(module):
    """Numba looks at a kernel's own file alone, by its contents."""
    assert f"# Built on cpu_geometry {digest()}\n" in Path(module.__file__).read_text()
