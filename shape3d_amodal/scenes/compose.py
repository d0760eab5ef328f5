"""Occlusion scenes with exact ground truth, from any mesh source. Scene k depends only on (configuration, seed, k).

There are two kinds. *Composed*: a ground plane, a perspective camera, and 2 to 4 objects of random category, yaw, size
and colour; object 0 is the target, of which the others hide 10 to 70 %. *Bars*: one object on white, erased in part by
bars or half-planes, as in the published figure of the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.config import Share, configuration
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.meshes.mesh import Mesh, MeshSource, UnusableMeshError
from shape3d_amodal.rendering.zbuffer import rasterize
from shape3d_amodal.scenes import shading as shading
from shape3d_amodal.scenes.layout import (
    NEAREST_DEPTH,
    Camera,
    Deform,
    PlacedObject,
    deform,
    look_at_target,
    place_around,
    place_in_front,
    stand,
)

Mask = NDArray[np.bool_]
_PURPOSE = 1_001
"""Part of the seed of each scene, so that other uses of the same seed draw other numbers."""
_DRAWS = 100
"""Most meshes that are drawn for an object until one can be used."""
_TRIES = 500
"""Most random arrangements that are tried for a scene; with ordinary meshes and limits more than half succeed."""


@configuration
class SceneConfig:
    """How scenes are made."""

    kind: Literal["composed", "bars"] = "composed"
    """Objects hiding each other on a ground plane, or one object on white erased by bars."""
    image_size: Annotated[int, Field(ge=32, le=8192)] = 256
    """Side of the square image in pixels."""
    min_hidden: Share = 0.10
    """Least hidden share of the target's area."""
    max_hidden: Share = 0.70
    """Largest hidden share of the target's area."""
    deform: Deform = 0.0
    """Largest strength of the random deformation of each mesh (0: none), an augmentation for training."""
    balance: bool = True
    """Draw the category first, then a mesh of it, so that rare categories are as frequent as common ones."""


@dataclass(frozen=True, eq=False, repr=False)
class SceneInstance(ArrayFields):
    """One object of a scene.

    Attributes:
        amodal, visible: masks [H,W] bool, exact at pixel centres.
        depth_order: 0 is the nearest.
        viewpoint: of the camera, relative to the object (``PlacedObject.viewpoint``).
    """

    mesh: str
    category: str
    amodal: Mask
    visible: Mask
    depth_order: int
    viewpoint: dict[str, float]


@dataclass(frozen=True, eq=False, repr=False)
class Scene(ArrayFields):
    """An image [H,W,3] uint8 and its ground truth.

    Attributes:
        instances: the target first.
        camera: its parameters, for inspection; empty for scenes side by side.
        erased: [H,W] bool, the region that bars erased; None for composed scenes.
    """

    image: NDArray[np.uint8]
    instances: tuple[SceneInstance, ...]
    camera: dict[str, float]
    erased: Mask | None = None


@dataclass(frozen=True)
class _Drawn:
    placed: PlacedObject
    depth: NDArray[np.float32]
    face: NDArray[np.int32]

    @property
    def mask(self) -> Mask:
        return self.face >= 0


def make_scene(
    meshes: MeshSource, config: SceneConfig, seed: int, index: int, *, target_category: str | None = None
) -> Scene:
    """Scene ``index``; ``target_category`` fixes the target's category, the other objects stay random.

    Raises:
        UsageError: no scene as ``config`` asks for was found with these meshes.
    """
    rng = np.random.default_rng((seed, _PURPOSE, index))
    picker = MeshPicker(meshes, config, rng)
    attempt = _try_bars if config.kind == "bars" else _try_composed
    for _ in range(_TRIES):
        scene = attempt(picker, config, rng, target_category)
        if scene is not None:
            return scene
    raise UsageError(
        f"scenes: none of {_TRIES} random scenes has a target that is whole in {config.image_size} px and hidden by "
        f"{config.min_hidden} to {config.max_hidden}; widen min_hidden, max_hidden or image_size, or change the meshes"
    )


