"""Which faces meet at which edges of a mesh; found once for each tensor of faces."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Topology:
    """The edges of one mesh or of B meshes, and the faces at each: any number of them, so any mesh will do.

    Attributes:
        edges: [E,2] int64, vertex indices, the lower one first; mesh after mesh.
        first_edge: [B+1] int64, where the edges of each mesh begin (B = 1 for shared faces).
        first_side: [E+1] int64, where the sides of each edge begin in ``face`` and ``along``.
        face: [3F] int64 (B meshes: [3BF]), index of the face, within its mesh, that an edge bounds.
        along: [3F] int64, 1 where the face runs from the edge's lower vertex to its higher one, else -1.
        edge: [3F] int64, the edge of each side.
    """

    edges: Tensor
    first_edge: Tensor
    first_side: Tensor
    face: Tensor
    along: Tensor
    edge: Tensor


def remembered(find: Callable[Concatenate[Tensor, P], T]) -> Callable[Concatenate[Tensor, P], T]:
    """``find(faces, ...)`` whose last answer for each tensor of faces is remembered as long as that lives unchanged."""
    known: WeakIdKeyDictionary = WeakIdKeyDictionary()

    @functools.wraps(find)
    def answer(faces: Tensor, *arguments: P.args, **options: P.kwargs) -> T:
        key = (0 if faces.is_inference() else faces._version, arguments, options)
        last = known.get(faces)
        if last is None or last[0] != key:
            last = known[faces] = key, find(faces, *arguments, **options)
        return last[1]

    return answer


@remembered
def topology_of(faces: Tensor) -> Topology:
    """The topology of ``faces`` ([F,3] or [B,F,3] int64), remembered as long as the tensor lives unchanged."""
    faces = faces if faces.ndim == 3 else faces[None]
    B, F, _ = faces.shape
    device = faces.device
    vertices = int(faces.max()) + 1 if faces.numel() else 1
    mesh = torch.arange(B, device=device)
    corners = (faces + vertices * mesh[:, None, None]).reshape(-1, 3)  # [BF,3], as if of one big mesh
    start, end = corners.reshape(-1), corners.roll(-1, dims=1).reshape(-1)
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    key, edge, count = torch.unique(low * (B * vertices) + high, return_inverse=True, return_counts=True)
    order = torch.argsort(edge, stable=True)
    low, high = torch.div(key, B * vertices, rounding_mode="floor"), key % (B * vertices)
    boundaries = vertices * torch.arange(B + 1, device=device)
    zero = torch.zeros(1, dtype=torch.int64, device=device)
    return Topology(
        edges=torch.stack([low % vertices, high % vertices], dim=1),
        first_edge=torch.searchsorted(low, boundaries),
        first_side=torch.cat([zero, count.cumsum(0)]),
        face=torch.div(order, 3, rounding_mode="floor") % max(F, 1),
        along=torch.where(start < end, 1, -1)[order],
        edge=edge[order],
    )


def check_indices(faces: Tensor, vertices: int) -> None:
    """Raise a ValueError if ``faces`` name a vertex that is not one of ``vertices``; waits for the device."""
    if faces.numel():
        low, high = (int(bound) for bound in torch.aminmax(faces))
        if low < 0 or high >= vertices:
            raise ValueError(f"faces: expected vertex indices in 0..{vertices - 1}, got {low}..{high}")
