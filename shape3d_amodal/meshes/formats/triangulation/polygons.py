"""Polygons to triangles, the same way for every format.

A polygon is looked at in its own plane (Newell's normal). Where the fan from its first corner covers it, as that of any
convex polygon does, the fan is taken; others are cut by ear clipping (mapbox_earcut). A polygon of n corners becomes
n - 2 triangles which use every corner.

Of a polygon whose outline crosses itself the region by the even-odd rule is covered, as tessellators of drawing
libraries do unless told otherwise: each place once that the outline goes round an odd number of times. There, new
vertices stand where edges cross, and others on the edges.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import mapbox_earcut
import numpy as np

from shape3d_amodal.errors import DataError, counted
from shape3d_amodal.meshes.formats.mesh_data import cap_faces, check_coordinates, check_indices
from shape3d_amodal.meshes.formats.triangulation.outlines import Region, contacts, even_odd
from shape3d_amodal.meshes.formats.triangulation.plane import in_its_plane, outline_area, triangle_areas

MAX_CLIPPED_CORNERS = 10_000
"""Corners of the largest polygon that is clipped: the time may grow with their square."""
MAX_PIECES_OF_ALL = 10_000_000
"""Pieces into which the edges of all polygons that cross themselves may be cut: about 10 seconds."""

_CHUNK = 500_000
"""Corners that are looked at together, so that memory stays small."""
_FLAT = 1e-6
"""Areas below this part of the polygon's own count as zero."""
_BACK = 1e-5
"""Radians by which a fan may turn back, for rounding."""
_ROUNDING = 1e-9
"""How far the triangles' area may be from the outline's, as a part of it."""


@dataclass(frozen=True)
class Triangulation:
    """Triangles of polygons.

    Attributes:
        faces: [F,3] int64, in the order of the polygons.
        polygon: [F] int64, the polygon that each triangle is a part of.
        notes: what was left out, or crosses itself.
        between: [K,2] int64, the two vertices between which each new vertex lies; the new ones come behind the others.
        share: [K] float64 in 0..1, how far it is from the first to the second.
    """

    faces: np.ndarray
    polygon: np.ndarray
    notes: tuple[str, ...]
    between: np.ndarray
    share: np.ndarray

    def extended(self, values: np.ndarray) -> np.ndarray:
        """``values`` [V,...] of the vertices and, behind them, those of the new vertices [V+K,...]."""
        if len(self.between) == 0:
            return values
        share = self.share[:, None]
        between = values[self.between[:, 0]] * (1 - share) + values[self.between[:, 1]] * share
        return np.concatenate([values, between])


@dataclass
class _Pieces:
    """Triangles of polygons that cross themselves, and new vertices, numbered from ``verts`` on."""

    verts: int
    faces: list[np.ndarray] = field(default_factory=lambda: [np.zeros((0, 3), np.int64)])
    polygon: list[np.ndarray] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    between: list[np.ndarray] = field(default_factory=lambda: [np.zeros((0, 2), np.int64)])
    share: list[np.ndarray] = field(default_factory=lambda: [np.zeros(0)])
    crossing: int = 0
    work: int = 0

    def add(self, one: int, corners: np.ndarray, region: Region) -> None:
        """Take in the region of polygon ``one`` with its vertex indices ``corners`` [n]."""
        numbers = np.concatenate([corners, self.verts + np.arange(len(region.edge))])
        self.faces.append(numbers[region.triangles])
        self.polygon.append(np.full(len(region.triangles), one))
        self.between.append(np.stack([corners[region.edge], corners[(region.edge + 1) % len(corners)]], axis=1))
        self.share.append(region.share)
        self.verts += len(region.edge)
        self.crossing += not region.simple
        self.work += region.pieces
        if self.work > MAX_PIECES_OF_ALL:
            problem = f"expected polygons that cross themselves seldom, got {self.crossing} that do in many places"
            raise DataError(f"{problem}; export the mesh as triangles", field="faces")