class MeshPicker:
    """Draws meshes from a source, deforms, scales and turns them at random, and places them at the origin."""

    def __init__(self, meshes: MeshSource, config: SceneConfig, rng: np.random.Generator) -> None:
        self._meshes, self._config, self._rng = meshes, config, rng
        self._by_category = _names_by_category(meshes)

    def __call__(self, category: str | None = None) -> PlacedObject:
        rng = self._rng
        mesh = self.mesh(category)
        verts = deform(mesh.verts, self._config.deform * rng.random(), rng)
        return stand(mesh, verts, size=rng.uniform(0.75, 1.3), yaw=rng.uniform(0, 2 * np.pi))

    def mesh(self, category: str | None = None) -> Mesh:
        """A random mesh, of ``category`` if given; meshes that cannot be used are passed over."""
        for _ in range(_DRAWS):
            drawn = category
            if drawn is None and self._config.balance:
                drawn = str(self._rng.choice(list(self._by_category)))
            names = self._meshes.names if drawn is None else self._by_category[drawn]
            try:
                return self._meshes.load(names[int(self._rng.integers(len(names)))])
            except UnusableMeshError as error:
                last = error
        raise DataError(f"{last.problem} (none of {_DRAWS} meshes drawn can be used)", file=last.file, field=last.field)


_CATEGORIES: WeakKeyDictionary[MeshSource, dict[str, list[str]]] = WeakKeyDictionary()


def _names_by_category(meshes: MeshSource) -> dict[str, list[str]]:
    """The source's mesh names by sorted category; cached, since a source may have tens of thousands."""
    if meshes not in _CATEGORIES:
        found: dict[str, list[str]] = {}
        for name in meshes.names:
            found.setdefault(meshes.category(name), []).append(name)
        _CATEGORIES[meshes] = dict(sorted(found.items()))
    return _CATEGORIES[meshes]


def _draw(placed: PlacedObject, camera: Camera) -> _Drawn | None:
    """The object rendered alone; None if it is too near to the camera."""
    projected = camera.project(placed.verts)
    if projected[:, 2].min() < NEAREST_DEPTH:
        return None
    return _Drawn(placed, *rasterize(projected, placed.mesh.faces, camera.size, camera.size))


def _inside(drawn: _Drawn) -> bool:
    """Whether the object is in the image as a whole: its mask is not empty and touches no border."""
    return bool(drawn.mask.any() and drawn.mask.sum() == drawn.mask[1:-1, 1:-1].sum())


def _hidden_share(target: _Drawn, others: Sequence[_Drawn]) -> float:
    visible = target.mask
    for other in others:
        visible = visible & ~(other.depth < target.depth)
    return 1 - float(visible.sum()) / float(target.mask.sum())


def _try_composed(
    pick: MeshPicker, config: SceneConfig, rng: np.random.Generator, target_category: str | None
) -> Scene | None:
    placed = pick(target_category)
    camera = look_at_target(placed, config.image_size, rng)
    target = _draw(placed, camera)
    if target is None or not _inside(target):
        return None
    count = int(rng.integers(2, 5))
    drawn = [target]
    hidden = 0.0
    for _ in range(5 * count):
        if len(drawn) == count:
            break
        place = place_in_front if len(drawn) == 1 else place_around
        other = place(placed, pick(), camera, rng)
        if not all(other.apart_from(one.placed, 0.01) for one in drawn):
            continue
        candidate = _draw(other, camera)
        if candidate is None or candidate.mask.mean() > 0.35:
            continue
        now_hidden = _hidden_share(target, [*drawn[1:], candidate])
        if config.min_hidden <= now_hidden <= config.max_hidden:
            drawn.append(candidate)
            hidden = now_hidden
    if not config.min_hidden <= hidden <= config.max_hidden:
        return None
    return _finish(drawn, camera, rng)


