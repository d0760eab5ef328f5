"""The edge mode against analytic contours: no dilation, no seams, hidden edges without effect."""

from __future__ import annotations

import math

import pytest
import torch
from silhouette_cases import BACKENDS, bumpy, overlapping, render, soup, sphere, torus
from torch import Tensor

from shape3d_amodal.rendering import blur_sigma, render_silhouettes

GPU_SIZES = [pytest.param("gpu", size, marks=pytest.mark.gpu) for size in (64, 128, 256)]


def signed_distance(alpha: Tensor, sigma: float) -> Tensor:
    """alpha = sigmoid(+-d^2 / sigma) solved for d in NDC."""
    x = torch.logit(alpha.double()) * sigma
    return x.sign() * x.abs().sqrt()


def pixel_centres(size: int) -> Tensor:
    centre = 1 - (2 * torch.arange(size).double() + 1) / size
    return torch.stack(torch.meshgrid(centre, centre, indexing="xy"), dim=-1)  # [H,W,2]


@pytest.mark.parametrize(("backend", "size"), [("cpu", 64), ("cpu", 128), ("cpu", 256), ("reference", 64), *GPU_SIZES])
def test_contour_of_a_projected_sphere(backend, size):
    """A sphere of radius r at distance D, seen with focal length f, has the contour of radius f r / sqrt(D^2 - r^2).

    The icosphere's own outline lies up to 0.1 % of its radius inside the sphere's: 0.045 px of 44 px.
    """
    r, D, f = 0.38, 3.0, 2.7
    verts, faces = sphere(4, 1.0)
    world = (verts - torch.tensor([0, 0, 3.0])) * r + torch.tensor([0, 0, D])
    ndc = torch.cat([f * world[..., :2] / world[..., 2:], world[..., 2:]], dim=-1)
    sigma = blur_sigma(0.7, size)
    alpha = render(ndc, faces, size, sigma, "edge", backend)[0]
    radius = f * r / math.sqrt(D * D - r * r)
    analytic = radius - pixel_centres(size).norm(dim=-1)
    near = analytic.abs() < 2.5 / size  # both pixels at each crossing of the contour
    error = (signed_distance(alpha, sigma) - analytic)[near] * size / 2
    assert near.sum() > 2 * size
    assert error.abs().max() < 0.05
    assert (alpha[analytic > 2 * math.sqrt(9.22 * sigma)] > 0.999).all()
    assert (alpha[analytic < -2 * math.sqrt(9.22 * sigma)] < 0.001).all()


@pytest.mark.parametrize("make", [bumpy, overlapping, torus, soup])
def test_inside_is_one(make):
    """Far from the union's contour alpha is 1, however many edges run there; product mode has seams instead."""
    verts, faces = make()
    verts = verts[:1]
    size, sigma = 64, blur_sigma(0.7, 64)
    alpha = render_silhouettes(verts, faces, size, sigma, "edge")[0]
    covered = alpha >= 0.5
    reach = int(0.7 * math.sqrt(9.22)) + 2
    outside = (~covered).double()[None, None]
    deep = torch.nn.functional.max_pool2d(outside, 2 * reach + 1, 1, reach)[0, 0] == 0
    assert deep.sum() > 50
    assert (alpha[deep] > 0.999).all()
    far = torch.nn.functional.max_pool2d(covered.double()[None, None], 2 * reach + 1, 1, reach)[0, 0] == 0
    assert (alpha[far] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_coverage_has_no_gaps_and_no_excess(backend):
    """alpha >= 0.5 exactly where a pixel's centre lies in the mesh: a disc of many thin faces around a pixel centre."""
    n, size = 360, 33
    turn = torch.arange(n) * (2 * torch.pi / n)
    rim = torch.stack([0.7 * torch.cos(turn), 0.7 * torch.sin(turn), torch.ones(n)], dim=1)
    verts = torch.cat([torch.tensor([[0.0, 0.0, 1.0]]), rim])[None]
    k = torch.arange(n)
    faces = torch.stack([torch.zeros_like(k), 1 + k, 1 + (k + 1) % n], dim=1)
    alpha = render(verts, faces, size, 1e-6, "edge", backend)[0]
    analytic = 0.7 - pixel_centres(size).norm(dim=-1)
    assert (alpha[analytic > 1e-4] >= 0.5).all()
    assert (alpha[analytic < 0] < 0.5).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_beside_the_contour(backend):
    """alpha >= 0.5 exactly where a pixel's centre is covered, however near the contour is to it."""
    for towards, covered in ((-1, False), (1, True)):
        x = 0.125 + towards * 2**-26  # of the edge, beside the centres of column 3 of 8
        verts = torch.tensor([[[x, -3.0, 1.0], [x, 3.0, 1.0], [-3.0, 0.0, 1.0]]])
        alpha = render(verts, torch.tensor([[0, 1, 2]]), 8, 1e-2, "edge", backend)[0]
        assert ((alpha[:, 3] >= 0.5) == covered).all()
        torch.testing.assert_close(alpha[:, 3], torch.full((8,), 0.5), rtol=0, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_hidden_edges_do_not_count(backend):
    """A sheet behind a larger one changes nothing where it is hidden, and its outline counts where it sticks out."""
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    square = torch.tensor([[0, 1, 2], [0, 2, 3]])

    def sheet(half: float, x: float, z: float) -> Tensor:
        return torch.cat([corners * half + torch.tensor([x, 0.0]), torch.full((4, 1), z)], dim=1)

    sigma = blur_sigma(1.0, 48)
    large = sheet(0.61, 0.0, 1.0)
    alone = render(large[None], square, 48, sigma, "edge", backend)
    both = torch.cat([square, square + 4])
    hidden = torch.cat([large, sheet(0.563, 0.01, 2.0)])[None].requires_grad_()
    alpha = render(hidden, both, 48, sigma, "edge", backend)
    alpha.square().sum().backward()
    torch.testing.assert_close(alpha.detach(), alone, rtol=0, atol=1e-6)
    assert (hidden.grad[:, 4:] == 0).all()
    assert (hidden.grad[:, :4, :2].abs().sum() > 0).all()
    out = torch.cat([large, sheet(0.4, 0.5, 2.0)])[None].requires_grad_()
    alpha = render(out, both, 48, sigma, "edge", backend)
    alpha.square().sum().backward()
    assert (out.grad[0, [5, 6], 0].abs() > 0).all()  # its outer side shows
    assert (out.grad[0, [4, 7], 0].abs() < 1e-3 * out.grad[0, [5, 6], 0].abs().min()).all()


def test_edges_inside_a_mesh_that_is_not_manifold():
    """Pages on both sides of a spine: it is no contour; pages on one side alone: it is, however many they are."""
    verts = torch.tensor([[[0.003, -0.7, 1], [0.003, 0.7, 1], [0.6, 0.1, 1], [0.5, -0.2, 1], [-0.6, 0.0, 1]]])
    sigma = blur_sigma(0.7, 64)
    one_sided = render_silhouettes(verts, torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 3]]), 64, sigma, "edge")[0]
    two_sided = render_silhouettes(verts, torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]]), 64, sigma, "edge")[0]
    # Columns run against x: the spine lies between columns 31 and 32.
    assert (one_sided[26:38, 31] < 0.9).all()
    assert (one_sided[26:38, 31] >= 0.5).all()
    assert (one_sided[26:38, 32] < 0.5).all()
    assert (two_sided[26:38, 30:34] == 1).all()


