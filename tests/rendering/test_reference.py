"""The plain torch silhouettes against finite differences in float64."""

from __future__ import annotations

import pytest
import torch
from silhouette_cases import CASES, bumpy, triangle

from shape3d_amodal.rendering import render_silhouettes


@pytest.mark.parametrize("mode", ["product", "edge"])
@pytest.mark.parametrize("name", ["overlapping", "torus", "book", "triangle"])
def test_gradcheck(name, mode):
    verts, faces = CASES[name]()
    verts = verts.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: render_silhouettes(v, faces, 9, 1e-2, mode, "reference"), verts, fast_mode=True
    )


@pytest.mark.parametrize("mode", ["product", "edge"])
def test_gradcheck_of_every_entry(mode):
    verts, faces = bumpy(1, level=0)
    verts = verts.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: render_silhouettes(v, faces, 7, 2e-2, mode, "reference"), verts)


@pytest.mark.parametrize("mode", ["product", "edge"])
def test_second_derivatives(mode):
    verts, faces = triangle()
    verts = verts.double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda v: render_silhouettes(v, faces, 6, 2e-2, mode, "reference"), verts)