def _finish(drawn: list[_Drawn], camera: Camera, rng: np.random.Generator) -> Scene:
    """Resolve visibility, drop objects that are fully hidden, and colour the image."""
    nearest = np.stack([one.depth for one in drawn]).min(axis=0)
    image = shading.background(camera, [one.placed for one in drawn], rng)
    light = shading.Light(rng)
    kept = []
    for one in drawn:
        visible = one.mask & (one.depth == nearest)
        paint = shading.paint(one.placed.mesh, rng)
        if visible.any():
            shading.shade(image, visible, one.face, one.placed, paint, light)
            kept.append((one, visible))
    ranks = depth_order([one.depth for one, _ in kept])
    instances = tuple(_instance(one, visible, rank, camera) for (one, visible), rank in zip(kept, ranks, strict=True))
    return Scene(shading.expose(image, rng), instances, camera.to_dict())


def _instance(drawn: _Drawn, visible: Mask, rank: int, camera: Camera) -> SceneInstance:
    mesh = drawn.placed.mesh
    return SceneInstance(mesh.name, mesh.category, drawn.mask, visible, rank, drawn.placed.viewpoint(camera))


def depth_order(depths: Sequence[NDArray[np.float32]]) -> list[int]:
    """Rank of each object from near to far, 0 first, from depth maps (infinite where an object is not)."""
    covered = [
        [0 if i == j else int((other < one)[np.isfinite(one)].sum()) for j, other in enumerate(depths)]
        for i, one in enumerate(depths)
    ]
    medians = [float(np.median(depth[np.isfinite(depth)])) if np.isfinite(depth).any() else np.inf for depth in depths]
    return near_to_far(np.array(covered, np.int64), medians)


def near_to_far(covered: NDArray[np.int64], medians: Sequence[float]) -> list[int]:
    """Rank of each object, 0 first.

    Objects are taken one by one, each time the one of which the remaining objects hide the fewest pixels; among equals
    the one with the nearest median depth.

    Args:
        covered: [N,N]; ``covered[i, j]`` pixels of i are farther than j there.
        medians: N depths.
    """
    left = list(range(len(medians)))
    rank = [0] * len(medians)
    for place in range(len(medians)):
        nearest = min(left, key=lambda i: (int(covered[i, left].sum()), medians[i]))
        rank[nearest] = place
        left.remove(nearest)
    return rank


def _try_bars(pick: MeshPicker, config: SceneConfig, rng: np.random.Generator, category: str | None) -> Scene | None:
    placed = pick(category)
    camera = look_at_target(placed, config.image_size, rng)
    drawn = _draw(placed, camera)
    if drawn is None or not _inside(drawn):
        return None
    erased = _eraser(drawn.mask, rng)
    hidden = float((erased & drawn.mask).sum()) / float(drawn.mask.sum())
    if not config.min_hidden <= hidden <= config.max_hidden:
        return None
    visible = drawn.mask & ~erased
    image = np.ones((config.image_size, config.image_size, 3), np.float32)
    shading.shade(image, visible, drawn.face, placed, shading.paint(placed.mesh, rng), shading.Light(rng))
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Scene(pixels, (_instance(drawn, visible, 0, camera),), camera.to_dict(), erased)


def _eraser(mask: Mask, rng: np.random.Generator) -> Mask:
    """[H,W] bool: a half-plane, or one or two bars, parallel to the axes, at random over the object."""
    erased = np.zeros_like(mask)
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    half_plane = rng.random() < 0.4
    for _ in range(1 if half_plane else int(rng.integers(1, 3))):
        across = bool(rng.integers(2))
        low, high = (rows[0], rows[-1] + 1) if across else (columns[0], columns[-1] + 1)
        if half_plane:
            cut = int(rng.uniform(low, high))
            band = slice(0, cut) if rng.integers(2) else slice(cut, None)
        else:
            width = max(1, int((high - low) * rng.uniform(0.15, 0.45)))
            start = int(rng.uniform(low, high - width + 1))
            band = slice(start, start + width)
        erased[(band, slice(None)) if across else (slice(None), band)] = True
    return erased
