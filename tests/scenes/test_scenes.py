"""Scenes: reproducible, and their ground truth is what the picture shows."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxes import BoxMeshes
from pydantic import ValidationError

from shape3d_amodal.errors import UsageError
from shape3d_amodal.scenes import compose
from shape3d_amodal.scenes import shading as shading
from shape3d_amodal.scenes.compose import Scene, SceneConfig, depth_order, make_scene
from shape3d_amodal.scenes.layout import PlacedObject

COMPOSED = SceneConfig(image_size=64, deform=0.5)
BARS = SceneConfig(kind="bars", image_size=64)
COUNT = 100


def digest(scene: Scene) -> str:
    """Of all that a scene holds, to the bit."""
    parts = [scene.image.tobytes(), repr(sorted(scene.camera.items())).encode()]
    for one in scene.instances:
        parts += [one.amodal.tobytes(), one.visible.tobytes(), f"{one.mesh} {one.category} {one.depth_order}".encode()]
    parts.append(b"" if scene.erased is None else scene.erased.tobytes())
    return hashlib.sha256(b"|".join(parts)).hexdigest()


@pytest.fixture(scope="module")
def composed(boxes: BoxMeshes) -> list[Scene]:
    return [make_scene(boxes, COMPOSED, 0, k) for k in range(COUNT)]


@pytest.fixture(scope="module")
def bars(boxes: BoxMeshes) -> list[Scene]:
    return [make_scene(boxes, BARS, 0, k) for k in range(30)]


@pytest.mark.parametrize("config", [COMPOSED, BARS], ids=["composed", "bars"])
def test_scene_depends_on_configuration_seed_and_index_alone(config: SceneConfig) -> None:
    """Another order of calls, another source object, the numpy and Python generators in other states."""
    forwards = [digest(make_scene(BoxMeshes(), config, 5, k)) for k in range(4)]
    np.random.default_rng(3).random(7)
    np.random.seed(11)
    source = BoxMeshes()
    backwards = [digest(make_scene(source, config, 5, k)) for k in reversed(range(4))]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 4
    others = [
        make_scene(source, config, 6, 0),
        make_scene(source, replace(config, deform=0.9), 5, 0),
    ]
    assert forwards[0] not in {digest(scene) for scene in others}


def test_scene_is_the_same_in_another_process() -> None:
    program = (
        "from boxes import BoxMeshes; from test_scenes import BARS, COMPOSED, digest, make_scene\n"
        "print(*(digest(make_scene(BoxMeshes(), c, 9, 3)) for c in (COMPOSED, BARS)))"
    )
    here = Path(__file__).resolve().parent
    paths = os.pathsep.join([str(here.parents[1]), str(here.parent / "helpers"), str(here)])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "77"}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=240
    )
    assert result.stdout.split() == [digest(make_scene(BoxMeshes(), config, 9, 3)) for config in (COMPOSED, BARS)]


def test_target_is_whole_and_partly_hidden(composed: list[Scene]) -> None:
    for scene in composed:
        target = scene.instances[0]
        hidden = 1 - target.visible.sum() / target.amodal.sum()
        assert 0.10 <= hidden <= 0.70
        border = np.ones_like(target.amodal)
        border[1:-1, 1:-1] = False
        assert not (target.amodal & border).any()


def test_limits_of_the_hidden_share_are_kept(boxes: BoxMeshes) -> None:
    for kind in ("composed", "bars"):
        config = SceneConfig(kind=kind, image_size=64, min_hidden=0.4, max_hidden=0.5)
        for k in range(5):
            target = make_scene(boxes, config, 1, k).instances[0]
            assert 0.4 <= 1 - target.visible.sum() / target.amodal.sum() <= 0.5


def test_pictures_and_masks_agree_in_shape(composed: list[Scene], bars: list[Scene]) -> None:
    for scene in composed + bars:
        assert scene.image.shape == (64, 64, 3)
        assert scene.image.dtype == np.uint8
        for one in scene.instances:
            assert one.amodal.shape == one.visible.shape == (64, 64)
            assert one.amodal.dtype == one.visible.dtype == np.bool_
    assert all(2 <= len(scene.instances) <= 4 for scene in composed)
    assert {len(scene.instances) for scene in composed} == {2, 3, 4}


def test_visible_masks_are_disjoint_parts_of_amodal_masks(composed: list[Scene]) -> None:
    for scene in composed:
        visible = np.stack([one.visible for one in scene.instances])
        amodal = np.stack([one.amodal for one in scene.instances])
        assert (visible <= amodal).all()
        assert visible.sum(axis=0).max() == 1
        assert visible.any(axis=(1, 2)).all()
        # Whatever pixel belongs to anything is visible of exactly one thing.
        np.testing.assert_array_equal(visible.any(axis=0), amodal.any(axis=0))


def test_nothing_in_front_means_wholly_visible(composed: list[Scene]) -> None:
    alone = 0
    for scene in composed:
        nearest = min(scene.instances, key=lambda one: one.depth_order)
        np.testing.assert_array_equal(nearest.visible, nearest.amodal)
        for one in scene.instances:
            others = [other.amodal for other in scene.instances if other is not one]
            if not (one.amodal & np.any(others, axis=0)).any():
                np.testing.assert_array_equal(one.visible, one.amodal)
                alone += 1
    assert alone > 0


def test_depth_order_is_the_order_of_occlusion(composed: list[Scene]) -> None:
    """Where two amodal masks cross and one of the two is seen, it is the one of lower rank."""
    crossings = 0
    for scene in composed:
        assert sorted(one.depth_order for one in scene.instances) == list(range(len(scene.instances)))
        for near in scene.instances:
            for far in scene.instances:
                if near.depth_order < far.depth_order:
                    assert not (near.amodal & far.visible).any()
                    crossings += bool((near.visible & far.amodal).any())
    assert crossings >= COUNT


def test_objects_do_not_intersect(boxes: BoxMeshes, monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[PlacedObject] = []
    finish = compose._finish

    def spy(drawn, camera, rng):
        placed[:] = [one.placed for one in drawn]
        return finish(drawn, camera, rng)

    monkeypatch.setattr(compose, "_finish", spy)
    for k in range(30):
        make_scene(boxes, COMPOSED, 2, k)
        for i, one in enumerate(placed):
            assert one.low[1] == 0  # on the ground
            for other in placed[:i]:
                gaps = np.maximum(one.low - other.high, other.low - one.high)
                assert max(gaps[0], gaps[2]) > 0.009


def test_bars_erase_to_white(bars: list[Scene]) -> None:
    for scene in bars:
        (target,) = scene.instances
        assert scene.erased is not None
        np.testing.assert_array_equal(target.visible, target.amodal & ~scene.erased)
        assert (scene.image[~target.visible] == 255).all()
        assert (scene.image[target.visible] < 255).any()
        assert target.depth_order == 0
    assert any(scene.erased[0].all() or scene.erased[:, 0].all() for scene in bars)


def test_composed_scenes_erase_nothing(composed: list[Scene]) -> None:
    assert all(scene.erased is None for scene in composed)


@pytest.mark.parametrize("config", [COMPOSED, BARS], ids=["composed", "bars"])
def test_target_category_is_fixed_and_the_others_are_not(config: SceneConfig, boxes: BoxMeshes) -> None:
    made = [make_scene(boxes, config, 3, k, target_category="lamp") for k in range(12)]
    assert {scene.instances[0].category for scene in made} == {"lamp"}
    assert {scene.instances[0].mesh for scene in made} == {"lamp/pole"}
    if config.kind == "composed":
        assert len({one.category for scene in made for one in scene.instances[1:]}) >= 3


def test_balance(boxes: BoxMeshes) -> None:
    """Two of the six meshes are chairs: by mesh they are a third, by category a fifth of the targets."""

    def share(balance: bool) -> float:
        config = replace(BARS, image_size=32, balance=balance)
        return float(np.mean([make_scene(boxes, config, 0, k).instances[0].category == "chair" for k in range(150)]))

    assert share(True) == pytest.approx(1 / 5, abs=0.1)
    assert share(False) == pytest.approx(1 / 3, abs=0.1)


@pytest.mark.parametrize("kind", ["composed", "bars"])
@pytest.mark.parametrize("limits", [{"min_hidden": 0.8, "max_hidden": 0.2}, {"min_hidden": 0.7, "max_hidden": 0.69}])
def test_impossible_scenes_end_in_an_error(
    kind: str, limits: dict[str, float], boxes: BoxMeshes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose, "_TRIES", 20)
    with pytest.raises(UsageError, match=r"none of 20 random scenes .* widen"):
        make_scene(boxes, SceneConfig(kind=kind, **{"image_size": 32, **limits}), 0, 0)


@pytest.mark.parametrize(
    "limits", [{"image_size": 2}, {"min_hidden": -0.1}, {"max_hidden": 1.1}, {"deform": -1.0}, {"kind": "cubes"}]
)
def test_scenes_that_make_no_sense_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SceneConfig(**limits)


INF = np.inf


@pytest.mark.parametrize(
    ("depths", "expected"),
    [
        ([[1, 1, INF], [INF, 2, 2]], [0, 1]),
        ([[2, 2, INF], [INF, 1, 1]], [1, 0]),
        ([[5, INF, INF], [INF, 2, INF], [INF, INF, 3]], [2, 0, 1]),  # they do not meet: by median depth
        ([[INF, 3, 3], [2, 2, INF], [1, INF, INF]], [2, 1, 0]),
        ([[INF, INF], [1, 1]], [1, 0]),  # not in the picture at all: last
        # In a circle each hides the next: of the two that lose one pixel, the one of nearer median comes first.
        ([[1, INF, 2, 2], [2, 1, INF, INF], [INF, 2, 1, 1]], [1, 2, 0]),
        ([[4, 4]], [0]),
        ([], []),
    ],
)
def test_depth_order_of_known_depths(depths: list[list[float]], expected: list[int]) -> None:
    assert depth_order([np.array([row], np.float32) for row in depths]) == expected


def test_hidden_share_counts_what_is_nearer() -> None:
    def drawn(*depths: float) -> compose._Drawn:
        depth = np.array([depths], np.float32)
        return compose._Drawn(None, depth, np.where(np.isfinite(depth), 0, -1))

    target, front, behind = drawn(2, 2, 2, 2, INF), drawn(1, INF, INF, INF, 1), drawn(3, 3, 3, 1, 3)
    assert compose._hidden_share(target, []) == 0
    assert compose._hidden_share(target, [front]) == 0.25
    assert compose._hidden_share(target, [front, behind]) == 0.5
    assert compose._hidden_share(target, [front, front]) == 0.25


def test_normals() -> None:
    verts = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0]], np.float32)
    found = shading.normals(verts, np.array([[0, 1, 2], [0, 2, 1], [0, 1, 1]], np.int32))
    np.testing.assert_allclose(found, [[0, 0, 1], [0, 0, -1], [0, 0, 0]])


def test_light_shines_on_both_sides() -> None:
    light = shading.Light(np.random.default_rng(0))
    normal = np.array([[0, 0, 1], [0, 0, -1]], np.float32)
    lit = light.on(normal)
    np.testing.assert_array_equal(lit[0], lit[1])
    assert (lit >= light.ambient).all()
    np.testing.assert_allclose(light.on(light.direction[None])[0], light.ambient + light.color, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_smooth_noise_interpolates(seed: int) -> None:
    noise = shading.smooth_noise(30, 3, np.random.default_rng(seed))
    grid = np.random.default_rng(seed).uniform(-1, 1, (4, 4))
    np.testing.assert_allclose(noise[::10, ::10], grid[:3, :3], atol=1e-5)
    np.testing.assert_allclose(noise[5, 0], (grid[0, 0] + grid[1, 0]) / 2, atol=1e-5)


def test_pictures_vary(composed: list[Scene]) -> None:
    means = np.array([scene.image.mean(axis=(0, 1)) for scene in composed])
    assert means.std(axis=0).min() > 10
    assert all(scene.image.std() > 3 for scene in composed)


def test_objects_have_the_colours_of_their_faces(boxes: BoxMeshes) -> None:
    """Without noise, all visible pixels of one face have one colour."""
    mesh = boxes.load("chair/four_legs")
    face = np.full((4, 4), -1, np.int32)
    face[1:3, 1:3] = [[0, 0], [12, 12]]
    paint = shading.paint(mesh, np.random.default_rng(0))
    picture = np.zeros((4, 4, 3), np.float32)
    light = shading.Light(np.random.default_rng(1))
    shading.shade(picture, face >= 0, face, PlacedObject(mesh, mesh.verts, 0.0), paint, light)
    lit = paint * light.on(shading.normals(mesh.verts, mesh.faces))
    np.testing.assert_array_equal(picture[1, 1:3], lit[[0, 0]])
    np.testing.assert_array_equal(picture[2, 1:3], lit[[12, 12]])
    assert not picture[face < 0].any()
    assert paint.shape == (len(mesh.faces), 3)
    assert 0 < paint.min() <= paint.max() <= 1
