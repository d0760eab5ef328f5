"""Meshes on the screen, and comparisons of images and gradients, for the tests of the silhouettes."""

from __future__ import annotations

import importlib

import pytest
import torch
from pytorch3d.utils import ico_sphere
from torch import Tensor

from shape3d_amodal.rendering import render_silhouettes

GPU = pytest.param("gpu", marks=pytest.mark.gpu)
BACKENDS = ("reference", "cpu", GPU)
VALUES = 2e-5
CUT = 1.1e-4  # where d^2 meets the cut-off the formula itself has a step of 1e-4, on whose side rounding decides


def sphere(level: int, radius: float = 0.6, centre: tuple[float, float] = (0.0, 0.0)) -> tuple[Tensor, Tensor]:
    """An icosphere on the screen: [1,V,3] and [F,3], 80, 320, 1280, 5120, 20480 faces for levels 1 to 5."""
    mesh = ico_sphere(level)
    return mesh.verts_packed()[None] * radius + torch.tensor([*centre, 3.0]), mesh.faces_packed()


def jittered(verts: Tensor, amount: float, seed: int = 0) -> Tensor:
    """Vertices moved at random on the screen, so that nothing is symmetric and no two distances tie."""
    noise = torch.randn(verts.shape, generator=torch.Generator().manual_seed(seed))
    return verts + amount * noise


def bumpy(batch: int = 2, level: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    verts, faces = sphere(level)
    return jittered(verts.repeat(batch, 1, 1), 0.02, seed), faces


def overlapping(level: int = 2) -> tuple[Tensor, Tensor]:
    """Two bumpy spheres, one partly in front of the other."""
    a, faces = sphere(level, 0.4, (0.2, 0.1))
    b, _ = sphere(level, 0.45, (-0.2, -0.15))
    return jittered(torch.cat([a, b], dim=1), 0.01), torch.cat([faces, faces + a.shape[1]])


def torus(n: int = 32, m: int = 12) -> tuple[Tensor, Tensor]:
    """A ring seen aslant, with a hole: [1,nm,3], [2nm,3]."""
    i, j = torch.meshgrid(torch.arange(n), torch.arange(m), indexing="ij")
    u, v = i * (2 * torch.pi / n), j * (2 * torch.pi / m)
    ring = 0.55 + 0.2 * torch.cos(v)
    verts = torch.stack(
        [ring * torch.cos(u), ring * torch.sin(u) * 0.8 + 0.1 * torch.sin(v), 3 + 0.2 * torch.sin(v)], -1
    )
    a, b = (i * m + j).reshape(-1), (((i + 1) % n) * m + j).reshape(-1)
    c, d = (((i + 1) % n) * m + (j + 1) % m).reshape(-1), (i * m + (j + 1) % m).reshape(-1)
    return jittered(verts.reshape(1, -1, 3), 0.003), torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)])


def soup() -> tuple[Tensor, Tensor]:
    """Triangles that share no vertex."""
    verts, faces = bumpy(1)
    return verts[:, faces.reshape(-1)], torch.arange(faces.numel()).view(-1, 3)


def book() -> tuple[Tensor, Tensor]:
    """Not manifold: four pages at one spine (three on its left), a page wound the other way, and a doubled page."""
    verts = torch.tensor([[0, -0.5, 2], [0, 0.5, 2], [0.6, 0.1, 2], [0.5, -0.4, 2], [0.3, 0.45, 2], [-0.55, 0.05, 2]])
    faces = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4], [0, 1, 5], [5, 1, 0]])
    return jittered(verts[None], 0.02), faces


def triangle() -> tuple[Tensor, Tensor]:
    return torch.tensor([[[-0.61, -0.42, 1.0], [0.73, -0.31, 1.0], [0.11, 0.67, 1.0]]]), torch.tensor([[0, 1, 2]])


