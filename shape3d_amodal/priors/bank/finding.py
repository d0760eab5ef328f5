"""The poses of known meshes that explain the certain pixels of one object, coarse to fine.

Templates suggest poses; those whose silhouettes agree best with the window's pixels have their contours fitted on
coarser and finer pixels, and fewer are kept each time. While none explains all there is, the search goes on from jumps
(a half or a quarter turn, a little noise) and from templates farther down the list. The best poses end by evolution on
the image's own pixels, where hard silhouettes are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.config import Count, Share, configuration
from shape3d_amodal.crops.pixels import PixelWindow
from shape3d_amodal.errors import UsageError, counted
from shape3d_amodal.meshes.mesh import FilePlace
from shape3d_amodal.priors.bank.contour_fit import FARTHEST, FREE, NEAREST, PoseBeliefs, fit_contours, pixel_steps
from shape3d_amodal.priors.bank.distinct import distinct
from shape3d_amodal.priors.bank.evolution import Evolution
from shape3d_amodal.priors.bank.placing import place
from shape3d_amodal.priors.bank.poses import ASPECT, CX, CY, DISTANCE, SCALE, Level, MeshTable, Poses, U, V, rotations
from shape3d_amodal.priors.bank.shapes import BankShapes
from shape3d_amodal.priors.bank.templates import views_of
from shape3d_amodal.priors.interface import ViewsName


@configuration
class FindConfig:
    """The search for poses."""

    views: ViewsName = "upright"
    """How objects may stand before the camera: upright, tabletop or all (any rotation)."""
    suggested: Count = 2000
    """Templates, as they were placed, whose silhouettes are compared with the window's pixels; the best are fitted."""
    placed: Count = 64
    """Templates whose contours are fitted first."""
    more: Annotated[int, Field(ge=0)] = 128
    """Templates that follow where these do not explain the object."""
    jumps: Annotated[int, Field(ge=0)] = 48
    """Poses near the best ones, or turned against them, that are tried in between."""
    kept: Count = 8
    """Poses that are kept of each list."""
    good: Share = 0.985
    """Certain-pixel IoU from which on the search is at its end."""
    evolved: Count = 4
    """Poses that end by evolution."""
    generations: Annotated[int, Field(ge=0)] = 40
    """Generations of it, 8 silhouettes each; for the best half, from the first third on."""
    largest_px: Count = 160
    """Side, at most, of the grid of image pixels that poses are compared on; larger windows take every second pixel, or
    fewer."""
    distance: Annotated[float, Field(gt=0)] = 3.3
    """Likely distance of the camera in diagonals of the object, where no intrinsics are known."""


_ROLL_WEIGHT: dict[ViewsName, float] = {"upright": 0.5, "tabletop": 0.0, "all": 0.0}
_COMPARED_PX, _PLACED_TOO = 128, 1e-3
"""Pixels across the window on which placed templates are compared, and the weight that their place's score keeps."""
_FEW, _LONGEST = 32, 4
"""For each so many meshes a list of templates is fitted, up to so many lists."""
_REACH = 1.0
"""Sides of the window by which what is compared reaches beyond it, at most."""
_WIDER = 1.5
"""By so much more than ``largest_px`` a grid may have where poses reach beyond the window."""
_SAMPLES = 8
_SPREAD = np.array([0.12, 0.12, 0.12, 0.05, 0.025, 0.025, 0.2])
"""Standard deviations of noise: rotation (radians), log-scale, place (in units of the object), log-distance."""
_FINE = 0.5
"""Samples by which the contour moves at evolution's start."""
_BOUND = np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 1.5])
"""Farthest that these numbers move a pose at once."""
_TURNS = np.radians([180.0, 90.0, -90.0, 30.0, -30.0, 15.0, -15.0])
"""Turns about the object's up axis that are tried."""
_PERFECT, _STILL, _GAIN = 0.999, 10, 2e-4
"""Evolution ends at such a score, or where in so many generations it has gained no more."""