def test_soup_has_the_contour_of_the_welded_mesh():
    """Unshared vertices make every edge a candidate; those inside are recognised by what covers their other side."""
    verts, faces = bumpy(1)
    sigma = blur_sigma(0.7, 64)
    welded = render_silhouettes(verts, faces, 64, sigma, "edge")
    apart = render_silhouettes(*soup(), 64, sigma, "edge")
    assert torch.equal(welded >= 0.5, apart >= 0.5)
    different = (welded - apart).abs() > 1e-4
    assert different.sum() <= 0.01 * ((welded > 0) & (welded < 1)).sum()


def rotation(vector: Tensor) -> Tensor:
    """Rodrigues' formula: axis times angle in radians [B,3] to matrices [B,3,3]."""
    angle = vector.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    x, y, z = (vector / angle).unbind(-1)
    zero = torch.zeros_like(x)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(-1, 3, 3)
    return torch.eye(3) + torch.sin(angle)[..., None] * K + (1 - torch.cos(angle))[..., None] * (K @ K)


def fitted_angles(mode: str, starts: int) -> Tensor:
    """Degrees off after 80 steps of Adam on a rotation, from starts 20 degrees off about random axes."""
    size, steps, generator = 48, 80, torch.Generator().manual_seed(3)
    verts, faces = sphere(2, 1.0)
    shape = (verts[0] - torch.tensor([0, 0, 3.0])) * torch.tensor([0.75, 0.5, 0.3])
    # A body without symmetry, seen aslant: three axes of different length, a nose and a bump.
    nose, bump = torch.tensor([0.6, 0.1, 0.0]), torch.tensor([-0.3, -0.45, 0.1])
    shape = shape + 0.35 * torch.exp(-8 * (shape - nose).square().sum(-1, keepdim=True))
    shape = shape - torch.tensor([0, 0.3, 0.2]) * torch.exp(-9 * (shape - bump).square().sum(-1, keepdim=True))
    shape = shape @ rotation(torch.tensor([[0.5, 0.7, 0.3]]))[0].mT

    def render(vector: Tensor, sigma: float, mode: str) -> Tensor:
        return render_silhouettes(shape @ rotation(vector).mT + torch.tensor([0, 0, 3.0]), faces, size, sigma, mode)

    target = (render(torch.zeros(1, 3), 1e-8, "edge") >= 0.5).float()
    axis = torch.nn.functional.normalize(torch.randn(starts, 3, generator=generator), dim=-1)
    vector = (axis * math.radians(20)).requires_grad_()
    optimiser = torch.optim.Adam([vector], lr=0.03)
    for step in range(steps):
        sigma = blur_sigma(2.0 * 0.25 ** (step / (steps - 1)), size)
        optimiser.zero_grad()
        (render(vector, sigma, mode) - target).square().mean(dim=(1, 2)).sum().backward()
        optimiser.step()
    return vector.detach().norm(dim=-1).rad2deg()


@pytest.mark.slow
def test_pose_fit_converges_as_often_as_with_product_mode():
    """Of 50 random starts 20 degrees off, those that end within 3 degrees."""
    edge = int((fitted_angles("edge", 50) < 3).sum())
    product = int((fitted_angles("product", 50) < 3).sum())
    assert edge >= product
    assert edge >= 25
