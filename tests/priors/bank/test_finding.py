"""The search for poses, on masks that a renderer drew with a pinhole camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxes import ARMCHAIR, PARTS, BoxMeshes, box_mesh
from pinhole import View, iou, turned, view, window_of
from scipy.spatial.transform import Rotation

from shape3d_amodal.crops.pixels import OUTSIDE, UNKNOWN, VISIBLE, PixelWindow
from shape3d_amodal.errors import UsageError
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.priors.bank.finding import FindConfig, Found, find
from shape3d_amodal.priors.bank.poses import DISTANCE, Level
from shape3d_amodal.priors.bank.shapes import BankShapes, ShapeBank

BANK = ShapeBank(BoxMeshes())
QUICK = FindConfig(placed=16, more=16, jumps=8, kept=4, evolved=2, generations=6)


def shapes_of(name: str, config: FindConfig = FindConfig()) -> BankShapes:  # noqa: B008
    return BANK.shapes(name.partition("/")[0], config.views)


def mask_of(found: Found, window: PixelWindow, height: int, width: int) -> np.ndarray:
    """The best pose's mask in the image."""
    (own,) = Level(window, 1).masks(found.meshes, found.poses.mesh[:1], found.poses.rows[:1])
    around = np.zeros((height + 2 * window.side, width + 2 * window.side), bool)
    top, left = window.top + window.side, window.left + window.side
    around[top : top + window.side, left : left + window.side] = own
    return around[window.side : -window.side, window.side : -window.side]


def hide(mask: np.ndarray, axis: int, low: float, high: float) -> np.ndarray:
    """A bar over the whole image from ``low`` to ``high`` of a mask's extent along the columns (1) or rows (0)."""
    along = np.nonzero(mask.any(axis=1 - axis))[0]
    bar = np.zeros_like(mask)
    at = slice(along[0] + round(low * len(along)), along[0] + round(high * len(along)))
    bar[(slice(None), at) if axis else (at, slice(None))] = True
    return bar


def some_view(seed: int, **changes: float) -> View:
    rng = np.random.default_rng(seed)
    numbers = {"distance": rng.uniform(2, 6), "place": tuple(rng.uniform(-0.1, 0.1, 2)), "pixels": 80}
    size = {"height": 200, "width": 260}
    return view(rng.uniform(0, 360), rng.uniform(5, 40), **{**numbers, **size, **changes})


def named(found: Found) -> str:
    return found.names[found.poses.mesh[0]]


@pytest.mark.parametrize("camera_known", [False, True])
@pytest.mark.parametrize(
    ("name", "bar", "mean"),
    [
        ("dresser/box", (1, 0.25, 0.75), 0.97),
        ("sofa/bench", (1, 0.25, 0.75), 0.97),
        ("table/one_leg", (1, 0.25, 0.75), 0.9),
        ("lamp/pole", (0, 0.3, 0.7), 0.85),
    ],
)
def test_what_is_hidden_in_the_middle_is_found(
    name: str, bar: tuple[int, float, float], mean: float, camera_known: bool
) -> None:
    whole = []
    for seed in range(2):
        seen = some_view(seed)
        truth = seen.mask(box_mesh(PARTS[name]))
        hiding = hide(truth, *bar)
        window = window_of(truth & ~hiding, hiding, seen.camera if camera_known else None)
        found = find(shapes_of(name), window, FindConfig())
        whole.append(iou(mask_of(found, window, *truth.shape), truth))
        assert found.poses.score[0] > 0.95
    assert np.mean(whole) > mean


@pytest.mark.parametrize("name", ["chair/one_arm", "chair/four_legs"])
def test_the_right_one_of_two_chairs_is_found(name: str) -> None:
    """Its lower half is hidden, and one sees whether it has an arm."""
    whole = []
    for azimuth, elevation, camera_known in ((-130, 12, False), (-30, 25, True), (70, 12, True)):
        seen = view(azimuth, elevation, distance=3, place=(0.05, 0.04), pixels=80, height=200, width=260)
        truth = seen.mask(box_mesh(PARTS[name]))
        bar = hide(truth, 0, 0.55, 9)
        window = window_of(truth & ~bar, bar, seen.camera if camera_known else None)
        found = find(shapes_of(name), window, FindConfig())
        assert named(found) == name and found.poses.score[0] > 0.98
        whole.append(iou(mask_of(found, window, *truth.shape), truth))
    assert np.mean(whole) > 0.95 and min(whole) > 0.85


def test_meshes_that_are_left_out_are_not_found() -> None:
    seen = some_view(0)
    truth = seen.mask(box_mesh(ARMCHAIR))
    window = window_of(truth, np.zeros_like(truth))
    shapes = shapes_of("chair")
    assert named(find(shapes, window, QUICK)) == "chair/one_arm"
    without = find(shapes, window, QUICK, without=frozenset(["chair/one_arm"]))
    assert without.names == ("chair/four_legs",)
    with pytest.raises(UsageError, match="without: leaves none of 2 meshes"):
        find(shapes, window, QUICK, without=frozenset(shapes.names))