@dataclass(frozen=True, eq=False, repr=False)
class Found(ArrayFields):
    """What was found.

    Attributes:
        poses: the best first.
        meshes: the table that they index, of nearly all faces; ``coarse``: the same with few.
        names: the meshes' names in their source; ``places``: where each lies in its file.
        level: the grid on which scores were counted.
        window: the object's; ``level`` may reach beyond it.
    """

    poses: Poses
    meshes: MeshTable
    coarse: MeshTable
    names: tuple[str, ...]
    places: tuple[FilePlace, ...]
    level: Level
    window: PixelWindow

    def surface(self, index: int, *, coarse: bool = False) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Vertices [V,3] float32 and faces [F,3] int64 of the mesh of pose ``index``."""
        table, m = (self.coarse if coarse else self.meshes), int(self.poses.mesh[index])
        verts = table.verts[table.first_vert[m] : table.first_vert[m + 1]]
        return verts, table.faces[table.first_face[m] : table.first_face[m + 1]].astype(np.int64)


def find(
    shapes: BankShapes, window: PixelWindow, config: FindConfig, *, without: frozenset[str] = frozenset()
) -> Found:
    """The poses of the shapes of one category that explain an object best.

    Args:
        shapes: the category's.
        window: what is known of the object.
        config: the search.
        without: names of meshes that are left out.

    Returns:
        At least one pose, the best first. The same arguments give the same poses, bit by bit.

    Raises:
        UsageError: ``without`` leaves no mesh.
    """
    return _Search(shapes, window, config, without).run()


class _Search:
    def __init__(self, shapes: BankShapes, window: PixelWindow, config: FindConfig, without: frozenset[str]) -> None:
        self._window, self._config = window, config
        focal = None if window.intrinsics is None else window.intrinsics[1]
        self._beliefs = PoseBeliefs(config.distance, roll_weight=_ROLL_WEIGHT[config.views], focal=focal)
        self._rng = np.random.default_rng(window.side)
        self._stride = max(1, -(-window.side // config.largest_px))
        listed = [i for i, name in enumerate(shapes.names) if name not in without]
        if not listed:
            raise UsageError(f"without: leaves none of {counted(len(shapes.names), 'mesh', 'meshes')}; leave one in")
        self._times = self._lists(len(listed))
        placed = place(
            [shapes.templates[i] for i in listed],
            views_of(config.views),
            window,
            self._beliefs,
            max(config.suggested, config.placed + config.more) * self._times,
        )
        # Only meshes that a template suggests are needed from here on.
        suggested, mesh = np.unique(placed.mesh, return_inverse=True)
        chosen = [listed[i] for i in suggested] or listed[:1]
        self._suggested = Poses(mesh, placed.rows, placed.score)
        self._shapes, self._chosen = shapes, chosen
        self._names = tuple(shapes.names[i] for i in chosen)
        self._places = tuple(shapes.source.load(name).place for name in self._names)
        self._coarse = MeshTable.of([shapes.coarse(i) for i in chosen])
        self._fine = MeshTable.of([shapes.fine(i) for i in chosen])
        count = (config.placed + config.more) * self._times
        compared = self._compared(self._suggested)
        self._suggested = compared.best(count) if config.views == "upright" else compared.mixed(count)

    def run(self) -> Found:
        config = self._config
        count = config.placed * self._times
        first, rest = self._suggested[:count], self._suggested[count:]
        if not len(first):
            first = self._filling()
        poses = self._distinct(self._fit(first))
        if poses.score[0] < config.good and config.jumps:
            poses = self._distinct(Poses.join([poses, self._fit(self._jumps(poses))]))
        if poses.score[0] < config.good and len(rest):
            poses = self._distinct(Poses.join([poses, self._fit(rest)]))
        if config.generations:
            poses = self._distinct(Poses.join([self._evolve(poses[: config.evolved]), poses]))
        level = self._level(self._stride, self._fine, poses)
        return Found(poses, self._fine, self._coarse, self._names, self._places, level, self._window)

    @staticmethod
    def _lists(meshes: int) -> int:
        """How many times as many templates are fitted as for a few meshes."""
        return min(1 + meshes // _FEW, _LONGEST)

    def _level(self, stride: int, meshes: MeshTable, poses: Poses) -> Level:
        """Every ``stride``-th pixel, or fewer, of the window, and of the image beyond it as far as the poses reach."""
        x0, y0, x1, y1 = self._window.box
        reach = self._window.side * _REACH
        boxes = np.clip(meshes.boxes(poses), [x0 - reach, y0 - reach] * 2, [x1 + reach, y1 + reach] * 2)
        region = self._window.holding(boxes)
        return Level(region, max(stride, -(-region.side // round(_WIDER * self._config.largest_px))))

    def _compared(self, placed: Poses) -> Poses:
        """Placed templates with scores that are finer than the grid they were placed on.

        Where little of an object is visible, that is a few samples of the grid, and hundreds of templates hold them.
        """
        stride = max(self._stride, round(self._window.side / _COMPARED_PX))
        level = self._level(stride, self._coarse, placed)
        score = level.overlap(self._coarse, placed.mesh, placed.rows) - self._beliefs.loss(placed.rows)
        return Poses(placed.mesh, placed.rows, score + _PLACED_TOO * placed.score)

    def _filling(self) -> Poses:
        """Where no template can hold what is visible: the first mesh in the window's middle, seen from the front."""
        rows = np.zeros((1, 16), np.float32)
        rows[0, [0, 4, 8]] = 1, -1, -1
        middle = self._window.side / 2
        rows[0, 9:] = self._window.side, self._window.left + middle, self._window.top + middle, 4, 0, 0, 1
        rows[0, [CX, CY]] = self._window.principal
        rows[0, ASPECT] = self._window.aspect
        if self._beliefs.focal is not None:
            rows[0, DISTANCE] = self._beliefs.focal / rows[0, SCALE]
        return Poses(np.zeros(1, np.int64), rows, np.zeros(1))

    def _fit(self, poses: Poses) -> Poses:
        """Contours fitted on coarser and finer pixels; the best ``kept``."""
        kept, side = self._config.kept, self._window.side
        coarse, middle = (max(self._stride, round(side / pixels)) for pixels in (32, 64))
        level = self._level(coarse, self._coarse, poses)
        poses = fit_contours(self._coarse, poses, level, self._beliefs, steps=6, robust=False)
        poses = poses.best(max(3 * kept, len(poses) // 2))
        level = self._level(middle, self._coarse, poses)
        poses = fit_contours(self._coarse, poses, level, self._beliefs, steps=8, robust=False).best(kept)
        level = self._level(self._stride, self._fine, poses)
        poses = fit_contours(self._fine, poses, level, self._beliefs, steps=5, robust=True).best(kept)
        half = (len(poses) + 1) // 2
        better = fit_contours(self._fine, poses[:half], level, self._beliefs, steps=8, robust=True)
        return Poses.join([better, poses[half:]])

    def _distinct(self, poses: Poses) -> Poses:
        """The best first, without those that are all but the same as a better one; at most twice ``kept``."""
        poses = self._scored(poses)
        return distinct(poses, lambda mesh: self._shapes.symmetries(self._chosen[mesh]), 2 * self._config.kept)

    def _scored(self, poses: Poses) -> Poses:
        """The best first, by scores that count the same pixels for all."""
        level = self._level(self._stride, self._fine, poses)
        if level.window is not self._window:
            score = level.overlap(self._fine, poses.mesh, poses.rows) - self._beliefs.loss(poses.rows)
            poses = Poses(poses.mesh, poses.rows, score)
        return poses.best(len(poses))

    def _jumps(self, poses: Poses) -> Poses:
        """Poses near the best four and turned against them."""
        starts = poses[:4]
        each = self._config.jumps // len(starts)
        noise = self._rng.standard_normal((len(starts), each, FREE)) * 1.7 * _SPREAD
        turns = np.zeros(each)
        turns[: len(_TURNS)] = _TURNS[:each]
        noise[:, : len(_TURNS)] *= 0.3
        if _ROLL_WEIGHT[self._config.views]:
            noise[:, :, 2] *= 0.3
        cosine, sine, zero = np.cos(turns), np.sin(turns), np.zeros(each)
        about_up = np.stack([cosine, zero, sine, zero, zero + 1, zero, -sine, zero, cosine], axis=1).reshape(-1, 3, 3)
        row = np.repeat(np.arange(len(starts)), each)
        turned = starts.rotation[row].astype(np.float64) @ np.tile(about_up, (len(starts), 1, 1))
        rows = starts.rows[row].copy()
        rows[:, :9] = turned.reshape(-1, 9)
        return Poses(starts.mesh[row], self._moved(rows, noise.reshape(-1, FREE)), np.zeros(len(row)))

    def _moved(self, rows: NDArray[np.float32], by: NDArray[np.float64]) -> NDArray[np.float32]:
        """Poses [K,POSE] moved by K times the numbers that are fitted (``contour_fit.FREE``)."""
        result = rows.copy()
        by = np.clip(by, -_BOUND, _BOUND)
        turned = rotations(by[:, :3]) @ rows[:, :9].reshape(-1, 3, 3).astype(np.float64)
        result[:, :9] = turned.reshape(-1, 9)
        result[:, [U, V]] += by[:, 4:6] * rows[:, SCALE, None]
        result[:, SCALE] *= np.exp(by[:, 3])
        if self._beliefs.focal is not None:
            focal = self._beliefs.focal
            result[:, SCALE] = np.clip(result[:, SCALE], focal / FARTHEST, focal / NEAREST)
            result[:, DISTANCE] = focal / result[:, SCALE]
        else:
            result[:, DISTANCE] *= np.exp(by[:, 6])
        return result

    def _evolve(self, starts: Poses) -> Poses:
        """The best poses that evolution finds from each start, with those of the halfway."""
        level = self._level(self._stride, self._fine, starts)
        row = np.arange(len(starts))
        axes = _FINE * pixel_steps(self._fine, starts, level, self._beliefs)
        search = Evolution(axes, _SAMPLES, self._rng)

        def scores_of(rows: NDArray[np.int64]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
            return lambda places: self._score(level, starts, np.repeat(rows, _SAMPLES), places)

        dropped: list[Poses] = []
        reached: list[float] = []
        for generation in range(self._config.generations):
            if generation == self._config.generations // 3 and len(search) > 1:
                order = np.argsort(-search.best, kind="stable")
                half = (len(order) + 1) // 2
                dropped.append(self._ends(search, starts, row)[order[half:]])
                search.keep(order[:half])
                row = row[order[:half]]
            search.step(scores_of(row))
            reached.append(float(search.best.max()))
            if reached[-1] > _PERFECT or (generation >= _STILL and reached[-1] - reached[-1 - _STILL] < _GAIN):
                break
        return Poses.join([self._ends(search, starts, row), *dropped])

    def _score(
        self, level: Level, starts: Poses, row: NDArray[np.int64], places: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        by = np.zeros((len(row), FREE))
        by[:, : places.shape[-1]] = places.reshape(len(row), -1)
        rows = self._moved(starts.rows[row], by)
        value = level.overlap(self._fine, starts.mesh[row], rows) - self._beliefs.loss(rows)
        return value.reshape(places.shape[:2])

    def _ends(self, search: Evolution, starts: Poses, row: NDArray[np.int64]) -> Poses:
        by = np.zeros((len(row), FREE))
        by[:, : search.place.shape[1]] = search.place
        return Poses(starts.mesh[row], self._moved(starts.rows[row], by), search.best.copy())
