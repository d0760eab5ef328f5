"""Which poses are one: by turns and shifts that are said, and by what two poses draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import ARMCHAIR, box_mesh
from pinhole import iou
from scipy.spatial.transform import Rotation

from shape3d_amodal.crops.pixels import PixelWindow
from shape3d_amodal.geometry.templates import icosphere
from shape3d_amodal.meshes.symmetries import Motions
from shape3d_amodal.priors.bank.distinct import distinct, kept_symmetries
from shape3d_amodal.priors.bank.poses import Level, MeshTable, Poses

NONE = Motions(np.eye(3)[None], np.zeros((1, 3)))
SQUARE_POST = box_mesh([((-0.2, 0.0, -0.2), (0.2, 1.0, 0.2))])


def row(
    turn: Rotation, *, scale: float = 100, place: tuple[float, float] = (60, 60), distance: float = 3
) -> np.ndarray:
    upright = np.diag([1.0, -1.0, -1.0])
    rotation = Rotation.from_euler("x", 20, degrees=True).as_matrix() @ upright @ turn.as_matrix()
    return np.array([*rotation.ravel(), scale, *place, distance, 64, 64, 1], np.float32)


def kept(rows: list[np.ndarray], symmetries: Motions = NONE, *, mesh: list[int] | None = None, count: int = 9) -> list:
    """Which of the poses are kept."""
    numbers = np.arange(len(rows), 0, -1).astype(float)
    poses = Poses(np.array(mesh or [0] * len(rows)), np.stack(rows), numbers)
    return (len(rows) - distinct(poses, lambda _: symmetries, count).score).astype(int).tolist()


@pytest.mark.parametrize(
    ("change", "both"),
    [
        ({}, False),
        ({"scale": 103}, False),
        ({"scale": 106}, True),
        ({"place": (62, 61)}, False),
        ({"place": (66, 60)}, True),
        ({"place": (60, 54)}, True),
        ({"distance": 3.2}, False),
        ({"distance": 3.6}, True),
    ],
)
def test_poses_that_differ_in_one_number(change: dict, both: bool) -> None:
    turn = Rotation.from_euler("y", 40, degrees=True)
    assert kept([row(turn), row(turn, **change)]) == ([0, 1] if both else [0])


@pytest.mark.parametrize(("degrees", "both"), [(2, False), (4, True), (180, True)])
def test_poses_that_differ_by_a_turn(degrees: float, both: bool) -> None:
    turns = [Rotation.from_euler("y", 40 + angle, degrees=True) for angle in (0, degrees)]
    assert kept([row(turn) for turn in turns]) == ([0, 1] if both else [0])


def test_of_poses_that_a_symmetry_exchanges_the_best_is_kept() -> None:
    """A square post looks the same after quarter turns, as the masks say; an armchair after none."""
    turns = [Rotation.from_euler("y", 40 + angle, degrees=True) for angle in (0, 90, 180, 270, 45)]
    rows = [row(turn) for turn in turns]
    table = MeshTable.of([(SQUARE_POST.verts, SQUARE_POST.faces)])
    level = Level(PixelWindow(np.zeros((128, 128), np.uint8), 0, 0, (64.0, 64.0)), 1)
    first, *others = level.masks(table, np.zeros(5, np.int64), np.stack(rows))
    assert [iou(first, other) > 0.97 for other in others] == [True, True, True, False]
    assert kept(rows, kept_symmetries(SQUARE_POST.verts, SQUARE_POST.faces, None)) == [0, 4]
    chair = box_mesh(ARMCHAIR)
    assert kept(rows, kept_symmetries(chair.verts, chair.faces, None)) == [0, 1, 2, 3, 4]


def test_a_symmetry_about_another_point_moves_the_origin() -> None:
    """Half a turn about x = 0.2: the origin goes to x = 0.4, so the same things are seen 40 pixels farther left."""
    half = Rotation.from_euler("y", 180, degrees=True)
    about = Motions(np.stack([np.eye(3), half.as_matrix()]), np.array([[0.0, 0, 0], [0.4, 0, 0]]))
    turn = Rotation.identity()
    assert kept([row(turn), row(half, place=(100, 60))], about) == [0]
    assert kept([row(turn), row(half)], about) == [0, 1]


def test_other_meshes_are_others_and_the_count_is_kept() -> None:
    same = [row(Rotation.identity())] * 3
    assert kept(same, mesh=[0, 1, 0]) == [0, 1]
    apart = [row(Rotation.identity(), place=(60 + 10 * i, 60)) for i in range(5)]
    assert kept(apart, count=3) == [0, 1, 2]


def test_a_ball_looks_the_same_from_everywhere() -> None:
    ball = icosphere(3)
    verts, faces = ball.verts.numpy() / 2, ball.faces.numpy()
    turns = Rotation.random(4, random_state=0)
    assert kept([row(turn) for turn in turns], kept_symmetries(verts, faces, None)) == [0]


def test_symmetries_are_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kept_symmetries(SQUARE_POST.verts, SQUARE_POST.faces, tmp_path)
    assert len(first) >= 4 and len([*tmp_path.glob("symmetries-*/")]) == 1
    monkeypatch.setattr("shape3d_amodal.priors.bank.distinct.symmetry_motions", None)
    assert kept_symmetries(SQUARE_POST.verts, SQUARE_POST.faces, tmp_path) == first