def test_the_same_question_has_the_same_answer_to_the_bit() -> None:
    seen = some_view(1)
    truth = seen.mask(box_mesh(ARMCHAIR))
    bar = hide(truth, 1, 0.0, 0.5)
    window = window_of(truth & ~bar, bar)
    first, again = (find(ShapeBank(BoxMeshes()).shapes("chair", "upright"), window, QUICK) for _ in range(2))
    assert first.poses == again.poses and first.meshes == again.meshes and first.names == again.names


def test_the_poses_are_the_best_first_and_no_two_alike() -> None:
    seen = some_view(2)
    truth = seen.mask(box_mesh(ARMCHAIR))
    window = window_of(truth, np.zeros_like(truth))
    poses = find(shapes_of("chair"), window, FindConfig()).poses
    assert (np.diff(poses.score) <= 0).all() and len(poses) <= 24
    for i in range(len(poses)):
        for j in range(i):
            if poses.mesh[i] == poses.mesh[j]:
                turn = Rotation.from_matrix(poses.rotation[i].T @ poses.rotation[j]).magnitude()
                farther = abs(np.log(poses.rows[i, DISTANCE] / poses.rows[j, DISTANCE]))
                assert turn > 0.049 or farther > 0.099


@pytest.mark.parametrize("camera_known", [False, True])
@pytest.mark.parametrize("kind", ["all visible", "all outside", "all unknown", "one pixel", "two corners", "noise"])
def test_windows_that_nothing_explains_have_a_pose_all_the_same(kind: str, camera_known: bool) -> None:
    state = np.full((70, 70), {"all visible": VISIBLE, "all unknown": UNKNOWN}.get(kind, OUTSIDE), np.uint8)
    if kind == "one pixel":
        state[30, 40] = VISIBLE
    elif kind == "two corners":
        state[0, 0] = state[-1, -1] = VISIBLE
    elif kind == "noise":
        state[:] = np.random.default_rng(0).integers(0, 3, state.shape)
    camera = (300.0, 300.0, 90.0, 60.0) if camera_known else None
    for view_name in ("upright", "all"):
        config = replace(QUICK, views=view_name)
        found = find(shapes_of("dresser", config), PixelWindow(state, 5, -6, (90.0, 60.0), camera), config)
        assert len(found.poses) >= 1
        assert np.isfinite(found.poses.rows).all() and np.isfinite(found.poses.score).all()
        rotation = found.poses.rotation.astype(np.float64)
        unit = rotation @ rotation.transpose(0, 2, 1)
        np.testing.assert_allclose(unit, np.tile(np.eye(3), (len(unit), 1, 1)), atol=1e-3)
        verts, faces = found.surface(0)
        assert faces.max() < len(verts)


def tiny(seed: int, name: str) -> tuple[View, np.ndarray]:
    seen = some_view(seed, pixels=24, height=90, width=110)
    return seen, hide(seen.mask(box_mesh(PARTS[name])), 1, -9, 0.3)


def truncated(seed: int, name: str) -> tuple[View, np.ndarray]:
    """By the image's right border, beyond which 35 % of its width lie."""
    seen = some_view(seed)
    x = seen.screen(box_mesh(PARTS[name]).verts)[:, 0]
    cut = replace(seen, width=int(x.min() + 0.65 * np.ptp(x)))
    return cut, np.zeros((cut.height, cut.width), bool)


def mostly_hidden(seed: int, name: str) -> tuple[View, np.ndarray]:
    """80 % of its pixels."""
    seen = some_view(seed)
    truth = seen.mask(box_mesh(PARTS[name]))
    bar = np.zeros_like(truth)
    bar[:, : int((np.cumsum(truth.sum(axis=0)) < 0.8 * truth.sum()).sum())] = True
    return seen, bar


Scene = Callable[[int, str], tuple[View, np.ndarray]]


@pytest.mark.parametrize(
    ("scene", "name", "visible", "mean", "worst"),
    [
        (tiny, "dresser/box", 0.85, 0.88, 0.7),
        (tiny, "table/one_leg", 0.9, 0.93, 0.85),
        (truncated, "chair/one_arm", 1.0, 0.98, 0.96),
        (truncated, "lamp/pole", 1.0, 0.98, 0.96),
        (mostly_hidden, "sofa/bench", 0.3, 0.8, 0.5),
        (mostly_hidden, "lamp/pole", 0.3, 0.68, 0.5),
        (mostly_hidden, "chair/four_legs", 0.3, 0.75, 0.5),
    ],
)
def test_awkward_objects(scene: Scene, name: str, visible: float, mean: float, worst: float) -> None:
    """What is left to see has an IoU of at most ``visible`` with the whole in the image."""
    whole = []
    for seed in range(2):
        seen, bar = scene(seed, name)
        truth = seen.mask(box_mesh(PARTS[name]))
        assert iou(truth & ~bar, truth) <= visible
        if scene is tiny:
            assert truth.sum() < 400
        window = window_of(truth & ~bar, bar)
        found = find(shapes_of(name), window, FindConfig())
        whole.append(iou(mask_of(found, window, *truth.shape), truth))
    assert np.mean(whole) > mean and min(whole) > worst


