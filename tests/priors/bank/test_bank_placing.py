"""Placed templates: hardly worse than a search through all sizes and shifts, and posed where they were placed."""

from __future__ import annotations

import numpy as np
import pytest
from boxes import PARTS, box_mesh
from pinhole import View, iou, turned, view, window_of
from scipy.signal import fftconvolve
from scipy.spatial.transform import Rotation

from shape3d_amodal.crops.pixels import OUTSIDE, UNKNOWN, VISIBLE, PixelWindow
from shape3d_amodal.priors.bank import bits
from shape3d_amodal.priors.bank.contour_fit import PoseBeliefs
from shape3d_amodal.priors.bank.placing import place
from shape3d_amodal.priors.bank.poses import ASPECT, CX, CY, DISTANCE, SCALE, Level, MeshTable, Poses, U, V
from shape3d_amodal.priors.bank.templates import SIZES, Templates, Views, draw_templates, views_of

FEW = Views(np.stack([turned(a, e) for e in (10, 35) for a in (0, 50, 160)]).astype(np.float32), np.zeros(1))


def templates_of(name: str, views: Views) -> Templates:
    mesh = box_mesh(PARTS[name])
    return draw_templates(mesh.verts, mesh.faces.astype(np.int64), views)


def half_hidden(seen: View, name: str, share: float = 0.5) -> PixelWindow:
    """An object whose left ``share`` is behind something, in its window."""
    mask = seen.mask(box_mesh(PARTS[name]))
    columns = np.nonzero(mask.any(axis=0))[0]
    hiding = np.zeros_like(mask)
    hiding[:, : columns[0] + round(share * len(columns))] = True
    return window_of(mask & ~hiding, hiding)


def brute(drawn: Templates, view: int, visible: np.ndarray, possible: np.ndarray) -> float:
    """The best score of one view over all sizes and shifts within the grid; there is only one roll."""
    record, best = drawn.views[view], 0.0
    for s in range(len(SIZES)):
        start, height, width = (record[name][s] for name in ("start", "height", "width"))
        own = bits.unpack(drawn.bits[start : start + height, None], 64)[::-1, :width][:, ::-1].astype(float)
        inside, free = (np.rint(fftconvolve(mask.astype(float), own, "valid")) for mask in (visible, possible))
        best = max(best, float((inside / (visible.sum() + own.sum() - free)).max()))
    return best


def test_no_size_and_shift_is_much_better() -> None:
    """Of long spans every second shift is tried: of thin parts something is lost, of a box hardly anything."""
    lost, lost_at_the_top = [], []
    for name in PARTS:
        drawn = templates_of(name, FEW)
        for seed in range(2):
            rng = np.random.default_rng(seed)
            seen = view(rng.uniform(0, 360), rng.uniform(5, 40), pixels=50, height=64, width=64)
            state = np.where(seen.mask(box_mesh(PARTS[name])), VISIBLE, OUTSIDE).astype(np.uint8)
            state[:, : 15 + 15 * seed] = UNKNOWN
            window = PixelWindow(state, 0, 0, (32.0, 32.0))
            # The grid has 32 samples over the window, each the mean of 2 x 2 pixels here, and 16 more on each side.
            visible, possible = (
                mask.reshape(32, 2, 32, 2).mean(axis=(1, 3)) for mask in (state == VISIBLE, state != OUTSIDE)
            )
            visible, possible = np.pad(visible, 16) > 0.5, np.pad(possible, 16, mode="edge") > 0.5
            best = [brute(drawn, v, visible, possible | visible) for v in range(len(FEW.rotation))]
            found = place([drawn], FEW, window, PoseBeliefs(), 99)
            score = np.zeros(len(best))
            looks = np.einsum("kij,vij->kv", found.rotation, FEW.rotation).argmax(axis=1)
            score[looks] = found.score
            assert (score <= np.array(best) + 1e-6).all()
            lost_at_the_top.append(max(best) - score.max())
            if name == "dresser/box":
                lost += (np.array(best) - score).tolist()
    assert np.mean(lost_at_the_top) < 0.06 and max(lost_at_the_top) < 0.25
    assert np.mean(lost) < 0.01 and max(lost) < 0.05


