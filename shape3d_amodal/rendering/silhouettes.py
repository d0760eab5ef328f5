"""Soft silhouettes of triangle meshes: the one public function, its checks and the choice of backend."""

from __future__ import annotations

import functools
import importlib
import math
from numbers import Real
from types import ModuleType
from typing import Literal, get_args

import torch
from torch import Tensor

from shape3d_amodal.errors import MissingBackendError
from shape3d_amodal.rendering.topology import check_indices, remembered

Mode = Literal["product", "edge"]
Backend = Literal["auto", "reference", "cpu", "gpu", "pytorch3d"]
TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LEAST_SIGMA, MOST_SIGMA = 1e-30, 1e30  # float32 holds their inverses, too


def blur_sigma(pixels: float, image_size: int) -> float:
    """The ``sigma`` (NDC squared) of a blur of ``pixels`` pixels in a square image of ``image_size`` pixels.

    A pixel is 2 / image_size wide in NDC, so sigma = (2 pixels / image_size)^2.

    Raises:
        ValueError: ``pixels`` or ``image_size`` is not positive and finite.
    """
    if not (math.isfinite(pixels) and pixels > 0 and image_size > 0):
        raise ValueError(f"expected a positive blur and image size in pixels, got {pixels} and {image_size}")
    return (2.0 * pixels / image_size) ** 2


def render_silhouettes(
    verts_ndc: Tensor,
    faces: Tensor,
    image_size: int,
    sigma: float,
    mode: Mode = "product",
    backend: Backend = "auto",
) -> Tensor:
    """Render a soft silhouette of each mesh, differentiable in the vertices.

    Every face that touches a pixel counts, front or back; there is no limit on faces a pixel. Faces with a vertex
    behind the near plane (z < 1e-8), edge-on faces (twice the area at most 1e-8) and faces with a vertex that is not
    finite or as far away as 1e10 have no weight and a zero gradient. Depth has no other influence, and no gradient.

    ``product`` is the aggregation of SoftRas (Liu et al., ICCV 2019) and of PyTorch3D's ``SoftSilhouetteShader``:
    alpha(p) = 1 - prod_j (1 - sigmoid(+-d_j(p)^2 / sigma)), d_j the distance to the boundary of face j, positive
    inside and counted up to d_j^2 < sigma ln(1e4 - 1) outside. Two faces meet at a closed mesh's rim (alpha = 0.75
    there), so its 0.5 contour lies sqrt(0.8814 sigma) NDC, that is 0.47 image_size sqrt(sigma) pixels, outside the
    mesh; thresholding at 0.75 undoes this dilation.

    ``edge`` has neither that dilation nor the dimmer seams that product leaves along faces inside the object:
    alpha(p) = sigmoid(+-d(p)^2 / sigma), positive where any face covers the pixel's centre, d the distance to the
    nearest point of the contour, counted while d^2 < sigma ln(1e4 - 1) and 0 or 1 beyond. So alpha is at least 0.5
    exactly where the mesh covers the pixel. The contour is made of the edges whose faces, however many, all lie on one
    side of them on the screen, except where another part of the mesh covers the other side too. (A covered pixel whose
    nearest contour point is the crossing of two such edges takes the next nearest edge instead, or none.)

    Args:
        verts_ndc: [B,V,3] floating point, PyTorch3D's NDC: x left, y up, z into the scene; the image's borders lie at
            -1 and 1. Half precision is computed in float32.
        faces: [F,3] int64, shared by the batch, or [B,F,3].
        image_size: height and width of the image in pixels.
        sigma: blur, NDC squared as in PyTorch3D, 1e-30 to 1e30; see ``blur_sigma``.
        mode: how the faces of a pixel are put together.
        backend: ``cpu`` (numba; float32 on the CPU), ``gpu`` (Triton; float32 on a CUDA device), ``reference`` (plain
            torch; the one with second derivatives), ``pytorch3d`` (float32, at most 100 faces a pixel), or ``auto``:
            see ``automatic_backend``.

    Returns:
        [B,H,W] in 0..1, row 0 at the top (y = 1) and column 0 at the left of the image (x = 1); float64 for float64
        vertices, else float32.

    Raises:
        ValueError: a wrong shape, type, device or value.
        MissingBackendError: ``gpu`` or ``pytorch3d`` is asked for, and Triton (3.3 or later) or PyTorch3D is not
            installed.
    """
    _check(verts_ndc, faces, image_size, sigma, mode, backend)
    if verts_ndc.dtype in (torch.float16, torch.bfloat16):
        verts_ndc = verts_ndc.float()
    if backend == "auto":
        backend = automatic_backend(verts_ndc.device, verts_ndc.dtype)
    try:
        silhouettes = importlib.import_module(f"shape3d_amodal.rendering.{backend}")
    except ImportError as error:
        raise MissingBackendError(f"backend {backend!r} lacks a library: {error}; see shape3d-amodal doctor") from error
    _check_backend(silhouettes, backend, verts_ndc, mode)
    render = silhouettes.product_silhouettes if mode == "product" else silhouettes.edge_silhouettes
    return render(verts_ndc, faces, image_size, float(sigma))