def off_screen(level: int = 2) -> tuple[Tensor, Tensor]:
    """A sphere cut by the image's corner, another far outside, and a triangle larger than the image."""
    a, faces = sphere(level, 0.5, (0.9, -0.8))
    b, more = sphere(1, 0.3, (40.0, 3.0))
    big = torch.tensor([[[-9.0, 1.2, 1.0], [9.0, 0.6, 1.0], [0.3, 30.0, 1.0]]])
    V, W = a.shape[1], b.shape[1]
    triangles = [faces, more + V, torch.tensor([[V + W, V + W + 1, V + W + 2]])]
    return jittered(torch.cat([a, b, big], 1), 0.01), torch.cat(triangles)


def with_bad_faces(verts: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """With faces before them that are behind the camera, not finite, edge-on, or of repeated vertices."""
    V = verts.shape[1]
    bad = torch.tensor(
        [
            [0.8, 0.8, -1.0], [0.9, 0.8, 2.0], [0.8, 0.9, 2.0],
            [-0.8, 0.8, 0.0], [-0.9, 0.8, 2.0], [-0.8, 0.9, 2.0],
            [0.8, -0.8, 2.0], [float("nan"), -0.8, 2.0], [0.8, -0.9, 2.0],
            [-0.8, -0.8, 2.0], [-0.9, float("inf"), 2.0], [-0.8, -0.9, 2.0],
            [-0.9, 0.0, 2.0], [0.0, 0.0, 2.0], [0.9, 0.0, 2.0],
        ]
    )  # fmt: skip
    more = torch.cat([V + torch.arange(15).view(5, 3), torch.tensor([[V + 1, V + 1, V + 2]])])
    return torch.cat([verts, bad.expand(len(verts), -1, -1)], 1), torch.cat([more, faces])


CASES = {
    "bumpy": bumpy,
    "overlapping": overlapping,
    "torus": torus,
    "book": book,
    "triangle": triangle,
    "off_screen": off_screen,
}


SMALL = {
    "bumpy": lambda: bumpy(2, level=0),
    "book": book,
    "triangle": triangle,
    "off_screen": lambda: off_screen(0),
}


def render(
    verts: Tensor, faces: Tensor, size: int, sigma: float, mode: str = "product", backend: str = "auto"
) -> Tensor:
    """``render_silhouettes`` on the backend's device, from and to the CPU."""
    device = importlib.import_module("shape3d_amodal.rendering.gpu").DEVICE if backend == "gpu" else "cpu"
    return render_silhouettes(verts.to(device), faces.to(device), size, sigma, mode, backend).cpu()


def render_with_gradient(
    verts: Tensor, faces: Tensor, size: int, sigma: float, mode: str, backend: str, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """The silhouettes, and the gradient of their sum weighted by fixed random numbers."""
    verts = verts.detach().to(dtype).clone().requires_grad_()
    alpha = render(verts, faces, size, sigma, mode, backend)
    weights = torch.randn(alpha.shape, generator=torch.Generator().manual_seed(7))
    (alpha * weights.to(dtype)).sum().backward()
    return alpha.detach(), verts.grad


def assert_images_agree(actual: Tensor, expected: Tensor, tolerance: float = VALUES) -> None:
    """Interior and edge band apart: in the band one pixel in 500 may sit on the other side of the cut-off's step."""
    error = (actual.double() - expected.double()).abs()
    band = (expected > 1e-5) & (expected < 1 - 1e-5)
    assert error[~band].max() <= max(tolerance, CUT)
    assert error[band].max() <= max(tolerance, CUT)
    assert (error > tolerance).double().mean() <= 1 / 500


def assert_gradients_agree(actual: Tensor, expected: Tensor, relative: float = 1e-3) -> None:
    """Elementwise, in L2, in direction and in bias."""
    actual, expected = actual.double(), expected.double()
    norm = expected.norm()
    assert norm > 0
    error = actual - expected
    assert error.abs().max() <= 2 * relative * expected.abs().max()
    assert error.norm() <= relative * norm
    assert torch.nn.functional.cosine_similarity(actual.flatten(), expected.flatten(), dim=0) > 0.99999
    assert error.sum().abs() <= relative * expected.abs().sum()