@pytest.mark.parametrize("name", PARTS)
def test_a_silhouette_that_is_a_template_is_found_to_the_sample(name: str) -> None:
    """Of any size that has background on each side."""
    drawn = templates_of(name, FEW)
    for v, record in enumerate(drawn.views):
        for s in range(0, len(SIZES) - 4, 2):
            start, height, width = (record[part][s] for part in ("start", "height", "width"))
            state = np.full((32, 32), OUTSIDE, np.uint8)
            own = bits.unpack(drawn.bits[start : start + height, None], 64)[:, :width]
            if not (own[:2].any() and own[-2:].any() and own[:, :2].any() and own[:, -2:].any()):
                continue  # a thin part that ends its box has no samples
            state[3 : 3 + height, 4 : 4 + width] = np.where(own, VISIBLE, OUTSIDE)
            window = PixelWindow(np.kron(state, np.ones((2, 2), np.uint8)), 10, 20, (42.0, 52.0))
            found = place([drawn], FEW, window, PoseBeliefs(), 1)
            assert found.score[0] == 1, (v, s)


def masks_of(name: str, poses: Poses, window: PixelWindow) -> np.ndarray:
    mesh = box_mesh(PARTS[name])
    return Level(window, 1).masks(MeshTable.of([(mesh.verts, mesh.faces)]), poses.mesh * 0, poses.rows)


@pytest.mark.parametrize(("place_at", "first"), [((0.0, 0.0), 24), ((0.2, -0.12), 64)])
@pytest.mark.parametrize("name", ["dresser/box", "chair/one_arm", "table/one_leg"])
def test_the_right_pose_is_among_the_first(name: str, place_at: tuple[float, float], first: int) -> None:
    """Also off the optical axis, where an object that looks the same is turned with the ray; but it looks slanted."""
    views = views_of("upright")
    for azimuth, elevation in ((72, 22), (33, 12), (-120, 30)):
        seen = view(azimuth, elevation, place=place_at, pixels=80, height=200, width=300)
        window = half_hidden(seen, name, 0.3)
        found = place([templates_of(name, views)], views, window, PoseBeliefs(), first)
        assert (np.diff(found.score) <= 0).all() and found.score[0] > 0.8
        (truth,) = masks_of(name, Poses(np.zeros(1, np.int64), seen.row[None], np.zeros(1)), window)
        turn = Rotation.from_matrix(found.rotation @ seen.rotation.T).magnitude()
        near = np.nonzero(np.degrees(turn) < 12)[0]
        assert len(near)
        assert max(iou(mask, truth) for mask in masks_of(name, found[near], window)) > 0.55


def test_a_pose_draws_the_template_where_it_was_placed() -> None:
    """On the optical axis, before a camera as far away as templates are drawn from, its score is nearly the overlap."""
    views = Views(FEW.rotation, np.radians([0.0, 90.0, 180.0, 270.0]))
    drawn = templates_of("chair/one_arm", views)
    seen = view(50, 10, 90, distance=4.0, pixels=200, height=256, width=256)
    window = half_hidden(seen, "chair/one_arm", 0.3)
    found = place([drawn], views, window, PoseBeliefs(distance=4.0), 3)
    level = Level(window, 1)
    mesh = box_mesh(PARTS["chair/one_arm"])
    overlap = level.overlap(MeshTable.of([(mesh.verts, mesh.faces)]), found.mesh, found.rows)
    assert found.score[0] > 0.85
    np.testing.assert_allclose(overlap, found.score, atol=0.1)


@pytest.mark.parametrize("roll", [90, 180, -90])
def test_a_picture_that_is_turned_is_found_among_all_views(roll: float) -> None:
    views = views_of("all")
    seen = view(40, 20, roll, pixels=80)
    window = half_hidden(seen, "chair/one_arm", 0.3)
    found = place([templates_of("chair/one_arm", views)], views, window, PoseBeliefs(), 24)
    turn = Rotation.from_matrix(found.rotation @ seen.rotation.T).magnitude()
    assert np.degrees(turn).min() < 16
    upright = views_of("upright")
    other = place([templates_of("chair/one_arm", upright)], upright, window, PoseBeliefs(), 24)
    assert other.score[0] < found.score[0] - 0.05