def triangulate(verts: np.ndarray, corners: np.ndarray, sizes: np.ndarray) -> Triangulation:
    """Cut polygons into triangles.

    Args:
        verts: [V,3] float64.
        corners: [C] int64, the vertex indices of all polygons one after the other.
        sizes: [P] int64, corners of each polygon; the sum is C. Polygons of less than 3 corners are left out.

    Raises:
        DataError: too many triangles, an index out of range, a coordinate that is not finite, or a polygon of more
            than ``MAX_CLIPPED_CORNERS`` corners that is no fan, or that crosses itself in too many places.
    """
    counts = np.maximum(sizes - 2, 0)
    cap_faces(int(counts.sum()))
    check_indices(corners, len(verts))
    starts = np.cumsum(sizes) - sizes
    faces = _fans(corners, starts, counts)
    polygon = np.repeat(np.arange(len(sizes)), counts)
    few = int((sizes < 3).sum())
    notes = [f"{counted(few, 'face', 'faces')} of fewer than 3 corners left out"] if few else []
    large = np.flatnonzero(sizes > 3)
    pieces = _Pieces(len(verts))
    if len(large):
        check_coordinates(verts)
        unused = _clip_into(faces, verts, corners, (starts, sizes, np.cumsum(counts) - counts), large, pieces)
        if unused.any():
            polygon = np.concatenate([polygon[~unused], *pieces.polygon])
            order = np.argsort(polygon, kind="stable")
            polygon, faces = polygon[order], np.concatenate([faces[~unused], *pieces.faces])[order]
    if pieces.crossing:
        verb = "crosses itself" if pieces.crossing == 1 else "cross themselves"
        notes.append(f"{counted(pieces.crossing, 'polygon', 'polygons')} that {verb}, read by the even-odd rule")
    return Triangulation(faces, polygon, tuple(notes), np.concatenate(pieces.between), np.concatenate(pieces.share))


