"""Templates: what a renderer draws, and kept as it was drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import ARMCHAIR, box_mesh
from pinhole import turned

from shape3d_amodal.priors.bank import bits, templates
from shape3d_amodal.priors.bank.templates import SIZES, Views, draw_templates, kept_templates, views_of
from shape3d_amodal.rendering.zbuffer import rasterize

CHAIR = box_mesh(ARMCHAIR)
ANGLES = [(0, 0), (35, 20), (140, 50), (-80, -5)]
FEW = Views(np.stack([turned(*angles) for angles in ANGLES]).astype(np.float32), np.zeros(1))
SURFACE = CHAIR.verts, CHAIR.faces.astype(np.int64)


@pytest.mark.parametrize("view", range(len(ANGLES)))
def test_a_template_is_what_a_renderer_draws(view: int) -> None:
    """From four diagonals away, its box at the origin, the longer side as long as the size says."""
    drawn = draw_templates(*SURFACE, FEW)
    record = drawn.views[view]
    x, y, z = (CHAIR.verts.astype(np.float64) @ turned(*ANGLES[view]).T + np.array([0, 0, 4])).T
    flat = np.stack([4 * x / z, 4 * y / z], axis=1)
    low, high = flat.min(axis=0), flat.max(axis=0)
    np.testing.assert_allclose(record["middle"], (low + high) / 2, atol=1e-5)
    assert record["extent"] == pytest.approx((high - low).max(), rel=1e-5)
    for s, size in enumerate(SIZES):
        sides = (high - low) / (high - low).max() * size
        width, height = record["width"][s], record["height"][s]
        assert [width, height] == np.rint(sides).astype(int).tolist()
        place = (flat - (low + high) / 2) * size / (high - low).max() + np.array([width, height]) / 2
        screen = np.concatenate([place, z[:, None]], axis=1).astype(np.float32)
        expected = rasterize(screen, CHAIR.faces, height, width)[1] >= 0
        start = record["start"][s]
        found = bits.unpack(drawn.bits[start : start + height, None], 64)
        assert not found[:, width:].any()
        assert (found[:, :width] != expected).sum() <= 0.01 * expected.size + 1
        assert record["area"][s] == found.sum()


def test_rows_follow_one_another_without_gaps() -> None:
    drawn = draw_templates(*SURFACE, FEW)
    start, height = (drawn.views[name].ravel() for name in ("start", "height"))
    np.testing.assert_array_equal(start, np.concatenate([[0], np.cumsum(height)[:-1]]))
    assert drawn.bits.shape == (height.sum(),) and drawn.bits.dtype == np.uint64


def test_a_mesh_of_which_nothing_is_wide() -> None:
    """A face seen from its edge has a template, all the same."""
    verts = np.array([[0, -0.5, 0], [0, 0.5, 0], [0, 0, 0.4]], np.float32)
    drawn = draw_templates(verts, np.array([[0, 1, 2]]), FEW)
    assert (drawn.views["width"] >= 1).all() and (drawn.views["height"] >= 1).all()
    assert np.isfinite(drawn.views["middle"]).all() and (drawn.views["extent"] > 0).all()


@pytest.mark.parametrize(("name", "views", "rolls"), [("upright", 288, 1), ("tabletop", 141, 24), ("all", 240, 24)])
def test_how_many_views_there_are(name: templates.ViewsName, views: int, rolls: int) -> None:
    found = views_of(name)
    assert found.rotation.shape == (views, 3, 3) and found.rolls.shape == (rolls,)
    unit = np.einsum("vij,vkj->vik", found.rotation, found.rotation)
    np.testing.assert_allclose(unit, np.tile(np.eye(3), (views, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(found.rotation), 1, atol=1e-6)


def directions(rotation: np.ndarray) -> np.ndarray:
    """Where the camera stands, seen from the object, [V,3]."""
    return -rotation[:, 2]


@pytest.mark.parametrize("name", ["upright", "tabletop", "all"])
def test_every_direction_has_a_view_nearby(name: templates.ViewsName) -> None:
    """Of all directions that the name allows, and the object's up axis is up in each picture."""
    rotation = views_of(name).rotation.astype(np.float64)
    rng = np.random.default_rng(0)
    any_way = rng.normal(size=(3000, 3))
    any_way /= np.linalg.norm(any_way, axis=1, keepdims=True)
    elevation = np.degrees(np.arcsin(any_way[:, 1]))
    low, high = {"upright": (-2, 50), "tabletop": (-10, 90), "all": (-90, 90)}[name]
    asked = any_way[(elevation >= low) & (elevation <= high)]
    nearest = np.degrees(np.arccos(np.clip((asked @ directions(rotation).T).max(axis=1), -1, 1)))
    assert nearest.max() < {"upright": 6.5, "tabletop": 14, "all": 11}[name]
    beside = directions(rotation) @ directions(rotation).T - 2 * np.eye(len(rotation))
    assert np.degrees(np.arccos(beside.max(axis=1))).max() < 20
    assert (rotation[:, 1, 1] <= 1e-6).all() and np.abs(rotation[:, 0, 1]).max() < 1e-6
    if name == "tabletop":
        assert directions(rotation)[:, 1].min() > np.sin(np.radians(-10.5))


def test_the_first_view_sees_the_front_at_minus_two_degrees() -> None:
    np.testing.assert_allclose(views_of("upright").rotation[0], turned(0, -2), atol=1e-6)
    np.testing.assert_allclose(views_of("upright").rotation[37], turned(10, -2 + 52 / 7), atol=1e-6)


def test_templates_are_kept_as_they_were_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn once and then read from the disk; another mesh or other views have templates of their own."""
    drawn = kept_templates(*SURFACE, "upright", None)
    kept = kept_templates(*SURFACE, "upright", tmp_path)
    for part in (kept, draw_templates(*SURFACE, views_of("upright"))):
        assert part.bits.tobytes() == drawn.bits.tobytes() and part.views.tobytes() == drawn.views.tobytes()
    (folder,) = tmp_path.glob("templates-*/")

    def refuse(*_: object) -> None:
        raise AssertionError("drawn again")

    with monkeypatch.context() as patch:
        patch.setattr(templates, "draw_templates", refuse)
        assert kept_templates(*SURFACE, "upright", tmp_path).bits.tobytes() == drawn.bits.tobytes()
    wider = SURFACE[0] * np.array([1, 1, 1.001], np.float32)
    kept_templates(wider, SURFACE[1], "upright", tmp_path)
    kept_templates(SURFACE[0], SURFACE[1][:-1], "upright", tmp_path)
    kept_templates(*SURFACE, "tabletop", tmp_path)
    assert len(list(tmp_path.glob("templates-*/"))) == 4 and folder.is_dir()


@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_damaged_templates_are_drawn_anew(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    first = kept_templates(*SURFACE, "tabletop", tmp_path)
    (file,) = tmp_path.glob("templates-*/bits.npy")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    else:
        file.unlink()
    assert kept_templates(*SURFACE, "tabletop", tmp_path) == first
    assert "made anew" in caplog.text


def test_without_room_templates_are_drawn_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    drawn = kept_templates(*SURFACE, "tabletop", tmp_path / "file" / "cache")
    assert len(drawn.views) and "made anew" in caplog.text