def test_meshes_are_told_apart() -> None:
    views = views_of("upright")
    names = ["dresser/box", "chair/one_arm", "lamp/pole"]
    found = place(
        [templates_of(name, views) for name in names], views, half_hidden(view(72, 22), names[1]), PoseBeliefs(), 5
    )
    assert found.mesh[0] == 1


def test_numbers_of_the_camera() -> None:
    """Without intrinsics the distance is the likely one; with them the focal length and the scale decide it."""
    seen = view(50, 10, place=(0.2, -0.1), aspect=1.1)
    mask = seen.mask(box_mesh(PARTS["dresser/box"]))
    drawn, nothing = templates_of("dresser/box", FEW), np.zeros_like(mask)
    found = place([drawn], FEW, window_of(mask, nothing), PoseBeliefs(distance=2.5), 3)
    assert (found.rows[:, [DISTANCE, CX, CY, ASPECT]] == [2.5, 80, 60, 1]).all()
    camera = seen.camera
    found = place([drawn], FEW, window_of(mask, nothing, camera), PoseBeliefs(focal=camera[1]), 3)
    np.testing.assert_allclose(found.rows[:, DISTANCE], camera[1] / found.rows[:, SCALE], rtol=1e-5)
    np.testing.assert_allclose(found.rows[:, [CX, CY]], [camera[2:]] * 3)
    np.testing.assert_allclose(found.rows[:, ASPECT], 1.1, rtol=1e-6)
    np.testing.assert_allclose(found.rows[0, [U, V]], seen.row[[U, V]], atol=8)


def test_an_object_may_go_on_beyond_the_window() -> None:
    """What is unknown at the window's border is unknown beyond it, so that half a box may lie there."""
    state = np.full((64, 64), OUTSIDE, np.uint8)
    state[16:48, :20], state[16:48, :4] = VISIBLE, UNKNOWN
    views = views_of("upright")
    window = PixelWindow(state, 0, 0, (32.0, 32.0))
    found = place([templates_of("sofa/bench", views)], views, window, PoseBeliefs(), 3)
    assert found.score[0] > 0.85 and found.rows[0, U] < 6


def test_an_object_of_other_proportions_has_a_place_all_the_same() -> None:
    """Three times as wide as any template is, and nothing hides it."""
    state = np.full((64, 64), OUTSIDE, np.uint8)
    state[27:37, 4:60] = VISIBLE
    views = views_of("upright")
    names = ["lamp/pole", "dresser/box"]
    window = PixelWindow(state, 0, 0, (32.0, 32.0))
    found = place([templates_of(name, views) for name in names], views, window, PoseBeliefs(), 9)
    assert len(found) == 9 and found.score[0] > 0.2 and found.mesh[0] == 1


@pytest.mark.parametrize("state", [OUTSIDE, VISIBLE, UNKNOWN])
def test_windows_that_are_all_the_same(state: int) -> None:
    """Nothing is suggested where no template can hold what is visible; never anything that is not finite."""
    window = PixelWindow(np.full((50, 50), state, np.uint8), 3, 4, (25.0, 25.0))
    found = place([templates_of("dresser/box", FEW)], FEW, window, PoseBeliefs(), 9)
    assert np.isfinite(found.rows).all() and len(found) <= 9
    assert (found.score > 0).all()


def test_a_pole_that_is_thinner_than_a_sample() -> None:
    """A column of one pixel of 64: what touches a sample counts."""
    state = np.full((64, 64), OUTSIDE, np.uint8)
    state[10:50, 31] = VISIBLE
    views = views_of("upright")
    found = place([templates_of("lamp/pole", views)], views, PixelWindow(state, 0, 0, (32.0, 32.0)), PoseBeliefs(), 5)
    assert len(found) == 5
    assert (abs(found.rows[:, U] - 32) < 6).all() and (abs(found.rows[:, V] - 30) < 12).all()