def _fans(corners: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The fan of each polygon from its first corner, [F,3]."""
    first = np.repeat(starts, counts)
    step = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([corners[first], corners[first + step + 1], corners[first + step + 2]], axis=1)


def _clip_into(
    faces: np.ndarray,
    verts: np.ndarray,
    corners: np.ndarray,
    places: tuple[np.ndarray, np.ndarray, np.ndarray],
    large: np.ndarray,
    pieces: _Pieces,
) -> np.ndarray:
    """Replace the fans in ``faces`` that do not cover their polygon, or add other triangles to ``pieces``.

    Returns:
        [F] bool, the rows of ``faces`` that are not needed.
    """
    starts, sizes, rows = places
    unused = np.zeros(len(faces), bool)
    ends = np.cumsum(sizes[large])
    bounds = np.unique(np.searchsorted(ends, np.arange(_CHUNK, int(ends[-1]) + _CHUNK, _CHUNK), side="left") + 1)
    for chunk in np.split(large, bounds[bounds < len(large)]):
        low, high = int(rows[chunk[0]]), int(rows[chunk[-1]] + sizes[chunk[-1]] - 2)
        good = _fan_covers(verts, faces[low:high], rows[chunk] - low, sizes[chunk] - 2)
        for one in chunk[~good].tolist():
            start, size, row = int(starts[one]), int(sizes[one]), int(rows[one])
            of_one = corners[start : start + size]
            found = _clipped(verts[of_one])
            if isinstance(found, Region):
                pieces.add(one, of_one, found)
                unused[row : row + size - 2] = True
                continue
            faces[row : row + len(found)] = of_one[found]
            unused[row + len(found) : row + size - 2] = True
    return unused


def _fan_covers(verts: np.ndarray, faces: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether each fan covers its polygon [P] bool: its triangles face one way and turn by less than a full circle.

    Args:
        faces: [F,3], in which the fan of polygon p has ``counts[p]`` rows from ``starts[p]`` on.
    """
    chosen = np.repeat(starts, counts) + np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    triangles = verts[faces[chosen]]
    before, after = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    with np.errstate(over="ignore", invalid="ignore"):
        cross = np.cross(before, after)
        groups = np.cumsum(counts) - counts
        normals = np.add.reduceat(cross, groups, axis=0)
        length = np.linalg.norm(normals, axis=1)
        extent = np.add.reduceat(np.linalg.norm(cross, axis=1), groups)
        degenerate = extent == 0  # on one line: there is nothing to cover
        unit = normals / np.where(length > 0, length, 1)[:, None]
        signed = np.einsum("ij,ij->i", cross, np.repeat(unit, counts, axis=0))
        plane = [edge - signed_height(edge, np.repeat(unit, counts, axis=0)) for edge in (before, after)]
        turns = np.arctan2(signed, np.einsum("ij,ij->i", *plane))  # half a turn, either way, through the first corner
        angle = np.add.reduceat(turns, groups)
        forward = np.minimum.reduceat(signed, groups) >= -_FLAT * length
        forward &= np.minimum.reduceat(turns, groups) >= -_BACK
        back = (before != 0).any(axis=1) & (after == 0).all(axis=1)  # at the first corner, to begin a second round
        back[groups + counts - 1] = False
        once = ~np.logical_or.reduceat(back, groups)
    covers: np.ndarray = degenerate | (once & forward & (angle < 2 * np.pi - _FLAT) & (length > _FLAT * extent))
    return covers


def signed_height(edges: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """The part of ``edges`` [N,3] along the unit normals [N,3]."""
    height: np.ndarray = np.einsum("ij,ij->i", edges, unit)[:, None] * unit
    return height


def _clipped(points: np.ndarray) -> np.ndarray | Region:
    """The triangles [T,3] of one polygon [n,3] as positions in it, or its region where ears do not cover it."""
    if len(points) > MAX_CLIPPED_CORNERS:
        problem = f"expected at most {MAX_CLIPPED_CORNERS} corners of a polygon that is not convex, got {len(points)}"
        raise DataError(f"{problem}; export the mesh as triangles", field="faces")
    flat = in_its_plane(points)
    area = outline_area(flat)
    found = mapbox_earcut.triangulate_float64(flat, np.array([len(flat)], np.uint32)).reshape(-1, 3).astype(np.int64)
    signed = triangle_areas(flat, found)
    found = found[:, ::-1] if signed.sum() * area < 0 else found
    covered = float(np.abs(signed).sum())
    whole = abs(covered - abs(area)) <= _ROUNDING * max(covered, abs(area))
    found = np.concatenate([found, _left_over(flat, found)])[: len(points) - 2]
    touching = np.zeros((0, 2), np.int64)
    if len(flat) > 4 or not whole:  # two triangles that face one way lie on two sides of their common edge
        touching = contacts(flat)
    if len(touching) or not whole:
        region = even_odd(flat, touching)
        if not (whole and region.simple and _bounded(found, len(flat))):
            return region
    return found


def _bounded(triangles: np.ndarray, corners: int) -> bool:
    """Whether the triangles' edges cancel out but for the outline's, so that they cover what it goes round."""
    outline = np.arange(corners)
    start = np.concatenate([triangles.ravel(), (outline + 1) % corners])
    end = np.concatenate([triangles[:, [1, 2, 0]].ravel(), outline])
    return np.array_equal(np.sort(start * corners + end), np.sort(end * corners + start))


def _left_over(flat: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Triangles [T,3] without area for corners that ear clipping passed over because they lie on a line.

    Seen from the front they are nothing, but the corner may lie before or behind the plane.
    """
    used = np.zeros(len(flat), bool)
    used[found] = True
    if used.all() or not used.any():
        return np.zeros((0, 3), np.int64)
    around, missing = np.flatnonzero(used), np.flatnonzero(~used)
    last = around[np.searchsorted(around, missing) - 1]  # before the first comes the last one
    triangles = np.stack([last, missing, (missing + 1) % len(flat)], axis=1)
    return triangles[np.abs(triangle_areas(flat, triangles)) <= _FLAT]
