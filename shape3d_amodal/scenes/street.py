"""Streets as KITTI's camera sees them: a wide picture, many vehicles near and far, and things that nobody annotates.

World as in ``scenes.layout``, in metres: the camera stands over the origin and looks along -z. Its focal length, in
widths of the picture, and its height are KITTI's: the farther a vehicle is, the smaller and the nearer to the horizon
it is seen. Some stand behind or beside each other; some leave the picture at its border, where their masks end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.rendering.zbuffer import rasterize
from shape3d_amodal.scenes import shading
from shape3d_amodal.scenes.clutter import Sprite, Window, clutter
from shape3d_amodal.scenes.compose import Mask, Scene, SceneInstance, near_to_far
from shape3d_amodal.scenes.layout import Camera, PlacedObject

FOCAL = 721.5 / 1242
"""Focal length of KITTI's cameras in widths of the picture."""
EYE = 1.65
"""Height of KITTI's cameras over the ground in metres."""
_SIDE = 0.5 / FOCAL
"""Half of the street that is seen, a metre of distance."""
_NEAREST_POINT = 1.5
"""Least distance of any point of a vehicle."""
_LEAST_PX, _LEAST_VISIBLE_PX, _LEAST_VISIBLE = 60, 30, 0.15
"""Least amodal area, least visible area, and least visible share: smaller ones people do not annotate."""
_LEAST_INSIDE = 0.15
"""Least share of a vehicle's box that is in the picture."""
_GROUND, _THING = -1, -2
"""Owners of pixels that no vehicle has."""

Picker = Callable[[], tuple[str, PlacedObject]]
"""Draws a vehicle: its class, and how it stands at the origin, in metres."""


class Street(NamedTuple):
    """What is asked of a street; see ``KinsScenesConfig``."""

    height: int
    width: int
    objects: int
    clutter: int
    nearest: float
    farthest: float


@dataclass(frozen=True, eq=False)
class _Vehicle:
    """A drawn vehicle; ``depth`` and ``face`` cover its window."""

    category: str
    placed: PlacedObject
    window: Window
    depth: NDArray[np.float32]
    face: NDArray[np.int32]

    @property
    def mask(self) -> Mask:
        return self.face >= 0


