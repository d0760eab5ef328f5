"""The silhouettes in plain torch: slow, short and readable; any device, float32 or float64, gradients by autograd.

It is the oracle of the faster backends, and serves where they do not run.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from shape3d_amodal.rendering.topology import Topology, topology_of

NEAR = 1e-8  # PyTorch3D's kEpsilon, for depth and for twice the area
AREA = 1e-8
FAR = 1e10  # so no square overflows, nor does that of an edge vanish while its face has an area above AREA
BESIDE = 1 / 64  # pixels
BELOW_HALF = 0.5 - 2**-25  # the next float32: as near to 1/2 as alpha comes where edge mode sees no coverage


def blur_radius(sigma: float) -> float:
    """Squared NDC distance beyond which sigmoid(-d^2 / sigma) < 1e-4 counts as nothing, as in PyTorch3D and SoftRas."""
    return math.log(1 / 1e-4 - 1) * sigma


def product_silhouettes(verts: Tensor, faces: Tensor, image_size: int, sigma: float) -> Tensor:
    """alpha = 1 - prod_j (1 - sigmoid(x_j)) = 1 - exp(-sum_j softplus(x_j)), x_j = +-d_j^2 / sigma; see the public one.

    Args:
        verts: [B,V,3] float32 or float64 in NDC.
        faces: [F,3] or [B,F,3] int64.

    Returns:
        [B,H,W] in 0..1.
    """
    triangles, image = drawable_triangles(verts, faces)
    face, pixel = face_pixel_pairs(triangles, image, image_size, math.sqrt(blur_radius(sigma)))
    p = pixel_centres(pixel, image_size, verts.dtype)  # [P,2]
    corners = triangles.index_select(0, face)  # [P,3,2]
    squared = segment_distance(p[:, None], corners, corners.roll(-1, dims=1)).min(dim=1).values
    area = cross(corners.detach(), p[:, None])
    inside = (area > 0).all(dim=1) | (area < 0).all(dim=1)  # of faces of either orientation
    x = torch.where(inside, squared, -squared) / sigma
    weight = torch.where(inside | (squared < blur_radius(sigma)), torch.nn.functional.softplus(x), 0.0)
    optical_depth = verts.new_zeros(len(verts) * image_size**2).index_add(0, pixel, weight)
    return -torch.expm1(-optical_depth).view(len(verts), image_size, image_size)


def edge_silhouettes(verts: Tensor, faces: Tensor, image_size: int, sigma: float) -> Tensor:
    """alpha = sigmoid(+-d^2 / sigma): hard coverage gives the sign, the nearest point of the contour the distance.

    Args and Returns as ``product_silhouettes``; the contour is explained at ``contour_candidates`` and ``on_contour``.
    """
    topology = topology_of(faces)
    images = [
        _edge_silhouette(verts[b], faces if faces.ndim == 2 else faces[b], topology, b, image_size, sigma)
        for b in range(len(verts))
    ]
    return torch.stack(images) if images else verts.new_zeros(0, image_size, image_size)


def _edge_silhouette(
    verts: Tensor, faces: Tensor, topology: Topology, mesh: int, image_size: int, sigma: float
) -> Tensor:
    radius = blur_radius(sigma)
    triangles, _ = drawable_triangles(verts.detach()[None], faces)
    everywhere = pixel_centres(torch.arange(image_size**2, device=verts.device), image_size, verts.dtype)
    covered = is_covered(everywhere, triangles)  # [HW]

    edges, side = contour_candidates(verts.detach(), faces, topology, mesh)
    ends = verts.index_select(0, edges.reshape(-1)).view(-1, 2, 3)[..., :2]  # [E,2,2]
    edge, pixel = face_pixel_pairs(ends, torch.zeros_like(side), image_size, math.sqrt(radius))
    u, w = ends.index_select(0, edge).unbind(dim=1)
    squared = segment_distance(everywhere[pixel], u, w)
    near = squared.detach() < radius
    tested = (near & covered[pixel]).nonzero().squeeze(1)
    beside = point_beside(
        everywhere[pixel[tested]], u[tested].detach(), w[tested].detach(), side[edge[tested]], image_size
    )
    near[tested] = ~is_covered(beside, triangles)

    kept = near.nonzero().squeeze(1)
    nearest = verts.new_full((image_size**2,), radius)
    nearest = nearest.scatter_reduce(0, pixel[kept], squared.index_select(0, kept), "amin")
    alpha = torch.sigmoid(torch.where(covered, nearest, -nearest) / sigma)
    alpha = torch.where(covered, alpha, alpha.clamp(max=BELOW_HALF))
    return torch.where(nearest < radius, alpha, covered.to(verts.dtype)).view(image_size, image_size)


def contour_candidates(verts: Tensor, faces: Tensor, topology: Topology, mesh: int) -> tuple[Tensor, Tensor]:
    """The edges [E,2] whose faces all lie on one side of them on the screen, and that side [E] (1 left, -1 right).

    Only these can be part of the contour: where two faces of a closed mesh meet they are the edges between a front and
    a back face, in an open mesh also those of a single face. The rule does not ask how many faces meet, nor whether
    they are wound alike, so it holds for meshes that are not manifold. Faces that are not drawn do not count.
    """
    corners = verts[faces]
    area = cross(corners[..., :2], corners[:, :1, :2])[:, 1]
    orientation = torch.where(drawable(corners), area.sign(), 0).long()
    sides = slice(0, None)
    first, last = 0, len(topology.edges)
    if len(topology.first_edge) > 2:
        first, last = (int(bound) for bound in topology.first_edge[mesh : mesh + 2])
        sides = slice(int(topology.first_side[first]), int(topology.first_side[last]))
    edge = topology.edge[sides] - first
    side = orientation[topology.face[sides]] * topology.along[sides]
    none = torch.zeros(last - first, dtype=torch.int64, device=verts.device)
    left = none.index_add(0, edge, (side > 0).long()) > 0
    right = none.index_add(0, edge, (side < 0).long()) > 0
    candidates = (left != right).nonzero().squeeze(1)
    return topology.edges[first:last][candidates], torch.where(left[candidates], 1, -1)


def point_beside(p: Tensor, u: Tensor, w: Tensor, side: Tensor, image_size: int) -> Tensor:
    """The point [N,2] just beyond the contour if the nearest point to p of the edge (u, w) is part of it.

    It lies ``BESIDE`` pixels from the edge, on the side where the edge has no faces, and a little away from the edge's
    ends, where the neighbouring edge may bend outwards. Where another part of the mesh covers it, the edge runs inside
    the silhouette there and does not count.
    """
    edge = w - u
    length = edge.square().sum(-1).sqrt()
    delta = BESIDE * 2 / image_size
    t = ((p - u) * edge).sum(-1) / length.square()
    from_ends = (8 * delta / length).clamp(max=0.5)
    t = torch.minimum(torch.maximum(t, from_ends), 1 - from_ends)
    outwards = torch.stack([edge[:, 1], -edge[:, 0]], dim=1) * (side / length)[:, None]
    return u + t[:, None] * edge + delta * outwards


def is_covered(points: Tensor, triangles: Tensor) -> Tensor:
    """Which points [N,2] lie in one of the triangles [F,3,2] or on its border, so that no gap is left between faces."""
    covered = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    step = max(1, 2**22 // max(len(triangles), 1))
    for i in range(0, len(points) if len(triangles) else 0, step):
        area = cross(triangles, points[i : i + step, None, None])  # [n,F,3]
        covered[i : i + step] = ((area >= 0).all(dim=2) | (area <= 0).all(dim=2)).any(dim=1)
    return covered


def drawable_triangles(verts: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """The screen corners [N,3,2] of all faces that count, and the image [N] each belongs to."""
    B, V, _ = verts.shape
    faces = faces.expand(B, -1, 3) if faces.ndim == 3 else faces[None].expand(B, -1, 3)
    index = (faces + V * torch.arange(B, device=faces.device)[:, None, None]).reshape(-1)
    corners = verts.reshape(-1, 3).index_select(0, index).view(-1, 3, 3)  # [BF,3,3]
    drawn = drawable(corners.detach()).nonzero().squeeze(1)
    return corners.index_select(0, drawn)[..., :2], drawn // max(faces.shape[1], 1)


def drawable(corners: Tensor) -> Tensor:
    """Which faces [N,3,3] are finite, in front of the near plane and not edge-on."""
    finite = corners.abs().sum(dim=(-2, -1)) < FAR
    in_front = (corners[..., 2] >= NEAR).all(dim=-1)
    return finite & in_front & (cross(corners[..., :2], corners[:, :1, :2])[:, 1].abs() > AREA)


def cross(corners: Tensor, p: Tensor) -> Tensor:
    """Twice the signed area of (p, corner k, corner k + 1): [...,3] for corners [...,3,2] and p [...,1,2].

    Two faces at one edge get the same number with opposite signs, to the last bit.
    """
    u, w = corners - p, corners.roll(-1, dims=-2) - p
    return u[..., 0] * w[..., 1] - u[..., 1] * w[..., 0]


def face_pixel_pairs(triangles: Tensor, image: Tensor, image_size: int, margin: float) -> tuple[Tensor, Tensor]:
    """Indices (triangle [P], flat pixel of the batch [P]) of all pixels in each triangle's box grown by ``margin``."""
    low = triangles.detach().amin(dim=1) - margin
    high = triangles.detach().amax(dim=1) + margin
    # Column and row fall as x and y rise. One pixel more on each side: the exact test comes later.
    first = ((1 - high) * image_size / 2 - 1.5).clamp(0, image_size).long()  # [N,2] column, row
    last = ((1 - low) * image_size / 2 + 0.5).clamp(-1, image_size - 1).floor().long()
    width, height = (last - first + 1).clamp(min=0).unbind(dim=1)
    count = width * height
    triangle = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    nth = torch.arange(len(triangle), device=count.device) - (count.cumsum(0) - count)[triangle]
    column = first[triangle, 0] + nth % width[triangle]
    row = first[triangle, 1] + torch.div(nth, width[triangle], rounding_mode="floor")
    return triangle, (image[triangle] * image_size + row) * image_size + column


def pixel_centres(pixel: Tensor, image_size: int, dtype: torch.dtype) -> Tensor:
    """NDC centres [P,2] of flat pixel indices [P] of a batch of images."""
    column = pixel % image_size
    row = torch.div(pixel, image_size, rounding_mode="floor") % image_size
    return 1 - (2 * torch.stack([column, row], dim=1).to(dtype) + 1) / image_size


def segment_distance(p: Tensor, u: Tensor, w: Tensor) -> Tensor:
    """Squared distance of points p to segments (u, w), all [...,2]."""
    edge = w - u
    t = ((p - u) * edge).sum(-1) / (edge * edge).sum(-1).clamp(min=torch.finfo(p.dtype).tiny)
    r = p - u - t.clamp(0, 1).unsqueeze(-1) * edge
    return (r * r).sum(-1)