def test_beyond_the_border_a_truncated_object_goes_on() -> None:
    """Its whole mask reaches out of the image as far as it does."""
    seen = some_view(0)
    truth = seen.mask(box_mesh(ARMCHAIR))
    cut, nothing = truncated(0, "chair/one_arm")
    visible = cut.mask(box_mesh(ARMCHAIR))
    window = window_of(visible, nothing, cut.camera)
    found = find(shapes_of("chair"), window, FindConfig())
    (row,) = found.poses.rows[:1]
    whole = Level(PixelWindow(np.zeros((260, 260), np.uint8), 0, 0, (0, 0)), 1)
    (mask,) = whole.masks(found.meshes, found.poses.mesh[:1], row[None])
    assert iou(mask[:200], truth) > 0.95


def test_any_rotation_is_found_where_any_is_asked_for() -> None:
    seen = view(40, 25, 160, pixels=80)
    truth = seen.mask(box_mesh(ARMCHAIR))
    bar = hide(truth, 1, 0.7, 9)
    window = window_of(truth & ~bar, bar, seen.camera)
    config = FindConfig(views="all")
    found = find(shapes_of("chair", config), window, config)
    assert iou(mask_of(found, window, *truth.shape), truth) > 0.9
    assert np.degrees(Rotation.from_matrix(found.poses.rotation[0] @ turned(40, 25, 160).T).magnitude()) < 5


@pytest.mark.parametrize("name", ["chair/one_arm", "sofa/bench"])
def test_upright_things_are_found_where_any_rotation_is_asked_for(name: str) -> None:
    """All but as well as where only upright ones are: half of what is tried is upright."""
    config = FindConfig(views="all")
    whole = []
    for seed in range(3):
        seen = some_view(seed)
        truth = seen.mask(box_mesh(PARTS[name]))
        bar = hide(truth, 1, 0.25, 0.75)
        window = window_of(truth & ~bar, bar)
        whole.append(iou(mask_of(find(shapes_of(name, config), window, config), window, *truth.shape), truth))
    assert np.mean(whole) > 0.95


def test_large_windows_are_compared_on_every_second_pixel() -> None:
    seen = some_view(0, pixels=300, height=500, width=500)
    truth = seen.mask(box_mesh(PARTS["dresser/box"]))
    window = window_of(truth, np.zeros_like(truth))
    assert 160 < window.side <= 320
    found = find(shapes_of("dresser"), window, QUICK)
    assert found.level.grid[2] == 2 and found.level.size == window.side // 2
    assert iou(mask_of(found, window, *truth.shape), truth) > 0.97


CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
QUADS = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))


def write_chair(path: Path, change: Callable[[np.ndarray], np.ndarray], *, parts: bool = False) -> None:
    path.parent.mkdir(parents=True)
    lines = []
    for i, (low, high) in enumerate(np.array(ARMCHAIR, float)):
        lines += [f"o part{i}"] if parts else []
        lines += ["v {} {} {}".format(*corner) for corner in change(low + CORNERS * (high - low)).tolist()]
        lines += ["f {} {} {} {}".format(*(8 * i + 1 + corner for corner in quad)) for quad in QUADS]
    path.write_text("\n".join(lines) + "\n")


FORMS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "millimetres": (lambda verts: verts * 1000, ""),
    "inches": (lambda verts: verts / 0.0254, ""),
    "z up": (lambda verts: np.stack([verts[:, 0], -verts[:, 2], verts[:, 1]], axis=1), "?up=+z&front=-y"),
    "off-centre": (lambda verts: verts + np.array([120.0, -35.0, 8.0]), ""),
    "several parts": (lambda verts: verts, ""),
}


@pytest.fixture(scope="module")
def in_metres(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray, PixelWindow]:
    """Truth and what is found with a chair of metres, before a camera that is known, its lower half hidden."""
    folder = tmp_path_factory.mktemp("metres")
    write_chair(folder / "chair" / "a.obj", lambda verts: verts)
    seen = view(-55, 18, distance=3, place=(0.05, 0.04), pixels=80)
    truth = seen.mask(box_mesh(ARMCHAIR))
    bar = hide(truth, 0, 0.5, 9)
    window = window_of(truth & ~bar, bar, seen.camera)
    return truth, mask_of(found_in(str(folder), window), window, *truth.shape), window


def found_in(spec: str, window: PixelWindow) -> Found:
    return find(ShapeBank(mesh_source(spec)).shapes("chair", "upright"), window, FindConfig())


def test_a_chair_of_a_file_is_found(in_metres: tuple[np.ndarray, np.ndarray, PixelWindow]) -> None:
    truth, mask, _ = in_metres
    assert iou(mask, truth) > 0.97


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_file_changes_nothing(
    form: str, in_metres: tuple[np.ndarray, np.ndarray, PixelWindow], tmp_path: Path
) -> None:
    truth, mask, window = in_metres
    change, frame = FORMS[form]
    write_chair(tmp_path / "own" / "chair" / "a.obj", change, parts=form == "several parts")
    found = found_in(f"{tmp_path / 'own'}{frame}", window)
    assert iou(mask_of(found, window, *truth.shape), mask) > 0.995