def make_street(pick: Picker, street: Street, rng: np.random.Generator) -> Scene:
    """A picture of ``street`` with about as many vehicles as it asks for, near ones last in depth order."""
    camera = Camera(
        np.array([0, EYE, 0.0]), float(np.radians(rng.uniform(-1, 1.5))), FOCAL * street.width, street.width
    )
    top = (street.width - street.height) // 2  # the picture is the middle of the square camera's
    rows = slice(top, top + street.height)
    horizon = street.width / 2 - camera.focal * np.tan(camera.elevation) - top
    sprites = [
        one
        for _ in range(rng.poisson(street.clutter))
        for one in clutter(camera.focal, street.height, street.width, horizon, EYE, rng)
    ]
    canvas = _Canvas(street, sprites)
    wanted = int(rng.integers(street.objects // 2, street.objects + (street.objects + 1) // 2 + 1))
    for _ in range(20 * wanted):
        if len(canvas.vehicles) == wanted:
            break
        category, thing = pick()
        placed = _stand(thing, [one.placed for one in canvas.vehicles], street, rng)
        if all(placed.apart_from(one.placed, 0.1) for one in canvas.vehicles):
            vehicle = _draw(category, placed, camera, top, street)
            if vehicle is not None:
                canvas.add(vehicle)
    return _finish(canvas, camera, rows, rng)


def _stand(
    thing: PlacedObject, others: Sequence[PlacedObject], street: Street, rng: np.random.Generator
) -> PlacedObject:
    """Behind, before or beside one that stands already, as in a queue or a row of parked cars; or anywhere."""
    size, middle = thing.high - thing.low, (thing.low + thing.high) / 2
    if others and rng.random() < 0.3:
        other = others[int(rng.integers(len(others)))]
        gap, shift = rng.uniform(0.3, 3), rng.uniform(-0.8, 0.8)
        across, along = (other.low + other.high)[[0, 2]] / 2
        room = (size + other.high - other.low) / 2
        side = rng.choice([-1, 1])
        if rng.random() < 0.4:
            x, z = across + shift, along + side * (room[2] + gap)
        else:
            x, z = across + side * (room[0] + gap), along + 2 * shift
    else:
        z = -float(np.exp(rng.uniform(np.log(street.nearest), np.log(street.farthest))))
        reach = min(-z * _SIDE + size[0] / 3, 40.0)
        x = rng.uniform(-reach, reach)
    return thing.moved(float(x - middle[0]), float(z - middle[2]))


def _draw(category: str, placed: PlacedObject, camera: Camera, top: int, street: Street) -> _Vehicle | None:
    """The vehicle rendered alone, in its window only; None where it is too near, too small or hardly in the picture."""
    if -placed.high[2] < _NEAREST_POINT or -placed.low[2] > 2 * street.farthest:
        return None
    points = camera.project(placed.verts)
    points[:, 1] -= top
    low, high = np.floor(points[:, :2].min(axis=0)), np.ceil(points[:, :2].max(axis=0))
    left, upper = np.clip(low, 0, (street.width, street.height)).astype(int)
    right, lower = np.clip(high, 0, (street.width, street.height)).astype(int)
    if (right - left) * (lower - upper) < max(_LEAST_PX, _LEAST_INSIDE * float(np.prod(high - low))):
        return None
    points[:, :2] -= (left, upper)
    depth, face = rasterize(points, placed.mesh.faces, int(lower - upper), int(right - left))
    return _Vehicle(category, placed, Window(int(upper), int(lower), int(left), int(right)), depth, face)


class _Canvas:
    """Who is nearest at each pixel, while vehicles are added one by one.

    Attributes:
        owner: [H,W] int16, index of the vehicle; negative where there is none.
        vehicles: those that were added.
    """

    def __init__(self, street: Street, sprites: Sequence[Sprite]) -> None:
        self.owner = np.full((street.height, street.width), _GROUND, np.int16)
        self.vehicles: list[_Vehicle] = []
        self.sprites = sorted(sprites, key=lambda one: -one.depth)
        self._depth = np.full(self.owner.shape, np.inf, np.float32)
        self._visible: list[int] = []
        self._least: list[float] = []
        for one in self.sprites:
            self.owner[one.window.slices][one.mask] = _THING
            self._depth[one.window.slices][one.mask] = one.depth

    def add(self, vehicle: _Vehicle) -> None:
        """Add ``vehicle``, unless too little of it or of another one would be left to see."""
        place, area = vehicle.window.slices, int(vehicle.mask.sum())
        won = vehicle.depth < self._depth[place]
        least = max(_LEAST_VISIBLE * area, _LEAST_VISIBLE_PX)
        lost = np.bincount(self.owner[place][won] + 2, minlength=len(self.vehicles) + 2)[2:]
        visible = [before - int(now) for before, now in zip(self._visible, lost, strict=True)]
        visible.append(int(won.sum()))
        limits = [*self._least, least]
        if area < _LEAST_PX or any(seen < limit for seen, limit in zip(visible, limits, strict=True)):
            return
        self.owner[place][won] = len(self.vehicles)
        self._depth[place][won] = vehicle.depth[won]
        self.vehicles.append(vehicle)
        self._visible, self._least = visible, limits


def _finish(canvas: _Canvas, camera: Camera, rows: slice, rng: np.random.Generator) -> Scene:
    """Colour the picture, and rank the vehicles from near to far."""
    vehicles, owner = canvas.vehicles, canvas.owner
    image = shading.background(camera, [one.placed for one in vehicles], rng, rows)
    for sprite in canvas.sprites:
        hit = sprite.mask & (owner[sprite.window.slices] == _THING)
        image[sprite.window.slices][hit] = sprite.color[hit]
    light = shading.Light(rng)
    ranks = near_to_far(_covered(vehicles), [float(np.median(one.depth[one.mask])) for one in vehicles])
    instances = []
    for index, (one, rank) in enumerate(zip(vehicles, ranks, strict=True)):
        place, seen = one.window.slices, owner == index
        paint = shading.paint(one.placed.mesh, rng)
        shading.shade(image[place], seen[place], one.face, one.placed, paint, light)
        amodal = np.zeros(owner.shape, bool)
        amodal[place] = one.mask
        viewpoint = one.placed.viewpoint(camera)
        instances.append(SceneInstance(one.placed.mesh.name, one.category, amodal, seen, rank, viewpoint))
    return Scene(shading.expose(image, rng), tuple(instances), camera.to_dict())


def _covered(vehicles: Sequence[_Vehicle]) -> NDArray[np.int64]:
    """[N,N]: how many pixels of one vehicle are farther than the other one there."""
    covered = np.zeros((len(vehicles), len(vehicles)), np.int64)
    for i, one in enumerate(vehicles):
        for j, other in enumerate(vehicles[:i]):
            shared = _shared(one.window, other.window)
            if shared is not None:
                near, far = (_part(it, shared) for it in (one, other))
                covered[i, j] = (far < near)[np.isfinite(near)].sum()
                covered[j, i] = (near < far)[np.isfinite(far)].sum()
    return covered


def _shared(one: Window, other: Window) -> Window | None:
    top, left = max(one.top, other.top), max(one.left, other.left)
    bottom, right = min(one.bottom, other.bottom), min(one.right, other.right)
    return Window(top, bottom, left, right) if top < bottom and left < right else None


def _part(vehicle: _Vehicle, part: Window) -> NDArray[np.float32]:
    """Its depth in a part of the picture that lies in its window."""
    top, left = vehicle.window.top, vehicle.window.left
    return vehicle.depth[part.top - top : part.bottom - top, part.left - left : part.right - left]
