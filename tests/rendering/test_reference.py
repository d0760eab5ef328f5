"""The plain torch silhouettes against finite differences in float64."""

from __future__ import annotations

import math

import pytest
import torch
from silhouette_cases import CASES, bumpy, triangle

from shape3d_amodal.rendering import render_silhouettes
from shape3d_amodal.rendering.reference import (
    blur_radius,
    drawable,
    face_pixel_pairs,
    is_covered,
    pixel_centres,
    point_beside,
)


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


@pytest.mark.parametrize("mode", ["product", "edge"])
def test_single_triangles_of_several_images(mode):
    """Each image has one face, in another place: it shows what it shows alone."""
    verts, faces = triangle()
    shifts = torch.tensor([[0.0, 0.0, 0.0], [0.4, -0.3, 0.0], [-0.5, 0.2, 0.0]])
    together = render_silhouettes(verts[:1] + shifts[:, None], faces, 16, 1e-3, mode, "reference")
    for i in range(3):
        alone = render_silhouettes(verts[:1] + shifts[i], faces, 16, 1e-3, mode, "reference")
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.35])
@pytest.mark.parametrize("size", [5, 16])
def test_pairs_are_the_pixels_about_each_triangle(size, margin):
    """All pixels whose centres lie in the grown box, and none that lies more than two pixels beyond it."""
    triangles = torch.rand(6, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2.4 - 1.2
    image = torch.tensor([0, 1, 1, 0, 2, 2])
    face, pixel = face_pixel_pairs(triangles, image, size, margin)
    pairs = list(zip(face.tolist(), pixel.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    needed, allowed = set(), set()
    for f in range(6):
        (x0, y0), (x1, y1) = triangles[f].amin(dim=0).tolist(), triangles[f].amax(dim=0).tolist()
        for row in range(size):
            for column in range(size):
                x, y = 1 - (2 * column + 1) / size, 1 - (2 * row + 1) / size  # x to the left, y up
                beyond = max(x0 - x, x - x1, y0 - y, y - y1) - margin
                place = f, (int(image[f]) * size + row) * size + column
                needed |= {place} if beyond <= 0 else set()
                allowed |= {place} if beyond <= 2 * 2 / size else set()
    assert needed <= set(pairs) <= allowed


def test_centres_of_pixels():
    """The first pixel is the upper left one, where x and y are largest; the second image begins anew."""
    centres = pixel_centres(torch.tensor([0, 1, 2, 3, 4]), 2, torch.float64)
    assert centres.tolist() == [[0.5, 0.5], [-0.5, 0.5], [0.5, -0.5], [-0.5, -0.5], [0.5, 0.5]]


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 2, 1]])
def test_a_border_is_covered_whichever_way_the_face_is_wound(order):
    corners = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])[:, order]
    points = torch.tensor([[0.5, 0.0], [0.0, 0.5], [0.5, 0.5], [1.0, 0.0], [0.25, 0.25], [0.6, 0.6], [-0.1, 0.5]])
    assert is_covered(points, corners).tolist() == [True] * 5 + [False] * 2
    assert not is_covered(points, corners[:0]).any()


@pytest.mark.parametrize(
    ("depth", "height", "drawn"),
    [
        *((1.0, 1.0, True), (1e-8, 1.0, True), (0.9e-8, 1.0, False), (-1.0, 1.0, False)),
        *((1.0, 1e-8, False), (1.0, 1.1e-8, True), (1.0, -1.1e-8, True), (1.0, 0.0, False), (1.0, 1e11, False)),
    ],
)
def test_which_faces_are_drawn(depth, height, drawn):
    """As PyTorch3D: from a depth of 1e-8 on, and with twice an area above 1e-8; and what is finite."""
    corners = [[0.0, 0.0, 1.0], [1.0, 0.0, depth], [0.0, height, 1.0]]
    assert drawable(torch.tensor([corners], dtype=torch.float64)).tolist() == [drawn]


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("length", "start", "along"),
    [
        (1.0, 0.5, 0.5),
        (1.0, -0.2, 8 / 64 * 2 / 32),
        (1.0, 1.3, 1 - 8 / 64 * 2 / 32),
        (1 / 256, 0.0, 0.5),
        (1 / 256, 9.0, 0.5),
    ],
)
def test_the_point_beside_an_edge(side, length, start, along):
    """Of 32 pixels: 1/64 of a pixel off the edge, and 8/64 from its ends where it is as long as that."""
    u, w = torch.tensor([[0.1, 0.2]]), torch.tensor([[0.1, 0.2 + length]])
    p = torch.tensor([[0.7, 0.2 + start * length]])
    found = point_beside(p, u, w, torch.tensor([side]), 32)[0].tolist()
    assert found == pytest.approx([0.1 + side * 2 / 32 / 64, 0.2 + along * length], abs=1e-6)


def test_the_blur_ends_where_the_sigmoid_is_a_ten_thousandth():
    for sigma in (1e-2, 1e-4):
        assert 1 / (1 + math.exp(blur_radius(sigma) / sigma)) == pytest.approx(1e-4, rel=1e-6)
