"""One launch of every kernel on a small mesh, compared with the CPU's: whether a GPU, its driver and Triton agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from shape3d_amodal.rendering import zbuffer
from shape3d_amodal.rendering.gpu.geometry import DEVICE
from shape3d_amodal.rendering.gpu.zbuffer import rasterize
from shape3d_amodal.rendering.silhouettes import Backend, Mode, blur_sigma, render_silhouettes

_SIZE = 16
"""Side of the images, in pixels."""
_MOST = 1e-3
"""Difference from the CPU's numbers that is still rounding."""
_VERTS = ((0.7, 0.6, 2.0), (-0.6, 0.5, 2.5), (0.1, -0.7, 3.0), (-0.2, 0.1, 1.5))
"""Of a tetrahedron, in NDC, none on the centre of a pixel."""
_FACES = ((0, 1, 2), (0, 1, 3), (1, 2, 3), (0, 2, 3))


def trials() -> Iterator[tuple[str, str]]:
    """Names of kernels, each with what is wrong with them, in one line; nothing where all is well."""
    for name, difference in _TRIALS.items():
        try:
            found = difference()
            problem = "" if found <= _MOST else f"differs from the CPU by {found:.2g}"
        except Exception as error:  # a compiler or a driver may raise anything
            problem = " ".join(str(error).split())[:200] or type(error).__name__
        yield name, problem


def _silhouettes(mode: Mode) -> float:
    """The largest difference of silhouettes, 0..1, and of their gradients as shares of the longest one."""
    (mask, slope), (expected, expected_slope) = (_rendered(mode, *on) for on in ((DEVICE, "gpu"), ("cpu", "cpu")))
    steepest = expected_slope.abs().max()
    return float(torch.stack([(mask - expected).abs().max(), (slope - expected_slope).abs().max() / steepest]).max())


def _rendered(mode: Mode, device: str, backend: Backend) -> tuple[Tensor, Tensor]:
    """Silhouette [1,S,S], and the gradient [1,V,3] of a weighted sum of it, both on the CPU."""
    verts = torch.tensor([_VERTS], device=device, requires_grad=True)
    faces = torch.tensor(_FACES, device=device)
    mask = render_silhouettes(verts, faces, _SIZE, blur_sigma(1.0, _SIZE), mode, backend)
    weights = torch.linspace(0, 1, _SIZE * _SIZE, device=device).reshape(1, _SIZE, _SIZE)
    (slope,) = torch.autograd.grad((mask * weights).sum(), verts)
    return mask.detach().cpu(), slope.cpu()


def _depths() -> float:
    """The largest difference of inverse depths."""
    verts = torch.tensor(_VERTS) * torch.tensor([-_SIZE / 2, -_SIZE / 2, 1.0])
    verts[:, :2] += _SIZE / 2
    depth, _ = rasterize(verts.to(DEVICE), torch.tensor(_FACES, device=DEVICE), _SIZE, _SIZE)
    expected, _ = zbuffer.rasterize(verts.numpy(), np.array(_FACES, np.int32), _SIZE, _SIZE)
    return float(np.abs(1 / depth.cpu().numpy() - 1 / expected).max())


_TRIALS: dict[str, Callable[[], float]] = {
    "product": partial(_silhouettes, "product"),
    "edge": partial(_silhouettes, "edge"),
    "z-buffer": _depths,
}