def automatic_backend(device: torch.device, dtype: torch.dtype = torch.float32) -> Backend:
    """``cpu`` for float32 on the CPU, ``gpu`` for float32 on a CUDA device where Triton is installed, else
    ``reference``."""
    if dtype == torch.float32 and device.type == "cpu":
        return "cpu"
    on_cuda = dtype == torch.float32 and device.type == "cuda"
    return "gpu" if on_cuda and triton_version() else "reference"


@functools.cache
def triton_version() -> str | None:
    """Of the installed Triton, if it can compile the kernels (3.3, which torch 2.7 brings, or later), else None."""
    try:
        version: str = importlib.import_module("triton").__version__
    except ImportError:
        return None
    major, minor = (int(part) for part in version.split(".")[:2])
    return version if (major, minor) >= (3, 3) else None


def _check_backend(silhouettes: ModuleType, backend: Backend, verts: Tensor, mode: Mode) -> None:
    if backend in ("cpu", "gpu") and (verts.dtype != torch.float32 or verts.device.type != silhouettes.DEVICE):
        raise ValueError(
            f"backend {backend!r} takes float32 vertices on a {silhouettes.DEVICE} device, got {verts.dtype} on "
            f"{verts.device}; use backend='auto'"
        )
    if backend == "gpu" and not triton_version():
        raise MissingBackendError("backend 'gpu' needs Triton 3.3 or later; use backend='auto'")
    if backend == "pytorch3d" and verts.dtype != torch.float32:
        raise ValueError(f"backend 'pytorch3d' takes float32 vertices, got {verts.dtype}; use backend='auto'")
    if backend == "pytorch3d" and mode != "product":
        raise ValueError(f"backend 'pytorch3d' has mode 'product' only, got {mode!r}; use another backend")


def _check(verts: Tensor, faces: Tensor, image_size: int, sigma: float, mode: str, backend: str) -> None:
    if mode not in get_args(Mode):
        raise ValueError(f"mode: expected one of {', '.join(get_args(Mode))}, got {mode!r}")
    if backend not in get_args(Backend):
        raise ValueError(f"backend: expected one of {', '.join(get_args(Backend))}, got {backend!r}")
    for name, tensor in (("verts_ndc", verts), ("faces", faces)):
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    if verts.is_meta or verts.layout != torch.strided:
        raise ValueError(
            f"verts_ndc: expected a tensor with numbers, all of them, got {verts.layout} on {verts.device}"
        )
    if verts.ndim != 3 or verts.shape[2] != 3 or verts.dtype not in TYPES:
        raise ValueError(f"verts_ndc: expected a float [B,V,3] tensor, got {verts.dtype} {list(verts.shape)}")
    if faces.dtype != torch.int64 or faces.ndim not in (2, 3) or faces.shape[-1] != 3:
        raise ValueError(f"faces: expected an int64 [F,3] or [B,F,3] tensor, got {faces.dtype} {list(faces.shape)}")
    if faces.ndim == 3 and len(faces) != len(verts):
        raise ValueError(f"faces: expected one set of faces for each of {len(verts)} meshes, got {len(faces)}")
    if faces.device != verts.device:
        raise ValueError(f"faces: expected the vertices' device {verts.device}, got {faces.device}")
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1:
        raise ValueError(f"image_size: expected a positive number of pixels (int), got {image_size!r}")
    if isinstance(sigma, bool) or not isinstance(sigma, Real) or not LEAST_SIGMA <= sigma <= MOST_SIGMA:
        raise ValueError(
            f"sigma: expected a number from 1e-30 to 1e30, the blur in NDC squared, got {sigma!r}; see blur_sigma"
        )
    if faces.device.type == "cpu":
        check_indices(faces, verts.shape[1])
    else:  # looking at the indices waits for the device, so it is done once for each tensor of faces
        _check_indices_once(faces, verts.shape[1])


_check_indices_once = remembered(check_indices)
